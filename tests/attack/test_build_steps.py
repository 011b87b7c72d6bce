"""What a hostile step of a build can reach: nothing of the host's, of the engine's, or of another step's."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.needs import need
from support.steps import PATIENCE, Ran, StepBench, eventually, left_by_a_killed_daemon, step_bench
from wherry.build.model.container import ContainerProcess
from wherry.build.model.executor import StepMount
from wherry.build.model.failure import Console, StepStreams
from wherry.build.model.graph import SecurityMode
from wherry.content.durable import remove_tree
from wherry.errors import InvalidInput, NotFound, Unavailable, WherryError
from wherry.layers.overlay_paths import OverlayMount
from wherry.runtime import cgroups
from wherry.runtime.cgroups.resources import Cpu, Resources

pytestmark = [need("root", "busybox", "overlay", "namespaces")]

MARK = "the-engines-own-secret"

#: What an interpreter needs, and it.
INTERPRETER = f"{sys.base_prefix}/bin/python3 -I -S"
ITS_FILES = tuple(f"{path}:{path}:ro" for path in (sys.base_prefix, "/lib", "/lib64") if os.path.isdir(path))

#: Traces the first process of its PID namespace, and does not let it end (ptrace(2), PTRACE_O_TRACEEXIT).
TRACER = """
import ctypes, os, time
if ctypes.CDLL(None).ptrace(0x4206, 1, None, ctypes.c_void_p(0x40)) == 0:
    print("here", flush=True)
while True:
    time.sleep(1000)
"""
HELD_BY_ITS_CHILD = f"{INTERPRETER} -c '{TRACER}' & sleep 1000"


@pytest.fixture(scope="module")
def bench() -> Iterator[StepBench]:
    os.environ["WHERRY_TEST_MARK"] = MARK
    try:
        with step_bench() as found:
            yield found
    finally:
        del os.environ["WHERRY_TEST_MARK"]


@pytest.fixture
def canary(bench: StepBench) -> Path:
    """A directory of the host's that nobody may touch."""
    found = bench.directory()
    (found / "x").mkdir()
    (found / "shadow").write_text("the host's\n")
    (found / "empty").touch()
    return found


def looks(path: Path) -> dict[str, tuple[int, int]]:
    """All that a directory has, so that a change is seen."""
    found = {}
    for each in sorted(path.rglob("*")):
        status = each.lstat()
        found[str(each)] = (status.st_mode, status.st_size)
    return found


# --- the engine -----------------------------------------------------------------------------------


def test_it_holds_its_streams_and_nothing_else(bench: StepBench) -> None:
    ran = bench.run("/bin/ls", "-l", "/proc/self/fd")
    held = dict(line.split()[-3::2] for line in ran.text.splitlines() if "->" in line)
    assert held.pop("0") == "/dev/null"
    assert held.pop("1").startswith("pipe:")
    assert held.pop("2").startswith("pipe:")
    assert all(path.endswith("/fd") for path in held.values()), "the directory itself"


def test_it_sees_no_process_but_its_own(bench: StepBench) -> None:
    ran = bench.run("cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; echo; ls -d /proc/[0-9]* | wc -l")
    assert MARK not in ran.text
    assert int(ran.text.split()[-1]) < 8
    assert "wherry" not in ran.text
    keeper = Path(f"/proc/{bench.keeper_pid}")
    assert MARK in (keeper / "environ").read_text(), "there is something to be seen"
    assert "wherry" in (keeper / "cmdline").read_text()


def test_the_first_process_is_not_a_copy_of_the_keeper(bench: StepBench) -> None:
    ran = bench.run("cat /proc/1/maps; cat /proc/1/comm")
    assert "r-xp" in ran.text
    assert "python" not in ran.text.lower()
    assert "python" in Path(f"/proc/{bench.keeper_pid}/maps").read_text().lower()


def test_the_keeper_cannot_be_killed_or_named(bench: StepBench) -> None:
    keeper = bench.keeper_pid
    ran = bench.run(f"kill -9 {keeper} {os.getpid()}; sleep 1000 & kill -9 -1; wait $!; echo $?")
    assert ran.text.split()[-1] == "137", "what is its own can be killed"
    os.kill(keeper, 0)
    assert bench.run("echo next").text == "next\n"
    assert bench.keeper_pid == keeper


