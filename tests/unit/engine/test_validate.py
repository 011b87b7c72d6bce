"""What a caller asks for is checked before anything is done, in Docker's words."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.docker.container_requests import (
    ContainerConfig,
    ExecConfig,
    Healthcheck,
    HostConfig,
    LogConfig,
    Mount,
    MountBindOptions,
    MountTmpfsOptions,
    MountVolumeDriver,
    MountVolumeOptions,
    RestartPolicy,
    Ulimit,
)
from wherry.engine.container.names import check_name, made_up_name, new_id
from wherry.engine.create.mounts import mount_points, with_anonymous
from wherry.engine.create.validate import check_exec, cpu_list, parse_signal, validate_create
from wherry.engine.log_drivers.config import log_config
from wherry.engine.log_drivers.table import driver_of
from wherry.engine.settings import Settings
from wherry.errors import InvalidInput, WherryError

CPUS = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        (HostConfig(memory=4 << 20), "Minimum memory limit allowed is 6MB"),
        (
            HostConfig(memory=64 << 20, memory_swap=32 << 20),
            "Minimum memoryswap limit should be larger than memory limit",
        ),
        (HostConfig(memory_swap=64 << 20), "You should always set the Memory limit when using Memoryswap limit"),
        (HostConfig(memory_swappiness=101), "valid memory swappiness range is 0-100"),
        (HostConfig(nano_cpus=1, cpu_period=1000), "Nano CPUs and CPU Period cannot both be set"),
        (HostConfig(nano_cpus=1, cpu_quota=1000), "Nano CPUs and CPU Quota cannot both be set"),
        (HostConfig(nano_cpus=(CPUS + 1) * 10**9), f"as there are only {CPUS} CPUs available"),
        (HostConfig(nano_cpus=-1), f"as there are only {CPUS} CPUs available"),
        (HostConfig(cpu_period=10), "CPU cfs period can not be less than 1ms"),
        (HostConfig(cpu_quota=10), "CPU cfs quota can not be less than 1ms"),
        (HostConfig(cpuset_cpus="one"), "Invalid value one for cpuset cpus"),
        (HostConfig(cpuset_cpus="0,8191"), "Requested CPUs are not available - requested 0,8191"),
        (HostConfig(blkio_weight=5), "Range of blkio weight is from 10 to 1000"),
        (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
        (HostConfig(oom_score_adj=1001), "range for oom score adj is [-1000, 1000]"),
        (HostConfig(pid_mode="mine"), "invalid PID mode: mine"),
        (HostConfig(pid_mode="container:"), "invalid PID mode: container:"),
        (HostConfig(ipc_mode="open"), "invalid IPC mode: open"),
        (HostConfig(uts_mode="container:x"), "invalid UTS mode: container:x"),
        (HostConfig(cgroupns_mode="x"), "invalid cgroup namespace mode: x"),
        (HostConfig(cap_add=["FLY"]), 'invalid CapAdd: unknown capability: "CAP_FLY"'),
        (HostConfig(cap_drop=["CAP_"]), "invalid CapDrop: unknown capability"),
        (HostConfig(security_opt=["nonsense"]), 'invalid --security-opt 1: "nonsense"'),
        (HostConfig(security_opt=["nonsense=1"]), 'invalid --security-opt 2: "nonsense=1"'),
        (HostConfig(restart_policy=RestartPolicy("sometimes")), "unknown policy 'sometimes'"),
        (HostConfig(restart_policy=RestartPolicy("always"), auto_remove=True), "can't create 'AutoRemove' container"),
        (HostConfig(restart_policy=RestartPolicy("always", 3)), "can only be used with 'on-failure'"),
        (HostConfig(log_config=LogConfig("splunk")), "logger: no log driver named 'splunk' is registered"),
        (HostConfig(log_config=LogConfig("local", {"colour": "red"})), "unknown log opt 'colour'"),
        (HostConfig(log_config=LogConfig("local", {"compress": "yes"})), 'strconv.ParseBool: parsing "yes"'),
        (
            HostConfig(log_config=LogConfig("local", {"max-buffer-size": "much"})),
            "option max-buffer-size: invalid size",
        ),
        (HostConfig(log_config=LogConfig("local", {"max-size": "9" * 400})), "invalid size: '999"),
        (HostConfig(log_config=LogConfig("local", {"max-file": "9" * 5000})), "max-file cannot be less than 1"),
        (HostConfig(log_config=LogConfig("local", {"labels-regex": "("})), "missing"),
        (HostConfig(ulimits=[Ulimit("nofiles", 1, 1)]), "invalid ulimit type: nofiles"),
        (HostConfig(ulimits=[Ulimit("nofile", 2, 1)]), "ulimit soft limit must be less than or equal to hard limit"),
        (HostConfig(sysctls={"net/../kernel": "1"}), "invalid sysctl"),
        (HostConfig(kernel_memory=1000), "Minimum kernel memory limit allowed is 6MB"),
        (
            HostConfig(cpu_realtime_period=5, cpu_realtime_runtime=9),
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
    ],
)
def test_a_host_configuration_that_makes_no_sense_is_refused(host: HostConfig, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_create(ContainerConfig(), host)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (ContainerConfig(working_dir="tmp"), "the working directory 'tmp' is invalid"),
        (ContainerConfig(env=["=x"]), "invalid environment variable: =x"),
        (ContainerConfig(env=["A=\0"]), "null byte"),
        (ContainerConfig(cmd=["a\0b"]), "null byte"),
        (ContainerConfig(hostname="two\nlines"), "invalid hostname format"),
        (ContainerConfig(hostname="a" * 65), "invalid hostname format"),
        (ContainerConfig(healthcheck=Healthcheck(interval=5)), "Interval in Healthcheck cannot be less than 1ms"),
        (ContainerConfig(healthcheck=Healthcheck(timeout=-1)), "Timeout in Healthcheck cannot be less than 1ms"),
        (ContainerConfig(healthcheck=Healthcheck(start_period=5)), "StartPeriod in Healthcheck cannot be less than"),
        (ContainerConfig(healthcheck=Healthcheck(retries=-1)), "Retries in Healthcheck cannot be negative"),
        (ContainerConfig(stop_signal="SIGFOO"), "invalid signal: SIGFOO"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(config: ContainerConfig, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence.replace("(", "\\(")):
        validate_create(config, HostConfig())


@pytest.mark.parametrize("name", ["my_service", "-x", "a.b.c", "a" * 64])
def test_a_host_name_may_be_whatever_the_kernel_takes(name: str) -> None:
    assert validate_create(ContainerConfig(hostname=name), HostConfig()) == []


def test_an_exec_is_refused_whose_detach_keys_do_not_exist() -> None:
    with pytest.raises(InvalidInput, match="Invalid escape keys"):
        check_exec(ExecConfig(cmd=["true"], detach_keys="ctrl-?"))


def _with_subpath(source: str, path: str) -> Mount:
    return Mount(type="volume", source=source, target="/v", volume_options=MountVolumeOptions(subpath=path))


def test_a_mount_of_a_volume_without_a_name_is_an_anonymous_volume() -> None:
    host = HostConfig(binds=["/b/"], mounts=[Mount(type="volume", target="/m/./n")])
    points = with_anonymous(mount_points(host), ContainerConfig(volumes={"/c": {}, "/b": {}, "/proc/x": {}}), "")
    assert [point.target for point in points] == ["/b", "/c", "/m/n"]
    assert all(point.anonymous and point.copy and point.kind == "volume" and not point.name for point in points)


def test_a_named_volume_is_taken_as_it_is_asked_for() -> None:
    choice = MountVolumeOptions(no_copy=True, labels={"l": "1"}, driver_config=MountVolumeDriver("d", {"o": "x"}))
    mount = Mount(type="volume", source="other", target="/o", read_only=True, volume_options=choice)
    bind, other = mount_points(HostConfig(binds=["data:/data:ro"], mounts=[mount]))
    assert (bind.kind, bind.name, bind.mode, bind.writable, bind.copy) == ("volume", "data", "ro", False, True)
    assert (other.name, other.driver, other.writable, other.copy) == ("other", "d", False, False)
    assert (other.driver_options, other.labels) == ({"o": "x"}, {"l": "1"})


@pytest.mark.parametrize(
    ("mount", "sentence"),
    [
        (Mount(type="volume", target="/v", read_only=True), "must not set ReadOnly mode when using"),
        (Mount(type="volume", target="v"), "mount path must be absolute"),
        (Mount(type="volume"), "field Target must not be empty"),
        (Mount(type="volume", target="/t"), "Duplicate mount point: /t"),
        (Mount(type="volume", target="/v", tmpfs_options=MountTmpfsOptions()), "must not be specified"),
        (_with_subpath("", "a"), "must not set Subpath when using anonymous volumes"),
        *((_with_subpath("v", path), "subpath must be a relative") for path in ("/a", "..", "a/../../b", "a\0b")),
    ],
)
def test_a_volume_with_a_wish_that_it_cannot_have_is_refused(mount: Mount, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        mount_points(HostConfig(mounts=[mount], tmpfs={"/t": ""}))


def test_options_of_a_bind_mount_are_refused_for_a_tmpfs() -> None:
    mount = Mount(type="tmpfs", target="/x", bind_options=MountBindOptions(propagation="shared"))
    with pytest.raises(InvalidInput, match='BindOptions must not be specified on mount type "tmpfs"'):
        mount_points(HostConfig(mounts=[mount]))


def test_what_makes_sense_passes_without_warnings() -> None:
    host = HostConfig(
        memory=64 << 20,
        memory_swap=-1,
        nano_cpus=500_000_000,
        cpuset_cpus="0",
        cap_add=["net_admin", "CAP_SYS_TIME", "ALL"],
        security_opt=["no-new-privileges", "seccomp=unconfined", "seccomp={}"],
        ulimits=[Ulimit("nofile", 1024, -1)],
        restart_policy=RestartPolicy("on-failure", 3),
    )
    assert validate_create(ContainerConfig(env=["A", "B=c"], working_dir="/x"), host) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("CLD", 17)],
)
def test_signals_have_many_spellings(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "SIGFOO", "TERM+1", "RTMIN+x", "SIG_DFL", "SIG42", "SIGSIGTERM", "RTMIN+16", "RTMIN-1", "٣"]
)
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"^invalid signal: {re.escape(text)}$"):
        parse_signal(text)


@pytest.mark.parametrize("text", ["65", "-9", "9" * 5000])
def test_a_number_that_is_no_signals_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"^the linux daemon does not support signal {text}$"):
        parse_signal(text)


@given(st.text(max_size=30))
def test_no_text_makes_the_parsers_fail_in_another_way(text: str) -> None:
    for parse in (parse_signal, check_name, lambda t: mount_points(HostConfig(binds=[t], tmpfs={t: t}))):
        try:
            parse(text)
        except WherryError:
            continue


def test_cpu_lists_are_ranges_and_numbers() -> None:
    assert cpu_list("0-2,5") == {0, 1, 2, 5}
    with pytest.raises(ValueError, match="2-1"):
        cpu_list("2-1")


# --- names


@pytest.mark.parametrize("name", ["a", "-a", "a b", "ä1", "a/b", "", "//ab"])
def test_names_are_as_docker_wants_them(name: str) -> None:
    with pytest.raises(InvalidInput, match="only \\[a-zA-Z0-9\\]"):
        check_name(name)


def test_a_leading_slash_is_no_part_of_a_name() -> None:
    assert check_name("/web.1") == "web.1"


def test_made_up_names_are_valid_and_free() -> None:
    taken = {made_up_name(()) for _ in range(200)}
    assert all(check_name(name) == name for name in taken)
    assert made_up_name(taken) not in taken


def test_no_short_id_is_a_number() -> None:
    assert not any(new_id()[:12].isdecimal() for _ in range(100))


# --- mounts


def test_a_bind_has_its_options() -> None:
    (point,) = mount_points(HostConfig(binds=["/src:/dst/:ro,rslave"]))
    assert (point.source, point.target, point.writable, point.propagation) == ("/src", "/dst", False, "rslave")
    assert point.options == ["rbind", "rslave", "rro"]
    assert point.create_source
    (point,) = mount_points(HostConfig(binds=["/src:/dst:ro"]), read_only_below=False)
    assert point.options == ["rbind", "rprivate", "ro"]


def test_words_about_other_things_may_stand_beside_each_other() -> None:
    (point,) = mount_points(HostConfig(binds=["/src:/dst:cached,nocopy,z,ro"]))
    assert point.options == ["rbind", "rprivate", "rro"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([["exec"], ["noexec"], ["exec"]], None),
        ([["size=1g"]], 'invalid mount config for type "tmpfs": invalid option: size=1g'),
        ([["exec", "1", "2"]], 'invalid mount config for type "tmpfs": invalid option array length'),
        ([[]], 'invalid mount config for type "tmpfs": invalid option array length'),
    ],
)
def test_of_a_tmpfs_only_execution_can_be_chosen_by_a_mount(options: list[list[str]], sentence: str | None) -> None:
    host = HostConfig(mounts=[Mount(type="tmpfs", target="/x", tmpfs_options=MountTmpfsOptions(options=options))])
    if sentence is None:
        assert mount_points(host)[0].options == ["nosuid", "nodev"]
        return
    with pytest.raises(InvalidInput) as caught:
        mount_points(host)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("bind", "sentence"),
    [
        ("/a:/b:/c:ro", "invalid volume specification: '/a:/b:/c:ro'"),
        ("/a:b", "invalid volume specification: '/a:b'"),
        ("/a:/", "'/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'"),
        ("/a:/b:wrong", "invalid mode: wrong"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        (":/b", "invalid volume specification"),
        ("name:ro", "invalid volume specification: 'name:ro'"),
    ],
)
def test_a_bind_that_makes_no_sense_is_refused(bind: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        mount_points(HostConfig(binds=[bind]))
    assert sentence in str(caught.value)


def test_two_mounts_on_one_target_are_refused() -> None:
    with pytest.raises(InvalidInput, match="Duplicate mount point: /b"):
        mount_points(HostConfig(binds=["/a:/b", "/c:/b"]))


def test_a_mount_of_a_missing_source_is_refused_in_dockers_words() -> None:
    with pytest.raises(InvalidInput, match='invalid mount config for type "bind": bind source path does not exist'):
        mount_points(HostConfig(mounts=[Mount("bind", "/no/such/path", "/b")]), missing={"/no/such/path"})


def test_a_tmpfs_is_closed_to_programs_unless_asked() -> None:
    (point,) = mount_points(HostConfig(tmpfs={"/run": "size=64k,exec"}))
    assert point.options == ["nosuid", "nodev", "size=64k", "exec"]


def test_parents_are_mounted_before_their_children() -> None:
    points = mount_points(HostConfig(binds=["/x:/a/b/c", "/y:/a"], tmpfs={"/a/b": ""}))
    assert [point.target for point in points] == ["/a", "/a/b", "/a/b/c"]


def test_logs_are_compressed_where_there_are_files_to_be_compressed() -> None:
    for driver, options in (("local", {}), ("json-file", {"file": "true"}), ("json-file", {})):
        asked = HostConfig(log_config=LogConfig(driver, {"compress": "true", **options}))
        assert validate_create(ContainerConfig(), asked) == []
    with pytest.raises(InvalidInput, match="compress cannot be true when max-file is less than 2"):
        log_config(LogConfig("json-file", {"compress": "true", "max-file": "1"}), Settings())


@pytest.mark.parametrize(
    ("driver", "place"),
    [("", "json-file log driver"), ("json-file", "json-file log driver"), ("local", "log driver local")],
)
def test_an_option_that_no_log_has_is_refused_with_dockers_sentence(driver: str, place: str) -> None:
    with pytest.raises(InvalidInput, match=f"^unknown log opt 'nope' for {place}$"):
        validate_create(ContainerConfig(), HostConfig(log_config=LogConfig(driver, {"nope": "x"})))


def test_a_buffer_that_there_is_not_is_told_of() -> None:
    asked = LogConfig("local", {"mode": "non-blocking", "max-buffer-size": "4m"})
    [warning] = validate_create(ContainerConfig(), HostConfig(log_config=asked))
    assert warning.startswith("The log option max-buffer-size has no effect")
    assert (log_config(asked, Settings()).config or {})["max-buffer-size"] == "4m"
    with pytest.raises(InvalidInput, match="only supported with 'mode=non-blocking'"):
        log_config(LogConfig("local", {"max-buffer-size": "4m"}), Settings())
    log_config(
        LogConfig("local", {"max-buffer-size": "4m"}),
        Settings(log_driver="local", log_options={"mode": "non-blocking"}),
    )


@pytest.mark.parametrize("text", ["10p", "999999999999999999p", "1.5 GiB", "-1"])
def test_no_size_of_a_log_is_taken_for_another(text: str) -> None:
    asked = LogConfig("local", {"max-size": text})
    validate_create(ContainerConfig(), HostConfig(log_config=asked))
    found = driver_of(asked).bounds({"max-size": text, "max-file": "5"}).max_size
    known = {"10p": 10 << 50, "999999999999999999p": (1 << 63) - 1, "1.5 GiB": 3 << 29, "-1": None}
    assert found == known[text]
