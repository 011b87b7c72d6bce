"""Steps of builds on a real kernel: the engine's executor."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from support.needs import need
from support.steps import PATIENCE, Ran, StepBench, eventually, left_by_a_killed_daemon, step_bench
from wherry.build.model.executor import Limits, StepMount
from wherry.build.model.graph import HostEntry, SecurityMode, Ulimit
from wherry.engine.build import executor
from wherry.engine.keeper.reports import ExitReport
from wherry.errors import CommandNotExecutable, CommandNotFound, InvalidInput, NotFound, Unavailable, Unsupported
from wherry.keeper.process import Description, Files
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci.platform import Platform
from wherry.runtime import cgroups
from wherry.runtime.cgroups import Resources

pytestmark = [need("root", "busybox", "overlay", "namespaces")]


@pytest.fixture(scope="module")
def bench() -> Iterator[StepBench]:
    with step_bench() as found:
        yield found


# --- the program ----------------------------------------------------------------------------------


def test_a_step_has_its_output_on_two_streams_and_an_exit_code(bench: StepBench) -> None:
    ran = bench.run("echo out; echo err >&2; exit 7")
    assert (ran.text, ran.errors, ran.result.exit_code) == ("out\n", "err\n", 7)
    assert not ran.result.out_of_memory
    assert bench.remains(ran.step) == []


def test_a_step_that_was_killed_says_so_by_its_exit_code(bench: StepBench) -> None:
    assert bench.run("sh -c 'kill -9 $$'; exit $?").result.exit_code == 137


def test_a_step_has_the_environment_that_it_was_given_and_no_other(bench: StepBench) -> None:
    found = bench.run("/bin/env", "-0", env=("PATH=/bin:/sbin", "A=b=c", "EMPTY=")).text.split("\0")
    assert sorted(filter(None, found)) == ["A=b=c", "EMPTY=", "HOME=/root", "PATH=/bin:/sbin"]
    assert "PATH=/usr/local/sbin" in bench.run("/bin/env", "-0", env=()).text


def test_a_step_is_the_user_that_it_names_in_the_directory_that_it_names(bench: StepBench) -> None:
    ran = bench.run("id -un; id -gn; pwd; echo $HOME; hostname", user="guest", cwd="/new/place")
    assert ran.text.split() == ["guest", "guest", "/new/place", "/home/guest", "buildkitsandbox"]
    assert ran.changes() == ["new", "new/place"]


def test_a_user_who_is_not_root_can_reopen_the_output(bench: StepBench) -> None:
    ran = bench.run("echo one > /dev/stdout; echo two > /dev/stderr", user="guest")
    assert (ran.text, ran.errors) == ("one\n", "two\n")


def test_standard_input_is_the_containers_own_null_device(bench: StepBench) -> None:
    before = os.stat("/dev/null").st_mode
    ran = bench.run("wc -c < /proc/self/fd/0; chmod 0 /proc/self/fd/0; stat -c %a /dev/null")
    assert ran.text.split() == ["0", "0"]
    assert os.stat("/dev/null").st_mode == before


def test_limits_are_those_of_the_step(bench: StepBench) -> None:
    ran = bench.run(
        "ulimit -n; df -k /dev/shm | tail -1; cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null "
        "|| cat /sys/fs/cgroup/memory.max",
        ulimits=(Ulimit("nofile", 123, 456),), shm_size=1 << 20, limits=Limits(memory=64 << 20),
        hostname="elsewhere",
    )  # fmt: skip
    assert ran.text.split()[0] == "123"
    assert " 1024 " in ran.text
    assert str(64 << 20) in ran.text


def test_a_step_that_needs_more_memory_than_it_may_have_is_out_of_memory(bench: StepBench) -> None:
    ran = bench.run(
        "head -c 100000000 /dev/zero | tail > /dev/null", limits=Limits(memory=16 << 20, memory_swap=16 << 20)
    )
    assert ran.result.out_of_memory


def test_what_a_step_took_is_told(bench: StepBench) -> None:
    cost = bench.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").result.cost
    groups = Path("/sys/fs/cgroup")
    is_second = (groups / "cgroup.controllers").exists()
    assert (cost.cpu or 0) > 1_000_000 or not (is_second or (groups / "cpuacct").exists())
    assert (cost.memory or 0) > 0 or not (groups / "memory").exists()  # version 2 has it from Linux 5.19 on


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("/nowhere", "-x"), CommandNotFound),
        (("/etc/passwd", "-x"), CommandNotExecutable),
    ],
)
def test_a_program_that_is_not_there_is_an_error(
    bench: StepBench, args: tuple[str, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        bench.run(*args)


def test_a_program_for_another_processor_needs_an_emulator(bench: StepBench) -> None:
    (bench.root / "bin/foreign").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xf3\0" + bytes(64))
    (bench.root / "bin/foreign").chmod(0o755)
    with pytest.raises(Unsupported, match="qemu-user-static"):
        bench.run("/bin/foreign", "-x", platform=Platform("linux", "mips64"))
    with pytest.raises(CommandNotExecutable):
        bench.run("/bin/foreign", "-x")


def test_a_device_that_is_not_there_is_named(bench: StepBench) -> None:
    with pytest.raises(InvalidInput, match=r'required device "vendor.com/gpu=all" is not registered'):
        bench.run("true", devices=("vendor.com/gpu=all",))


def test_a_step_is_no_container(bench: StepBench) -> None:
    _, running = bench.launch_and_await(b"here", "echo here; sleep 1000")
    assert bench.call(bench.engine.containers.list(all=True, limit=0, size=False, filters={})) == []
    bench.cancel(running)


# --- the layer ------------------------------------------------------------------------------------


def test_the_layer_has_what_the_step_wrote_and_nothing_else(bench: StepBench) -> None:
    assert bench.run("true").changes() == []
    ran = bench.run("echo x > /made; cat /etc/hosts > /dev/null; rm /etc/group; mkdir -p /etc/x/y")
    assert ran.changes() == ["etc", "etc/group", "etc/x", "etc/x/y", "made"]


def test_what_the_engine_mounts_in_etc_is_in_no_layer(bench: StepBench) -> None:
    ran = bench.run("echo 10.0.0.1 added >> /etc/hosts; echo changed > /etc/resolv.conf; cat /etc/hosts")
    assert "added" in ran.text
    assert ran.changes() == []
    assert "added" not in bench.run("cat /etc/hosts").text


def test_places_that_a_layer_has_removed_leave_no_trace(bench: StepBench) -> None:
    first = bench.run("mkdir -p /srv/a/b")
    second = bench.run("rm -r /srv /etc", lower=(str(first.layer), str(bench.root)))
    lower = (str(second.layer), str(first.layer), str(bench.root))
    third = bench.run("test -s /etc/hosts; echo $?; ls /srv", lower=lower, mounts=(_directory(bench, "/srv/x/y"),))
    assert third.text.split() == ["0", "x"]
    assert third.changes() == []


def test_the_work_directory_can_be_used_again(bench: StepBench) -> None:
    ran = Ran(bench.step("echo a >> /file; cat /file"))
    for step in (ran.step, msgspec.structs.replace(ran.step, id="2" * 64)):
        bench.call(bench.engine.steps.run(step, ran.take))
    assert ran.text == "a\na\na\n"
    assert os.listdir(ran.step.root.work) == []


def test_a_read_only_root_cannot_be_written(bench: StepBench) -> None:
    ran = bench.run("touch /x; mkdir /mounted/x && echo made", readonly=True, mounts=(_tmpfs("/mounted"),))
    assert "Read-only" in ran.errors
    assert ran.text == "made\n"
    assert ran.changes() == []


def test_a_step_without_any_layer_below_can_run(bench: StepBench) -> None:
    busybox = StepMount(target="/bin", kind="bind", source=str(bench.root / "bin"), readonly=True)
    empty = bench.directory()
    ran = bench.run("echo hello > /greeting; ls /", mounts=(busybox,), lower=(str(empty),))
    assert ran.changes() == ["greeting"]
    assert "bin" in ran.text.split()


# --- mounts ---------------------------------------------------------------------------------------


def test_nothing_of_a_step_that_was_not_launched_stays_open(bench: StepBench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise Unavailable("no devices today")

    mount = _directory(bench, "/x")
    monkeypatch.setattr(executor, "on_the_host", refused)
    with pytest.raises(Unavailable, match="no devices today"):
        bench.run("true", mounts=(mount,))
    assert not _is_open(mount.source)


def _is_open(path: str) -> bool:
    """Whether this process has a file open, by whatever mount."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.fstat(int(name)))
    return any(os.path.samestat(status, os.stat(path)) for status in found)