#: What nobody but the host's root may, and what a step with all privileges can do without harm.
POWERS = (
    "mount -t tmpfs x /tmp", "mount -o remount,rw /sys", "umount /etc/hosts", "hostname changed", "dmesg",
    "unshare -m true", "mkdir /sys/fs/cgroup/x", "echo 1 > /proc/sys/net/ipv4/ip_forward",
)  # fmt: skip
HARMFUL = (
    "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk", "echo 1 > /proc/sys/kernel/sysrq", "insmod /bin/sh",
    "echo b > /proc/sysrq-trigger", "echo x > /sys/fs/cgroup/cgroup.procs", "ip link add d0 type dummy",
    "head -c 1 /proc/kcore | grep -q .", "head -c 1 /dev/mem",  # a masked one can be opened, and is empty
)  # fmt: skip


def _possible(bench: StepBench, attempts: tuple[str, ...], **options: Any) -> set[str]:
    tried = "\n".join(f"( {what} ) >/dev/null 2>&1 && echo {shlex.quote(what)}" for what in attempts)
    return set(bench.run(f"{tried}\ntrue", **options).text.splitlines())


def test_what_makes_a_root_powerful_is_missing(bench: StepBench) -> None:
    if Path("/sys/fs/cgroup/pids").exists():  # of version 1
        powers = tuple(what.replace("cgroup/x", "cgroup/pids/x") for what in POWERS)
    else:
        powers = POWERS
    assert _possible(bench, (*powers, *HARMFUL)) == set()
    assert _possible(bench, powers, security=SecurityMode.INSECURE) == set(powers), "where it is permitted"


def test_a_step_sees_its_own_root_as_that_of_its_first_process(bench: StepBench) -> None:
    ran = bench.run("echo mine > /here; cat /proc/1/root/here /proc/1/cwd/here; chroot /proc/1/root cat /here")
    assert ran.text.split() == ["mine"] * 3


def test_who_traces_the_first_process_of_a_step_does_not_keep_it(bench: StepBench) -> None:
    """The kernel ends the others of a PID namespace with its first process, which one of them may hold at its end."""
    ran, running = bench.launch_and_await(b"here", HELD_BY_ITS_CHILD, binds=ITS_FILES)
    bench.cancel(running)
    assert bench.remains(ran.step) == []
    assert bench.run("echo next").text == "next\n"


def test_who_traces_the_first_process_of_a_step_does_not_outlive_its_daemon() -> None:
    with step_bench(begin=False) as bench:
        identifier = left_by_a_killed_daemon(bench, HELD_BY_ITS_CHILD, binds=ITS_FILES)
        group = cgroups.open(f"/{bench.base.name}/{identifier}")
        assert len(group.pids()) > 1
        bench.start()
        assert not group.exists()
        assert bench.run("echo next").text == "next\n"


def test_privileges_end_with_an_insecure_step(bench: StepBench) -> None:
    script = "trap '' TERM; setsid sleep 1000 & setsid setsid sh -c 'sleep 1000; echo never' & echo ready"
    ran = bench.run(script, security=SecurityMode.INSECURE)
    assert ran.text == "ready\n"
    assert bench.remains(ran.step) == []


def test_a_shell_in_it_reaches_no_more_than_it_did(bench: StepBench, canary: Path) -> None:
    """What may be in the way of another start: devices and links that a failed step has left where the engine works."""
    ran = bench.run(
        f"rm -rf /dev /tmp; mkdir /dev; mknod /dev/ptmx c 5 2; ln -s {canary} /dev/pts; ln -s {canary} /tmp; "
        f"rm -f /etc/hosts; ln -s {canary}/shadow /etc/hosts; exit 1"
    )
    before = looks(canary)
    op = msgspec.structs.replace(ran.step.op, args=("/bin/sh", "-c", _LOOK_AROUND))
    for console in (Console(terminal=True), Console()):
        shell = msgspec.structs.replace(ran.step, id=bench.step("true").id, op=op)
        seen = bytearray()

        async def attend(streams: StepStreams, seen: bytearray = seen) -> None:
            async for chunk in streams.output():
                seen.extend(chunk.data)

        bench.call(bench.engine.steps.interact(shell, console, attend))
        text = seen.decode()
        assert "end\n" in text.replace("\r", "")
        assert MARK not in text
        assert "mounted" not in text
        assert "the host's" not in text
        held = [line.split()[-1] for line in text.splitlines() if "->" in line]
        streams = ["/dev/pts/0"] if console.terminal else ["pipe:"]
        assert [path for path in held if not path.startswith(("/proc/", *streams))] == []
        assert bench.remains(shell) == []
    assert looks(canary) == before


