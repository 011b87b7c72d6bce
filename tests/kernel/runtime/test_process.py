"""Processes: terminals, execution in a running container, ``--init``, failures and what they leave behind."""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from support.needs import need
from support.processes import children
from support.runtime_harness import DOCKER_CAPABILITIES, Box, Running, await_program, end
from wherry.errors import CommandNotFound, NotFound, WherryError
from wherry.linux.pty import get_winsize, set_winsize
from wherry.oci.runtime_spec import Box as Size
from wherry.oci.runtime_spec import (
    Capabilities,
    Cpu,
    Memory,
    Mount,
    Namespace,
    Pids,
    Process,
    Resources,
    Seccomp,
    TimeOffset,
    User,
)
from wherry.runtime import cgroups
from wherry.runtime.compile.exec import compile_exec
from wherry.runtime.compile.seccomp import default_profile
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.launch import launch
from wherry.runtime.report import EXECUTED

pytestmark = need("root", "busybox", "overlay", "namespaces")

INIT = {"annotations": {"org.wherry.init": "true"}}
TERMINAL = {"terminal": True, "console_size": Size(height=33, width=77)}


# ------------------------------------------------------------------------------------------------------------ terminals


def test_a_terminal_is_the_containers_own(box: Box) -> None:
    result = box.run(
        "tty; stat -c '%u %G' $(tty); stty size 2>/dev/null; test -c /dev/console && echo console; echo err >&2",
        process=TERMINAL,
    )
    assert result.out.replace("\r\n", "\n").splitlines()[0] == "/dev/pts/0"
    assert "console" in result.out
    assert "err" in result.out


def test_the_terminal_has_the_size_of_the_specification(box: Box) -> None:
    with box.running("sleep 100", process=TERMINAL) as running:
        assert running.terminal is not None
        assert get_winsize(running.terminal) == (33, 77)


def test_whoever_launches_may_give_another_size(box: Box) -> None:
    plan = compile_spec(box.spec("sleep 100", process=TERMINAL), container_id="sized")
    started = launch.launch(plan, None, size=(11, 22))
    try:
        _, master = await_program(started)
        assert master is not None
        assert get_winsize(master) == (11, 22)
    finally:
        end(started)
        launch.cleanup(plan)


def test_the_terminal_belongs_to_the_user(box: Box) -> None:
    result = box.run("stat -c %u /dev/pts/0; echo reopened > /dev/tty", process={**TERMINAL, "user": User(uid=1000)})
    assert result.out.split() == ["1000", "reopened"]


def test_control_c_on_the_terminal_interrupts(box: Box) -> None:
    with box.running(
        "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 1; done", process=TERMINAL
    ) as running:
        assert running.terminal is not None
        assert "ready" in read_until(running, "ready")
        os.write(running.terminal.fileno(), b"\x03")
        assert "interrupted" in read_until(running, "interrupted")


def test_a_change_of_size_is_signalled(box: Box) -> None:
    with box.running("trap 'echo changed' WINCH; echo ready; while :; do sleep 0.1; done", process=TERMINAL) as running:
        assert running.terminal is not None
        read_until(running, "ready")
        set_winsize(running.terminal, 50, 60)
        assert "changed" in read_until(running, "changed")


def read_until(running: Running, text: str) -> str:
    """Read a terminal until it has shown a text."""
    assert running.terminal is not None
    found = b""
    while text.encode() not in found:
        ready, _, _ = select.select([running.terminal], [], [], 60)
        assert ready, f"the terminal shows only {found!r}"
        found += os.read(running.terminal.fileno(), 4096)
    return found.decode()


def test_a_terminal_without_devpts_is_explained(box: Box) -> None:
    (box.layer / "dev/pts").mkdir(parents=True)
    spec = box.spec("true", process=TERMINAL)
    bare = msgspec.structs.replace(spec, mounts=(*spec.mounts[:3], *spec.mounts[4:]))
    failure = box.run_spec(bare).failure
    assert failure is not None
    assert failure.step == "make a terminal"


# ---------------------------------------------------------------------------------------------------------------- exec


def test_exec_joins_namespaces_group_and_root(box: Box) -> None:
    linux = {"resources": Resources(pids=Pids(limit=50))}
    with box.running("echo mark > /marked; exec sleep 100", linux=linux) as running:
        kinds = ("mnt", "pid", "uts", "ipc", "net")
        loop = f"for k in {' '.join(kinds)}; do readlink /proc/self/ns/$k; done"
        result = box.exec(running, f"cat /marked; {loop}; cat /proc/self/cgroup; hostname; ls -d /proc/1")
        assert result.lines[0] == "mark"
        assert result.lines[1:6] == [os.readlink(f"/proc/{running.pid}/ns/{kind}") for kind in kinds]
        own = Path(f"/proc/{running.pid}/cgroup").read_text().splitlines()
        assert [line for line in result.lines if line.count(":") >= 2] == own


