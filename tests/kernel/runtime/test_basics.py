"""A container is what its specification says: names, files, devices, user, limits, rights."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from support import needs
from support.needs import need
from support.runtime_harness import DOCKER_CAPABILITIES, Box
from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import (
    Capabilities,
    Device,
    DeviceCgroup,
    IOPriority,
    Linux,
    Memory,
    Mount,
    Namespace,
    Personality,
    Pids,
    Resources,
    Rlimit,
    Root,
    Scheduler,
    Seccomp,
    Spec,
    User,
)
from wherry.runtime.compile.seccomp import default_profile

pytestmark = need("root", "busybox", "overlay", "namespaces")


def test_a_program_runs_and_its_output_and_exit_code_arrive(box: Box) -> None:
    result = box.run("echo hello; echo oops >&2; exit 7")
    assert (result.out, result.err, result.status) == ("hello\n", "oops\n", 7)


def test_what_is_written_goes_to_the_upper_layer(box: Box) -> None:
    assert box.run("echo new > /made; rm /etc/group").status == 0
    assert (box.upper / "made").read_text() == "new\n"
    assert stat.S_ISCHR((box.upper / "etc/group").lstat().st_mode), "a whiteout"
    assert (box.layer / "etc/group").exists()


def test_it_has_its_own_namespaces(box: Box) -> None:
    kinds = ("mnt", "pid", "uts", "ipc", "net")
    result = box.run(
        f"for kind in {' '.join(kinds)}; do readlink /proc/self/ns/$kind; done; readlink /proc/self/ns/user"
    )
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert not set(result.lines[:-1]) & set(ours)
    assert result.lines[-1] == os.readlink("/proc/self/ns/user")


def test_the_first_process_is_number_one_and_sees_no_other(box: Box) -> None:
    result = box.run("echo $$; ls -d /proc/[0-9]* | wc -l")
    assert result.lines[0] == "1"
    assert int(result.lines[1]) <= 3


def test_host_name_and_domain_name(box: Box) -> None:
    result = box.run("hostname; cat /proc/sys/kernel/domainname", spec={"hostname": "box", "domainname": "example"})
    assert result.lines == ["box", "example"]


def test_the_loopback_interface_of_a_new_network_namespace_is_up(box: Box) -> None:
    assert "LOOPBACK,UP" in box.run("ip link show lo").out


def test_devices_and_links_are_there_and_work(box: Box) -> None:
    result = box.run(
        "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; "
        "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; head -c3 /dev/zero | wc -c; "
        "echo x > /dev/null; "
        "echo x > /dev/stdout"
    )
    assert result.lines[:6] == [
        "/dev/null character special file 1:3 666",
        "/dev/zero character special file 1:5 666",
        "/dev/full character special file 1:7 666",
        "/dev/random character special file 1:8 666",
        "/dev/urandom character special file 1:9 666",
        "/dev/tty character special file 5:0 666",
    ]
    assert result.lines[6:] == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
        "3",
        "x",
    ]
    assert result.err == ""


def test_devices_of_the_specification_are_made_with_mode_and_owner(box: Box) -> None:
    devices = (
        Device(path="/dev/mine", type="c", major=1, minor=3, file_mode=0o640, uid=3, gid=4),
        Device(path="/dev/deep/er/pipe", type="p", file_mode=0o600),
    )
    result = box.run("stat -c '%F %t:%T %a %u:%g' /dev/mine /dev/deep/er/pipe", linux={"devices": devices})
    assert result.lines == ["character special file 1:3 640 3:4", "fifo 0:0 600 0:0"]


def test_a_missing_proc_and_dev_in_the_image_are_made(box: Box) -> None:
    assert not (box.layer / "proc").exists()
    assert box.run("test -d /proc/self && test -c /dev/null").status == 0


def test_environment_working_directory_and_umask(box: Box) -> None:
    process = {"cwd": "/not/there/yet", "env": ("PATH=/bin", "A=b=c", "A=last"), "user": User(umask=0o077)}
    result = box.run("pwd; env | sort; touch f; stat -c %a f", process=process)
    assert result.lines == [
        "/not/there/yet",
        "A=last",
        "HOME=/root",
        "PATH=/bin",
        "PWD=/not/there/yet",
        "SHLVL=1",
        "600",
    ]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (User(uid=7, gid=8, additional_gids=(9, 10)), ["7", "8", "8 9 10", "/"]),
        (User(uid=1000, gid=5), ["1000", "5", "5", "/home/ann"]),
        (User(username="ann"), ["1000", "100", "100 29 44", "/home/ann"]),
        (User(username="1000"), ["1000", "100", "100 29 44", "/home/ann"]),
        (User(username="ann:audio"), ["1000", "29", "29", "/home/ann"]),
        (User(username="4242"), ["4242", "0", "0", "/"]),
        (User(username="4242:77"), ["4242", "77", "77", "/"]),
    ],
)
def test_the_user_is_who_the_specification_names(box: Box, user: User, expected: list[str]) -> None:
    result = box.run("id -u; id -g; id -G; echo $HOME", process={"user": user})
    assert result.lines == expected


def test_further_groups_can_be_names(box: Box) -> None:
    result = box.run(
        "id -G", process={"user": User(username="4242")}, spec={"annotations": {"org.wherry.groups": "audio,7"}}
    )
    assert result.out == "0 7 29\n"


@pytest.mark.parametrize(
    ("username", "text"),
    [
        ("bob", "unable to find user bob: no matching entries in passwd file"),
        ("ann:nobody", "unable to find group nobody: no matching entries in group file"),
        ("-1", "uids and gids must be in range 0-2147483647, not -1"),
    ],
)
def test_an_unknown_user_is_told_in_dockers_words(box: Box, username: str, text: str) -> None:
    failure = box.run("true", process={"user": User(username=username)}).failure
    assert failure is not None
    assert (failure.text, failure.kind) == (text, "invalid")
    assert isinstance(failure.error(), InvalidInput)


def test_a_passwd_file_that_is_a_fifo_does_not_stop_anything(box: Box) -> None:
    (box.layer / "etc/passwd").unlink()
    os.mkfifo(box.layer / "etc/passwd")
    failure = box.run("true").failure
    assert failure is not None
    assert "not a regular file" in failure.text


def test_an_image_without_passwd_knows_numbers(box: Box) -> None:
    (box.layer / "etc/passwd").unlink()
    (box.layer / "etc/group").unlink()
    assert box.run("id -u; id -g", process={"user": User(username="5:6")}).lines == ["5", "6"]


@pytest.mark.parametrize(
    ("args", "kind", "text"),
    [
        (["nosuch"], "command-not-found", 'exec: "nosuch": executable file not found in $PATH'),
        (["/no/such"], "command-not-found", 'exec: "/no/such": stat /no/such: no such file or directory'),
        (["/etc/passwd"], "command-not-executable", 'exec: "/etc/passwd": permission denied'),
        (["/etc"], "command-not-executable", 'exec: "/etc": is a directory'),
        (["/etc/text"], "command-not-executable", "exec /etc/text: exec format error"),
        (["/etc/script"], "command-not-found", "exec /etc/script: no such file or directory"),
    ],
)
def test_a_program_that_cannot_run_is_told_in_dockers_words(box: Box, args: list[str], kind: str, text: str) -> None:
    box.write("etc/text", "no program\n", 0o755)
    box.write("etc/script", "#!/no/interpreter\n", 0o755)
    failure = box.run(args).failure
    assert failure is not None
    assert (failure.kind, failure.text) == (kind, text)


def test_a_working_directory_that_is_a_file_is_refused(box: Box) -> None:
    failure = box.run("true", process={"cwd": "/etc/passwd"}).failure
    assert failure is not None
    assert failure.kind == "invalid"
    assert "/etc/passwd" in failure.text


def capability_lines(box: Box, **changes: object) -> dict[str, int]:
    result = box.run("grep Cap /proc/self/status", **changes)
    return {line.split(":")[0]: int(line.split()[1], 16) for line in result.lines}


def test_the_five_capability_sets(box: Box) -> None:
    chown, kill, raw = 1 << 0, 1 << 5, 1 << 13
    sets = Capabilities(
        bounding=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"),
        permitted=("CAP_CHOWN", "CAP_KILL"),
        effective=("CAP_CHOWN", "CAP_KILL"),
        inheritable=("CAP_CHOWN", "CAP_KILL"),
        ambient=("CAP_KILL",),
    )
    found = capability_lines(box, process={"capabilities": sets, "user": User(uid=1000)})
    assert found["CapBnd"] == chown | kill | raw
    assert found["CapInh"] == chown | kill
    assert found["CapAmb"] == found["CapEff"] == found["CapPrm"] == kill


def test_root_has_dockers_capabilities_and_others_have_none(box: Box) -> None:
    docker = 0xA80425FB
    assert capability_lines(box)["CapEff"] == docker
    assert capability_lines(box, process={"user": User(uid=1)})["CapEff"] == 0


def test_no_capabilities_in_the_specification_mean_none(box: Box) -> None:
    found = capability_lines(box, process={"capabilities": None})
    assert set(found.values()) == {0}


def test_a_capability_that_the_engine_lacks_is_left_out(box: Box) -> None:
    every = tuple(f"CAP_{name}" for name in ("SYS_RESOURCE", "CHOWN", "SYS_ADMIN"))
    sets = Capabilities(bounding=every, permitted=every, effective=every)
    found = capability_lines(box, process={"capabilities": sets})
    own = int(
        next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapPrm" in line), 16
    )
    assert found["CapEff"] == own & (1 << 24 | 1 << 0 | 1 << 21)


def test_no_new_privileges(box: Box) -> None:
    line = "grep NoNewPrivs /proc/self/status | tr -dc 01"
    assert box.run(line).out == "0"
    assert box.run(line, process={"no_new_privileges": True}).out == "1"


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("user", [0, 1000])
def test_the_default_seccomp_profile_is_in_force(box: Box, no_new_privileges: bool, user: int) -> None:
    profile = msgspec.convert(default_profile(DOCKER_CAPABILITIES), Seccomp)
    process = {"no_new_privileges": no_new_privileges, "user": User(uid=user)}
    result = box.run(
        "grep Seccomp: /proc/self/status; umount /proc; mount -t tmpfs x /tmp",
        process=process,
        linux={"seccomp": profile},
    )
    assert result.lines[0].split() == ["Seccomp:", "2"]
    assert "Operation not permitted" in result.err


def test_resource_limits(box: Box) -> None:
    limits = (Rlimit(type="RLIMIT_NOFILE", soft=100, hard=200), Rlimit(type="RLIMIT_CORE", soft=0, hard=0))
    result = box.run("grep -E 'open files|core' /proc/self/limits", process={"rlimits": limits})
    assert [line.split()[-3:-1] for line in result.lines] == [["0", "0"], ["100", "200"]]


def test_a_hard_limit_above_ours_is_clamped_unless_it_must_be_exact(box: Box) -> None:
    too_high = (Rlimit(type="RLIMIT_NOFILE", soft=2**31, hard=2**31),)
    assert box.run("true", process={"rlimits": too_high}).status == 0
    result = box.run("true", process={"rlimits": too_high}, spec={"annotations": {"org.wherry.rlimits": "exact"}})
    assert result.failure is not None
    assert "RLIMIT_NOFILE" in result.failure.text


def test_oom_score_is_the_containers_own(box: Box) -> None:
    assert box.run("cat /proc/self/oom_score_adj", process={"oom_score_adj": 500}).out == "500\n"
    assert box.run("cat /proc/self/oom_score_adj").out == "0\n"


def test_scheduler_priority_and_personality(box: Box) -> None:
    process = {
        "scheduler": Scheduler(policy="SCHED_BATCH", nice=5),
        "io_priority": IOPriority(class_="IOPRIO_CLASS_IDLE"),
    }
    result = box.run(
        "cut -d' ' -f 19,41 /proc/self/stat; cat /proc/self/personality",
        process=process,
        linux={"personality": Personality(domain="LINUX32")},
    )
    assert result.lines[0] == "5 3"
    assert result.lines[1].endswith("8")


def test_sysctls_of_own_namespaces(box: Box) -> None:
    wanted = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345678", "net/ipv4/ip_default_ttl": "77"}
    result = box.run(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_default_ttl",
        linux={"sysctl": wanted},
    )
    assert result.lines == ["1", "12345678", "77"]


def test_a_value_that_the_kernel_refuses_is_the_requests_fault(box: Box) -> None:
    failure = box.run("true", linux={"sysctl": {"net.ipv4.ip_forward": "nonsense"}}).failure
    assert failure is not None
    assert failure.kind == "invalid"
    assert "net.ipv4.ip_forward='nonsense'" in failure.text


def test_a_read_only_root(box: Box) -> None:
    result = box.run(
        "touch /file; touch /dev/shm/x 2>/dev/null || touch /dev/x && echo ok",
        spec={"root": Root(path=str(box.rootfs), readonly=True)},
    )
    assert "Read-only file system" in result.err
    assert result.out == "ok\n"


def test_masked_and_read_only_paths(box: Box) -> None:
    linux = {
        "masked_paths": ("/proc/kcore", "/proc/timer_list", "/sys/firmware", "/proc/no-such-thing"),
        "readonly_paths": ("/proc/sys", "/proc/sysrq-trigger"),
    }
    result = box.run(
        "cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l; echo x > /proc/sys/net/ipv4/ip_forward; "
        "echo x > /proc/timer_list && echo written-to-null; chmod 0 /proc/timer_list",
        linux=linux,
    )
    assert result.lines == ["0", "0", "written-to-null"]
    assert result.err.count("Read-only file system") == 2
    assert stat.S_IMODE(os.stat("/dev/null").st_mode) == 0o666


def test_limits_of_the_control_group_are_in_force(box: Box) -> None:
    resources = Resources(memory=Memory(limit=64 << 20), pids=Pids(limit=20))
    linux = {"resources": resources, "namespaces": (*ordinary(), Namespace(type="cgroup"))}
    mounts = (Mount(destination="/sys/fs/cgroup", type="cgroup", options=("ro", "nosuid", "nodev", "noexec")),)
    result = box.run(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; "
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; "
        "cut -d: -f3 /proc/self/cgroup | sort -u; "
        "mkdir /sys/fs/cgroup/x; mkdir /sys/fs/cgroup/pids/x",
        mounts=mounts,
        linux=linux,
    )
    assert result.lines[:3] == [str(64 << 20), "20", "/"]
    assert result.err.count("ead-only file system") >= 1


def test_without_a_cgroup_namespace_the_containers_group_is_bound(box: Box) -> None:
    if not needs.NEEDS["cgroup1"][1]():
        pytest.skip("needs cgroup v1 controllers")
    mounts = (Mount(destination="/sys/fs/cgroup", type="cgroup", options=("ro",)),)
    linux = {"resources": Resources(pids=Pids(limit=33))}
    result = box.run("cat /sys/fs/cgroup/pids/pids.max; grep pids /proc/self/cgroup", mounts=mounts, linux=linux)
    assert result.lines[0] == "33"
    assert "wherry-test" in result.lines[1]


def ordinary() -> tuple[Namespace, ...]:
    return tuple(Namespace(type=kind) for kind in ("mount", "pid", "uts", "ipc", "network"))  # type: ignore[arg-type]


def test_device_rules_are_in_force(box: Box) -> None:
    linux = {"resources": Resources(devices=(DeviceCgroup(allow=False, access="rwm"),))}
    result = box.run("mknod /tmp/disk b 8 0 && cat /tmp/disk; head -c1 /dev/zero | wc -c", linux=linux)
    assert result.lines == ["1"]
    assert "Operation not permitted" in result.err


def test_nothing_of_the_engine_is_open_in_the_program(box: Box) -> None:
    result = box.run("ls /proc/self/fd", process={"args": ("ls", "/proc/self/fd")})
    assert result.out.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_signals_are_as_a_program_expects_them(box: Box) -> None:
    result = box.run(["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"])
    assert {line.split()[1] for line in result.lines} == {"0" * 16}


def test_the_session_and_keyring_are_its_own(box: Box) -> None:
    result = box.run(
        "cut -d' ' -f 5,6 /proc/self/stat", process={"args": ("cut", "-d ", "-f", "5,6", "/proc/self/stat")}
    )
    assert result.out == "1 1\n"


def test_a_directory_is_a_root_without_an_overlay(box: Box) -> None:
    spec = box.spec("echo plain; touch /written")
    plain = Spec(
        root=Root(path=str(box.layer)),
        mounts=spec.mounts[1:],
        process=spec.process,
        linux=Linux(namespaces=ordinary(), cgroups_path=box.cgroup),
    )
    result = box.run_spec(plain)
    assert result.out == "plain\n"
    assert (box.layer / "written").exists()


def test_the_same_specification_gives_the_same_with_runc(box: Box) -> None:
    """Proves these tests' expectations on the reference implementation."""
    runc = needs.program("runc")
    if runc is None:
        pytest.skip("needs runc")
    command = (
        "id -u; id -g; id -G; echo $HOME; pwd; umask; hostname; grep -E 'Cap|NoNewPrivs' /proc/self/status; "
        "ls /dev; stat -c '%n %a %t:%T' /dev/*; cat /proc/self/oom_score_adj; "
        "grep -E 'open files' /proc/self/limits; "
        "for k in pid mnt uts ipc net; do test -e /proc/self/ns/$k && echo $k; done; "
        "cat /proc/timer_list | wc -c; touch /proc/sys/kernel/x; "
        "mount | grep -v ' / \\|timer_list' | cut -d' ' -f 3,5 | sort"
    )
    held = DOCKER_CAPABILITIES[:5]
    spec = box.spec(
        command,
        process={
            "user": User(uid=1000, gid=100, additional_gids=(29,)),
            "cwd": "/somewhere",
            "capabilities": Capabilities(bounding=held, effective=held, permitted=held),
            "rlimits": (Rlimit(type="RLIMIT_NOFILE", soft=64, hard=128),),
            "oom_score_adj": 100,
            "no_new_privileges": True,
        },
        linux={"masked_paths": ("/proc/timer_list",), "readonly_paths": ("/proc/sys",)},
        spec={"hostname": "same"},
    )
    ours = box.run_spec(spec)
    theirs = box.run_with_runc(spec, runc)
    assert theirs.status == ours.status == 0, (theirs, ours)
    assert ours.out == theirs.out