def test_what_joins_a_step_shows_it_nothing_of_the_engine(bench: StepBench) -> None:
    """Its first process stops each newcomer, and looks at what that has."""
    script = """
        umount /dev/pts; rm -rf /tmp /bin/ls; ln -s /proc/1/root /tmp; chmod 0 /dev/tty /dev/null
        (read self rest < /proc/self/stat; while :; do for p in /proc/[0-9]*; do n=${p#/proc/}
            [ $n = $self ] || [ $n = 1 ] && continue
            kill -STOP $n; cat $p/environ $p/maps; busybox ls -l $p/fd; kill -CONT $n
        done; done) > /seen 2>/dev/null & echo there; exec cat
    """
    step = bench.step(script)
    shown: list[str] = []

    async def newcomer() -> None:
        seen = bytearray()

        async def attend(streams: StepStreams) -> None:
            async for chunk in streams.output():
                seen.extend(chunk.data)

        process = ContainerProcess(args=("/bin/busybox", "ls", "-l", "/proc/self/fd"), env=("PATH=/bin",))
        with suppress(WherryError):
            await bench.engine.steps.join(step.id, process, attend)
        shown.append(seen.decode(errors="replace"))

    async def first(streams: StepStreams) -> None:
        async for chunk in streams.output():
            if b"there" in chunk.data:
                break
        for _ in range(10):
            await newcomer()

    with suppress(Unavailable):
        bench.call(bench.engine.steps.interact(step, Console(), first))
    assert bench.remains(step) == []
    held = [line.split()[-1] for text in shown for line in text.splitlines() if "->" in line]
    assert held, "none of them has run"
    assert [path for path in held if not path.startswith(("/proc/", "pipe:"))] == []
    seen = (Path(step.root.upper) / "seen").read_bytes()
    assert MARK.encode() not in seen
    assert b"python" not in seen
    assert os.stat("/dev/null").st_mode & 0o777 == 0o666


_LOOK_AROUND = """
    ls -l /proc/self/fd; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; mount -t tmpfs x /mnt && echo moun''ted
    cat /tmp/shadow; cat /etc/hosts; kill -9 -1; chmod 0 /proc/self/fd/0; rm -rf /dev/pts/* /tmp/*; echo end
"""


def test_what_an_insecure_step_mounts_does_not_come_to_the_host(bench: StepBench, canary: Path) -> None:
    mount = StepMount(target="/m", kind="bind", source=str(canary))
    script = "mount --make-rshared /m; mount -t tmpfs x /m/x && touch /m/x/inside && mount --bind / /m/x && ls /m/x"
    ran = bench.run(script, security=SecurityMode.INSECURE, mounts=(mount,))
    assert "etc" in ran.text.split()
    assert os.listdir(canary / "x") == []
    assert bench.remains(ran.step) == []
    assert str(canary) not in Path("/proc/self/mountinfo").read_text()