def test_exec_has_the_containers_rights(box: Box) -> None:
    held = ("CAP_CHOWN", "CAP_KILL")
    profile = msgspec.convert(default_profile(DOCKER_CAPABILITIES), Seccomp)
    changes = {
        "process": {
            "capabilities": Capabilities(bounding=held, effective=held, permitted=held),
            "no_new_privileges": True,
        },
        "linux": {"seccomp": profile},
    }
    with box.running("exec sleep 100", **changes) as running:
        result = box.exec(running, "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status")
        assert [line.split()[1] for line in result.lines] == ["0000000000000021", "0000000000000021", "1", "2"]
        everything = Capabilities(
            bounding=("CAP_SYS_ADMIN",), effective=("CAP_SYS_ADMIN",), permitted=("CAP_SYS_ADMIN",)
        )
        result = box.exec(running, "grep CapBnd /proc/self/status", capabilities=everything)
        assert int(result.out.split()[1], 16) == 1 << 21


def test_exec_as_a_user_with_environment_and_directory(box: Box) -> None:
    with box.running("exec sleep 100") as running:
        result = box.exec(
            running, "id -u; id -G; pwd; echo $A $HOME", user=User(username="ann"), cwd="/etc", env=("PATH=/bin", "A=b")
        )
        assert result.lines == ["1000", "100 29 44", "/etc", "b /home/ann"]


def test_exec_fails_as_docker_words_it(box: Box) -> None:
    with box.running("exec sleep 100") as running:
        missing = box.exec(running, ["nothing"]).failure
        nowhere = box.exec(running, "true", cwd="/nowhere").failure
        unknown = box.exec(running, "true", user=User(username="zoe")).failure
    assert missing is not None
    assert isinstance(missing.error(), CommandNotFound)
    assert nowhere is not None
    assert nowhere.text == 'chdir to cwd ("/nowhere") set in config.json failed: no such file or directory'
    assert unknown is not None
    assert unknown.text == "unable to find user zoe: no matching entries in passwd file"


def test_exec_on_a_terminal(box: Box) -> None:
    with box.running("exec sleep 100") as running:
        result = box.exec(running, "tty; echo x > /dev/tty", terminal=True)
        assert result.out.split() == ["/dev/pts/0", "x"]


def test_exec_in_a_container_that_has_ended_is_told(box: Box) -> None:
    with box.running("exec sleep 100") as running:
        state = running.state()
    for pid, started in ((state.pid, state.started), (os.getpid(), 1)):  # gone, and a number used again
        plan = compile_exec(Process(cwd="/", args=("true",)), state=state._replace(pid=pid, started=started))
        with pytest.raises(NotFound, match="has ended"):
            launch.launch(plan, (0, 1, 2))


def test_the_launching_process_stays_in_its_namespaces(box: Box) -> None:
    def mine() -> list[str]:
        return [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))]

    before = mine()
    with box.running("exec sleep 100") as running:
        box.exec(running, "true")
        assert mine() == before
    assert mine() == before


# ----------------------------------------------------------------------------------------------- namespaces of others


def test_namespaces_of_another_container_are_joined(box: Box) -> None:
    with box.running("exec sleep 100", spec={"hostname": "first"}) as first:
        kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        joined = tuple(Namespace(type=word, path=f"/proc/{first.pid}/ns/{kind}") for word, kind in kinds.items())  # type: ignore[arg-type]
        result = box.run(
            "hostname; for k in net ipc uts pid; do readlink /proc/self/ns/$k; done; test $$ != 1 && echo not-first",
            linux={"namespaces": (Namespace(type="mount"), *joined)},
        )
        own = [os.readlink(f"/proc/{first.pid}/ns/{kind}") for kind in kinds.values()]
    assert result.lines == ["first", *own, "not-first"]