def _tmpfs(target: str, *options: str) -> StepMount:
    return StepMount(target=target, kind="tmpfs", options=options)


def _directory(bench: StepBench, target: str, selector: str = "", *, readonly: bool = False) -> StepMount:
    """A directory with a file, a directory, and links that lead out of it."""
    source = bench.directory()
    (source / "file").write_text("content\n")
    (source / "directory").mkdir()
    (source / "directory/inner").write_text("inner\n")
    (source / "secret").symlink_to("/etc/shadow")
    (source / "up").symlink_to("../../../../../../etc")
    (source / "link").symlink_to("/directory")
    return StepMount(target=target, kind="bind", source=str(source), selector=selector, readonly=readonly)


def test_a_directory_can_be_bound(bench: StepBench) -> None:
    mount = _directory(bench, "/mnt/here")
    ran = bench.run("cat /mnt/here/file; echo new > /mnt/here/new", mounts=(mount,))
    assert ran.text == "content\n"
    assert (Path(mount.source) / "new").read_text() == "new\n"
    assert ran.changes() == []


def test_a_bind_can_be_read_only(bench: StepBench) -> None:
    ran = bench.run("touch /mnt/x", mounts=(_directory(bench, "/mnt", readonly=True),))
    assert "Read-only" in ran.errors