def test_an_insecure_step_cannot_freeze_what_is_to_end(bench: StepBench) -> None:
    """Frozen processes do not end, and those of a PID namespace keep its first one from ending."""
    script = """
        cd /sys/fs/cgroup/freezer 2>/dev/null || cd /sys/fs/cgroup; mkdir f; sleep 1000 & echo $! > f/cgroup.procs
        echo FROZEN > f/freezer.state 2>/dev/null || echo 1 > f/cgroup.freeze; cat f/freezer.state f/cgroup.freeze
        sleep 1000 & echo here; wait
    """
    ran, running = bench.launch_and_await(b"here", script, security=SecurityMode.INSECURE)
    assert ran.text.split()[0] in ("FROZEN", "FREEZING", "1"), ran.errors
    bench.cancel(running)
    assert bench.remains(ran.step) == []


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hosts", "resolv.conf", "hostname"])
@pytest.mark.parametrize("goal", ["/", "/proc/1/root", "../../../../../..", "{canary}/shadow", "{canary}/new"])
def test_links_where_the_engine_mounts_lead_nowhere(bench: StepBench, canary: Path, name: str, goal: str) -> None:
    layer = bench.directory()
    (layer / "etc").mkdir()
    (layer / "etc" / name).symlink_to(goal.format(canary=canary))
    before = looks(canary)
    lower = (str(layer), str(bench.root))
    if "canary" in goal:
        ran = bench.run(f"echo overwritten > /etc/{name}; cat {canary}/*", lower=lower)
        assert ran.text == "overwritten\n", "the place is inside"
    else:
        with pytest.raises(WherryError, match=f"/etc/{name}"):
            bench.run("true", lower=lower)
    assert looks(canary) == before
    assert (canary / "shadow").read_text() == "the host's\n"


@pytest.mark.parametrize("target", ["/link/x", "/link", "/link/deep/er", "/up/x", "/link/shadow"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "overlay"])
def test_links_in_the_way_of_a_mount_stay_inside(bench: StepBench, canary: Path, target: str, kind: str) -> None:
    layer, source = bench.directory(), bench.directory()
    (layer / "link").symlink_to(canary)
    (layer / "up").symlink_to("../../../../../../../.." + str(canary))
    (source / "mounted").write_text("mounted\n")
    overlay = OverlayMount(target, (str(source),), "", "")
    mount = StepMount(target=target, kind=kind, source=str(source), overlay=overlay if kind == "overlay" else None)
    before = looks(canary)
    ran = bench.run(f"echo x > {target}/x; ls {target}", lower=(str(layer), str(bench.root)), mounts=(mount,))
    assert ran.text.split() == {"bind": ["mounted", "x"], "tmpfs": ["x"], "overlay": ["mounted"]}[kind]
    assert looks(canary) == before


def test_a_working_directory_behind_a_link_is_made_inside(bench: StepBench, canary: Path) -> None:
    layer = bench.directory()
    (layer / "link").symlink_to(canary)
    before = looks(canary)
    ran = bench.run("pwd; touch here", lower=(str(layer), str(bench.root)), cwd="/link/made")
    assert looks(canary) == before
    assert ran.result.exit_code == 0


def test_what_a_step_moves_away_under_its_mounts_is_not_looked_for_outside(bench: StepBench, canary: Path) -> None:
    """CVE-2024-23652: the places of mounts were removed through a link that the step had put in the way."""
    first = bench.run("mkdir -p /a/x")
    second = bench.run("rm -r /a", lower=(str(first.layer), str(bench.root)))
    lower = (str(second.layer), str(first.layer), str(bench.root))
    before = looks(canary)
    for name in ("x", "empty"):
        mount = StepMount(target=f"/a/{name}", kind="tmpfs")
        ran = bench.run(f"mv /a /b && ln -s {canary} /a; ls -ld /a", mounts=(mount,), lower=lower)
        assert "->" in ran.text
        assert looks(canary) == before


def test_a_part_that_is_exchanged_while_it_is_mounted_never_leads_out(bench: StepBench, canary: Path) -> None:
    """CVE-2024-23651: another step exchanges a component of a cache mount's path at the right moment."""
    shared = bench.directory()
    (shared / "real").mkdir()
    (shared / "real/shadow").write_text("inside\n")
    (shared / "link").symlink_to(canary)
    ended = threading.Event()

    def exchange() -> None:
        (shared / "part").symlink_to("real")
        while not ended.is_set():
            for goal in ("link", "real", str(canary)):
                (shared / "new").symlink_to(goal)
                (shared / "new").rename(shared / "part")

    thread = threading.Thread(target=exchange)
    thread.start()
    mount = StepMount(target="/m", kind="bind", source=str(shared), selector="part/shadow")
    seen: list[str] = []

    def attempt() -> bool:
        try:
            seen.append(bench.run("cat /m", mounts=(mount,)).text)
        except NotFound:
            seen.append("led out")
        return len(seen) >= 25 and len(set(seen)) > 1

    try:
        eventually((shared / "part").is_symlink)
        eventually(attempt)
    finally:
        ended.set()
        thread.join()
    assert set(seen) == {"inside\n", "led out"}