def test_the_hosts_namespaces_are_used_where_none_are_named(box: Box) -> None:
    result = box.run(
        "readlink /proc/self/ns/net; readlink /proc/self/ns/pid", linux={"namespaces": (Namespace(type="mount"),)}
    )
    assert result.lines == [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/pid")]


def test_a_namespace_that_is_none_is_refused(box: Box, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "nothing"):
        failure = box.run(
            "true", linux={"namespaces": (Namespace(type="mount"), Namespace(type="network", path=str(path)))}
        ).failure
        assert failure is not None
        assert failure.kind == "invalid"


def test_a_time_namespace_with_another_boot_time(box: Box) -> None:
    names = (*(Namespace(type=kind) for kind in ("mount", "pid")), Namespace(type="time"))  # type: ignore[arg-type]
    result = box.run(
        "cut -d. -f1 /proc/uptime", linux={"namespaces": names, "time_offsets": {"boottime": TimeOffset(secs=10**6)}}
    )
    assert int(result.out) >= 10**6


# --------------------------------------------------------------------------------------------------------------- --init


def test_init_passes_the_exit_code_on(box: Box) -> None:
    assert box.run("exit 42", spec=INIT).status == 42
    assert box.run("kill -9 $$", spec=INIT).status == 137


def test_under_init_the_program_is_the_second_process(box: Box) -> None:
    result = box.run("echo $$; cat /proc/1/comm; tr '\\0' ' ' < /proc/1/cmdline", spec=INIT)
    assert result.lines[:2] == ["2", "wherry-init"]
    assert result.out.split("\n")[2].strip() == "wherry-init"


def test_init_reaps_orphans(box: Box) -> None:
    result = box.run(
        "for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.01' &) ; done; sleep 0.5; "
        "grep -l '^State:.*Z' /proc/[0-9]*/status | wc -l",
        spec=INIT,
    )
    assert result.out.strip() == "0"


def test_init_forwards_signals(box: Box) -> None:
    with box.running(
        "trap 'touch /got; exit 9' TERM; touch /ready; while :; do sleep 0.05; done", spec=INIT
    ) as running:
        wait_for(box.upper / "ready")
        os.kill(running.pid, signal.SIGTERM)
        status = os.waitpid(running.pid, 0)[1]
        assert os.waitstatus_to_exitcode(status) == 9
        assert (box.upper / "got").exists()


def wait_for(path: Path) -> None:
    """Wait for a file that a container makes."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.01)


def test_init_has_the_programs_rights_and_nothing_open(box: Box) -> None:
    with box.running("sleep 100", spec=INIT, process={"user": User(uid=1000)}) as running:
        status = Path(f"/proc/{running.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "Uid:\t1000\t1000\t1000\t1000" in status
        wait_until(lambda: os.listdir(f"/proc/{running.pid}/fd") == [])
        inside = box.exec(running, "ls -l /proc/1/fd /proc/1/exe", user=User(uid=1000))
        assert "ermission denied" in inside.err


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_init_is_under_the_filter_as_well(box: Box, no_new_privileges: bool) -> None:
    profile = msgspec.convert(default_profile(DOCKER_CAPABILITIES), Seccomp)
    process = {"no_new_privileges": no_new_privileges, "user": User(uid=1000)}
    line = "grep -E 'Seccomp:|NoNewPrivs|CapBnd' /proc/1/status; grep -E 'Seccomp:|NoNewPrivs|CapBnd' /proc/self/status"
    result = box.run(line, spec=INIT, process=process, linux={"seccomp": profile})
    assert result.lines[:3] == result.lines[3:]
    assert result.lines[2].split() == ["Seccomp:", "2"]


def test_init_works_on_a_terminal(box: Box) -> None:
    result = box.run("tty; echo x > /dev/tty; exit 6", spec=INIT, process=TERMINAL)
    assert result.out.split() == ["/dev/pts/0", "x"]
    assert result.status == 6


def test_a_program_that_init_cannot_start_is_reported(box: Box) -> None:
    result = box.run(["nosuch"], spec=INIT)
    assert result.failure is not None
    assert result.failure.kind == "command-not-found"


# -------------------------------------------------------------------------------------------------------- what is left


def test_a_failed_start_leaves_no_group_process_or_descriptor(box: Box) -> None:
    gc.collect()
    before, others = sorted(os.listdir("/proc/self/fd")), children()
    spec = box.spec(["nosuch"], linux={"resources": Resources(pids=Pids(limit=5))})
    assert box.run_spec(spec).failure is not None
    assert not cgroups.open(spec.linux.cgroups_path if spec.linux else "").exists()
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert children() == others


def test_a_limit_that_the_kernel_refuses_leaves_nothing(box: Box) -> None:
    gc.collect()
    before, others = sorted(os.listdir("/proc/self/fd")), children()
    spec = box.spec("true", linux={"resources": Resources(cpu=Cpu(cpus="4000"), memory=Memory(limit=1 << 30))})
    plan = compile_spec(spec, container_id="refused")
    with open(os.devnull, "r+b") as null, pytest.raises(WherryError):
        launch.launch(plan, (null.fileno(),) * 3)
    assert not cgroups.open(plan.cgroup).exists()
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert children() == others


def test_launching_does_not_wait_for_the_child(box: Box) -> None:
    """Fifty at once, then all are waited for."""
    plans = []
    for number in range(50):
        upper, work = box.directory / f"u{number}", box.directory / f"w{number}"
        upper.mkdir()
        work.mkdir()
        root = Mount(
            destination="/", type="overlay", options=(f"lowerdir+={box.layer}", f"upperdir={upper}", f"workdir={work}")
        )
        plans.append(compile_spec(box.spec("true", root=root), container_id=f"many{number}"))
    with open(os.devnull, "r+b") as null:
        started = [launch.launch(plan, (null.fileno(),) * 3) for plan in plans]
        reports = [await_program(one)[0] for one in started]
    assert reports == [EXECUTED] * 50
    for one, plan in zip(started, plans, strict=True):
        assert os.waitpid(one.pid, 0)[1] == 0
        one.pidfd.close()
        one.channel.close()
        launch.cleanup(plan)