@pytest.mark.parametrize(
    ("selector", "command"), [("file", "cat /x"), ("/directory", "cat /x/inner"), ("link", "ls /x")]
)
def test_a_part_of_a_directory_can_be_bound(bench: StepBench, selector: str, command: str) -> None:
    ran = bench.run(command, mounts=(_directory(bench, "/x", selector),))
    assert ran.text in ("content\n", "inner\n")
    assert ran.changes() == []


@pytest.mark.parametrize("selector", ["secret", "up/shadow", "../../../../etc/shadow", "nothing", "file/x"])
def test_no_selector_leads_out_of_its_source(bench: StepBench, selector: str) -> None:
    with pytest.raises(NotFound):
        bench.run("cat /x", mounts=(_directory(bench, "/x", selector),))


def test_a_file_and_a_socket_can_be_bound(bench: StepBench) -> None:
    path = str(bench.directory() / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        mounts = (
            StepMount(target="/run/agent", kind="bind", source=path),
            StepMount(target="/run/secrets/one", kind="bind", source=__file__, readonly=True),
        )
        ran = bench.run("test -S /run/agent && head -1 /run/secrets/one", mounts=mounts)
    assert ran.text.startswith('"""Steps of builds')
    assert ran.changes() == []


def _layers(bench: StepBench) -> tuple[str, ...]:
    upper, lower = bench.directory(), bench.directory()
    (upper / "file").write_text("upper\n")
    (lower / "directory").mkdir()
    (lower / "directory/file").write_text("lower\n")
    (lower / "secret").symlink_to("/etc/shadow")
    (lower / "out").symlink_to("../../../../../..")
    return str(upper), str(lower)


def test_layers_can_be_mounted_read_only(bench: StepBench) -> None:
    mount = StepMount(target="/x", kind="overlay", overlay=OverlayMount("/x", _layers(bench), "", ""), readonly=True)
    ran = bench.run("cat /x/file /x/directory/file; touch /x/new", mounts=(mount,))
    assert ran.text == "upper\nlower\n"
    assert "Read-only" in ran.errors
    one = StepMount(target="/x", kind="overlay", overlay=OverlayMount("/x", _layers(bench)[1:], "", ""), readonly=True)
    assert bench.run("cat /x/directory/file", mounts=(one,)).text == "lower\n"


def test_layers_can_be_mounted_to_be_written(bench: StepBench) -> None:
    made = bench.directory()
    (made / "upper").mkdir()
    (made / "work").mkdir()
    overlay = OverlayMount("/x", _layers(bench), str(made / "upper"), str(made / "work"))
    ran = bench.run("echo new > /x/new", mounts=(StepMount(target="/x", kind="overlay", overlay=overlay),))
    assert ran.changes() == []
    assert os.listdir(made / "upper") == ["new"]
    assert os.listdir(made / "work") == []


@pytest.mark.parametrize(
    ("selector", "text"), [("file", "upper\n"), ("/directory", "lower\n"), ("out/file", "upper\n")]
)
def test_a_part_of_layers_can_be_mounted(bench: StepBench, selector: str, text: str) -> None:
    overlay = OverlayMount("/x", _layers(bench), "", "")
    mount = StepMount(target="/x", kind="overlay", overlay=overlay, selector=selector, readonly=True)
    ran = bench.run("cat /x/file 2>/dev/null || cat /x; touch /x/y 2>&1 || true; wc -l < /proc/mounts", mounts=(mount,))
    assert ran.text.startswith(text)
    assert "Read-only" in ran.text or "Not a directory" in ran.text
    assert ran.changes() == []


@pytest.mark.parametrize("selector", ["secret", "out/etc/shadow", "nothing"])
def test_no_selector_leads_out_of_layers(bench: StepBench, selector: str) -> None:
    overlay = OverlayMount("/x", _layers(bench), "", "")
    with pytest.raises(InvalidInput, match="not found"):
        bench.run("cat /x", mounts=(StepMount(target="/x", kind="overlay", overlay=overlay, selector=selector),))


def test_a_tmpfs_has_the_size_that_it_was_given(bench: StepBench) -> None:
    ran = bench.run("head -c 100000 /dev/zero > /x/file; wc -c < /x/file", mounts=(_tmpfs("/x", "size=65536"),))
    assert int(ran.text) == 65536
    assert ran.changes() == []


def test_later_mounts_lie_in_earlier_ones(bench: StepBench) -> None:
    ran = bench.run("cat /x/directory/file", mounts=(_directory(bench, "/x"), _directory(bench, "/x/directory")))
    assert ran.text == "content\n"


def test_directories_of_the_host_can_be_bound(bench: StepBench) -> None:
    source = _directory(bench, "/").source
    ran = bench.run("cat /a/file; touch /b/x", binds=(f"{source}:/a", f"{source}:/b:ro"))
    assert ran.text == "content\n"
    assert "Read-only" in ran.errors
    assert ran.changes() == []


# --- networks -------------------------------------------------------------------------------------


def test_without_a_network_there_is_the_loopback_alone(bench: StepBench) -> None:
    assert bench.run("ls /sys/class/net").text.split() == ["lo"]


@pytest.mark.parametrize("network", ["none", "host"])
def test_a_step_finds_its_own_name_where_it_has_no_address(bench: StepBench, network: str) -> None:
    assert "127.0.0.1\tbuildkitsandbox\n" in bench.run("cat /etc/hosts", network=network).text


def test_the_default_network_is_the_default_bridge(bench: StepBench) -> None:
    added = (HostEntry("elsewhere", "192.0.2.7"),)
    ran = bench.run("ls /sys/class/net; cat /etc/hosts; cat /etc/resolv.conf", network="default", extra_hosts=added)
    assert "eth0" in ran.text
    assert "192.0.2.7\telsewhere" in ran.text
    assert "buildkitsandbox" in ran.text
    assert "nameserver" in ran.text


def test_the_hosts_network_is_the_hosts(bench: StepBench) -> None:
    assert bench.run("readlink /proc/self/ns/net", network="host").text.strip() == os.readlink("/proc/self/ns/net")


def test_a_step_is_on_a_network_of_the_engines(bench: StepBench) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        bench.run("true", network="network:nowhere")


# --- rights ---------------------------------------------------------------------------------------


def test_only_an_insecure_step_may_mount(bench: StepBench) -> None:
    script = "mount -t tmpfs x /tmp && echo mounted"
    assert bench.run(script).text == ""
    assert bench.run(script, security=SecurityMode.INSECURE).text == "mounted\n"


# --- output ---------------------------------------------------------------------------------------


def test_a_step_waits_while_nobody_takes_its_output(bench: StepBench) -> None:
    begun, go_on, taken = threading.Event(), threading.Event(), [0]

    async def output(stream: int, data: bytes) -> None:
        begun.set()
        while not go_on.is_set():
            await _moment()
        taken[0] += len(data)

    step = bench.step("head -c 10000000 /dev/zero; echo done > /done")
    running = bench.launch(step, output)
    eventually(begun.is_set)
    bench.call(_moments(20))
    assert not (Path(step.root.upper) / "done").exists()
    go_on.set()
    assert bench.wait(running).exit_code == 0
    assert taken == [10_000_000]


async def _moment() -> None:
    await asyncio.sleep(0.01)


async def _moments(number: int) -> None:
    for _ in range(number):
        await _moment()


def test_an_error_of_who_takes_the_output_ends_the_step(bench: StepBench) -> None:
    async def output(stream: int, data: bytes) -> None:
        raise Unavailable("the client has gone")

    step = bench.step("while true; do echo x; done")
    with pytest.raises(Unavailable, match="the client has gone"):
        bench.wait(bench.launch(step, output))
    assert bench.remains(step) == []


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM INT HUP; echo here; while true; do sleep 1; done",
        "echo here; while true; do yes; done",
        "f() { f | f & }; echo here; ulimit -u 200; f; sleep 1000",
        "setsid sh -c 'trap \"\" TERM; sleep 1000' & setsid setsid sleep 1000 & echo here; wait",
    ],
)
def test_a_step_that_is_cancelled_is_gone_with_everything(bench: StepBench, script: str) -> None:
    ran, running = bench.launch_and_await(b"here", script)
    bench.cancel(running)
    assert running.cancelled()
    assert bench.remains(ran.step) == []