@pytest.mark.parametrize(
    "target", ["relative", "/x\0y", "/" + "a" * 300, "/a/" * 3000 + "b", "/proc/self", "/proc/1/root"]
)
def test_odd_targets_are_refused(bench: StepBench, target: str) -> None:
    with pytest.raises(InvalidInput):
        bench.run("true", mounts=(StepMount(target=target, kind="tmpfs"),))
    assert bench.run("true").result.exit_code == 0


def test_places_may_be_as_deep_as_a_path(bench: StepBench) -> None:
    deep = "/a" * 1900
    ran = bench.run("cat /proc/mounts", mounts=(StepMount(target=deep, kind="tmpfs"),), cwd=deep + "/b")
    assert deep in ran.text
    assert ran.changes() == []


@pytest.mark.parametrize(
    "options",
    [{"user": "nobody-of-that-name"}, {"cwd": "relative"}, {"env": ("no-equals-sign",)}, {"hostname": "a/b"},
     {"cgroup_parent": "../../x"}, {"network": "network:../x"}, {"user": "x\0y"}, {"cwd": "/\0"}],
)  # fmt: skip
def test_odd_values_are_refused(bench: StepBench, options: dict[str, str]) -> None:
    with pytest.raises(WherryError):
        bench.run("/bin/true", "x", **options)  # type: ignore[arg-type]


def test_a_selector_with_a_null_byte_is_refused(bench: StepBench) -> None:
    mount = StepMount(target="/x", kind="bind", source=str(bench.root), selector="bin\0/..")
    with pytest.raises(InvalidInput, match="NUL"):
        bench.run("true", mounts=(mount,))


def test_another_steps_root_cannot_be_found(bench: StepBench) -> None:
    secret, running = bench.launch_and_await(b"here", "echo secret > /hidden; echo here; sleep 1000")
    hidden, search = f"{secret.step.root.upper}/hidden", "find / -xdev -name hidden; ls /proc/*/root/hidden; true"
    assert bench.run(f"cat {hidden}; {search}").text == ""
    assert Path(hidden).read_text() == "secret\n", "it is there"
    assert "/hidden" in bench.run(f"touch /hidden; {search}").text, "it would be found"
    bench.cancel(running)


# --- too much of it -------------------------------------------------------------------------------


def test_a_step_that_forks_for_ever_is_bounded_and_ends(bench: StepBench) -> None:
    ran, running = bench.launch_and_await(b"here", "echo here; f() { while true; do f & done; }; f; sleep 1000")
    group = bench.cgroup(ran.step)
    if cgroups.features().pids:
        limit = group.statistics().pids.limit
        assert limit is not None
        assert 0 < limit < int(Path("/proc/sys/kernel/threads-max").read_text()) // 2
    eventually(lambda: len(group.pids()) > 100)
    bench.cancel(running)
    assert bench.remains(ran.step) == []
    assert bench.run("echo fine").text == "fine\n"


def test_a_flood_of_output_is_all_there_and_costs_no_memory(bench: StepBench) -> None:
    counted = [0, 0]

    async def output(stream: int, data: bytes) -> None:
        counted[stream - 1] += len(data)
        assert len(data) <= 1 << 16

    step = bench.step("head -c 50000000 /dev/zero & head -c 50000000 /dev/zero >&2; wait")
    assert bench.wait(bench.launch(step, output)).exit_code == 0
    assert counted == [50_000_000, 50_000_000]


def test_a_step_that_stops_itself_can_be_ended(bench: StepBench) -> None:
    ran, running = bench.launch_and_await(b"here", "echo here; kill -STOP -1; sleep 1000")
    bench.cancel(running)
    assert bench.remains(ran.step) == []


def test_directories_deeper_than_any_path_can_be_removed(bench: StepBench) -> None:
    ran = bench.run("cd /tmp; i=0; while [ $i -lt 3000 ]; do mkdir d && cd d; i=$((i+1)); done; echo deep")
    assert ran.text == "deep\n"
    assert remove_tree(ran.layer)
    assert bench.run("echo fine").text == "fine\n"


#: Makes a file that nobody may change, remove or give another name (FS_IOC_SETFLAGS, FS_IMMUTABLE_FL).
IMMUTABLE = """
import fcntl, os, sys
for path in sys.argv[1:]:
    with open(path, "w") as file:
        try:
            fcntl.ioctl(file, 0x40086602, (0x10).to_bytes(8, "little"))
        except OSError as error:
            print(error.strerror)
            continue
    try:
        os.unlink(path)
    except PermissionError:
        print("immutable")
"""


def test_files_that_a_step_has_made_immutable_can_be_removed(bench: StepBench) -> None:
    """In its own layer, and in a directory that it shares, such as a cache mount's."""
    shared = bench.directory()
    mount = StepMount(target="/m", kind="bind", source=str(shared))
    script = f"{INTERPRETER} -c '{IMMUTABLE}' /own /m/shared"
    assert "immutable" not in bench.run(script, binds=ITS_FILES, mounts=(mount,)).text
    ran = bench.run(script, binds=ITS_FILES, mounts=(mount,), security=SecurityMode.INSECURE)
    command = [sys.executable, "-c", IMMUTABLE, str(shared / "ours")]
    here = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ran.text.splitlines()[1:] == here.splitlines(), "what the file system offers"
    assert remove_tree(ran.layer)
    assert remove_tree(shared)


def test_a_step_may_hold_more_processes_than_are_ended_at_once(bench: StepBench) -> None:
    """One of them, whichever it is, holds the first process at its end."""
    script = f"i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i+1)); done; {HELD_BY_ITS_CHILD}"
    ran, running = bench.launch_and_await(b"here", script, binds=ITS_FILES)
    assert len(bench.cgroup(ran.step).pids()) > 300
    bench.cancel(running)
    assert bench.remains(ran.step) == []


def test_a_step_without_processor_time_ends_all_the_same(bench: StepBench) -> None:
    """A process needs some to end, and a thousand need more than a limit gives them in minutes."""
    script = "i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i+1)); done; echo here; wait"
    ran, running = bench.launch_and_await(b"here", script)
    if cgroups.features().cpu_quota:
        bench.cgroup(ran.step).apply(Resources(cpu=Cpu(quota=1000, period=1_000_000)))
    bench.cancel(running)
    assert bench.remains(ran.step) == []


def test_whoever_got_a_steps_output_from_it_is_not_waited_for(bench: StepBench) -> None:
    """Through a socket of the host's, an agent's for one (unix(7), SCM_RIGHTS)."""
    path = bench.directory() / "agent"
    give = (
        'import socket; agent = socket.socket(socket.AF_UNIX); agent.connect("/agent"); '
        'socket.send_fds(agent, [b"x"], [1, 2]); print("given")'
    )
    mount = StepMount(target="/agent", kind="bind", source=str(path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        step = bench.step(f"{INTERPRETER} -c '{give}'", binds=ITS_FILES, mounts=(mount,))
        ran = Ran(step)
        running = bench.launch(step, ran.take)
        listener.settimeout(PATIENCE)
        with listener.accept()[0] as agent:
            _, held, _, _ = socket.recv_fds(agent, 1, 2)
            assert bench.wait(running).exit_code == 0
            assert ran.text == "given\n"
            for descriptor in held:
                os.close(descriptor)
        assert len(held) == 2


# --- deaths ---------------------------------------------------------------------------------------


def test_the_keepers_death_at_any_moment_leaves_nothing_of_a_step(bench: StepBench) -> None:
    for moment in range(6):
        step = bench.step("trap '' TERM; setsid sleep 1000 & sleep 1000")
        running = bench.launch(step, Ran(step).take)
        killer = threading.Timer(0.004 * moment, os.kill, (bench.keeper_pid, signal.SIGKILL))
        killer.start()
        killer.join()
        bench.cancel(running)
        assert bench.remains(step) == []
        assert bench.run("echo next").text == "next\n"


def test_the_null_device_of_the_host_stays_what_it_is(bench: StepBench) -> None:
    bench.run("chmod 0 /dev/null /proc/self/fd/0; rm -f /dev/null /proc/interrupts; true")
    status = os.stat("/dev/null")
    assert stat.S_ISCHR(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o666