def test_a_step_can_be_cancelled_at_any_moment(bench: StepBench) -> None:
    for moments in range(12):
        step = bench.step("sleep 1000")
        running = bench.launch(step, Ran(step).take)
        bench.call(_moments(moments))
        bench.cancel(running)
        assert bench.remains(step) == []


def test_a_daemon_ends_with_its_step(bench: StepBench) -> None:
    ran = bench.run("setsid sh -c 'trap \"\" TERM; echo daemon; sleep 1000; echo never' & sleep 0.2; echo done")
    assert "done" in ran.text
    assert "never" not in ran.text
    assert bench.remains(ran.step) == []


def test_a_step_that_closes_its_output_runs_on(bench: StepBench) -> None:
    ran = bench.run("exec >&- 2>&-; sleep 0.2; exit 5")
    assert ran.result.exit_code == 5


@pytest.mark.parametrize("script", ["touch /ready; sleep 1000", "exec >&- 2>&-; touch /ready; sleep 1000"])
def test_a_step_can_be_cancelled_while_the_keeper_stands_still(bench: StepBench, script: str) -> None:
    step = bench.step(f"trap '' TERM; {script}")
    running = bench.launch(step, Ran(step).take)
    eventually((Path(step.root.upper) / "ready").exists)
    os.kill(bench.keeper_pid, signal.SIGSTOP)
    try:
        bench.cancel(running)
        assert bench.remains(step) == []
    finally:
        os.kill(bench.keeper_pid, signal.SIGCONT)
    assert bench.run("echo next").text == "next\n"
    eventually(lambda: not bench.cgroup(step).exists())


def test_of_a_step_that_nobody_waits_for_all_is_ended_when_the_keeper_tells_of_its_exit(bench: StepBench) -> None:
    step = bench.step("true")
    directory, group = bench.settings.exec_root / "containers" / step.id, bench.cgroup(step)
    directory.mkdir()
    group.create(Resources())
    with subprocess.Popen(["sleep", "1000"]) as left:
        group.add(left.pid)
        described = Description(step.id, step.id, "step", False, None, left.pid, 0, 0, group.path)
        Files(str(directory), step.id, "step").write_process(described)

        async def exited() -> None:
            bench.engine._running_steps.exited(ExitReport(key=step.id, status=0, at=0))

        bench.call(exited())
        assert left.wait(PATIENCE) == -signal.SIGKILL
    eventually(lambda: not group.exists() and not directory.exists())


def test_steps_run_side_by_side(bench: StepBench) -> None:
    started = [bench.launch_and_await(b"here", "echo here; sleep 1000") for _ in range(5)]
    for ran, running in started:
        bench.cancel(running)
        assert bench.remains(ran.step) == []


def test_a_step_fails_when_the_keeper_dies_and_the_next_one_runs(bench: StepBench) -> None:
    ran, running = bench.launch_and_await(b"here", "trap '' TERM; echo here; sleep 1000")
    os.kill(bench.keeper_pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="keeper ended"):
        bench.wait(running)
    assert bench.remains(ran.step) == []
    assert bench.run("echo next").text == "next\n"


@pytest.mark.parametrize("network", ["none", "default"])
def test_a_step_of_a_daemon_that_was_killed_is_ended_by_the_next_one(network: str) -> None:
    with step_bench(begin=False) as bench:
        script = "trap '' TERM; setsid sleep 1000 & echo here; sleep 1000"
        identifier = left_by_a_killed_daemon(bench, script, network=network)
        group = cgroups.open(f"/{bench.base.name}/{identifier}")
        processes = group.pids()
        assert len(processes) > 1
        bench.start()
        assert not group.exists()
        eventually(lambda: not [pid for pid in processes if Path(f"/proc/{pid}").exists()])  # dead ones wait for init
        assert bench.run("echo next").text == "next\n"
        eventually(lambda: not (bench.settings.exec_root / "containers" / identifier).exists())
