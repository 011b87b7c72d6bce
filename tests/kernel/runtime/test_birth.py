"""Programs whose process is born in a PID namespace where others live already, and those below an init."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from support.children import in_child
from support.needs import need
from support.runtime_harness import DOCKER_CAPABILITIES, NAMESPACES, Box, Running
from wherry.linux.fd import Fd
from wherry.linux.process import prctl, set_dumpable
from wherry.oci.runtime_spec import Capabilities, Namespace, Rlimit, Seccomp, SeccompSyscall, User
from wherry.runtime.steps import procfs
from wherry.runtime.steps.namespaces import BecomeRoot
from wherry.runtime.steps.process import SwitchUser
from wherry.runtime.steps.step import Context, Step

pytestmark = need("root", "busybox", "overlay", "namespaces")

INIT: dict[str, Any] = {"annotations": {"org.wherry.init": "true"}}
HELD = Capabilities(bounding=DOCKER_CAPABILITIES, effective=DOCKER_CAPABILITIES, permitted=DOCKER_CAPABILITIES)


def joining(running: Running) -> tuple[Namespace, ...]:
    """A container's namespaces, with another's PID namespace."""
    own = (Namespace(type=kind) for kind in NAMESPACES if kind != "pid")
    return (*own, Namespace(type="pid", path=f"/proc/{running.pid}/ns/pid"))


@pytest.mark.parametrize("spec", [{}, INIT], ids=["program", "init"])
def test_a_joined_pid_namespace_is_what_proc_shows(box: Box, spec: dict[str, Any]) -> None:
    with box.running("exec sleep 77") as first:
        result = box.run(
            "tr '\\0' ' ' < /proc/1/cmdline; readlink /proc/self/ns/pid; grep -c . /proc/$$/status > /dev/null; "
            "ls -d /proc/[0-9]* | wc -l",
            linux={"namespaces": joining(first)},
            spec=spec,
        )
        assert result.lines[0] == f"sleep 77 {os.readlink(f'/proc/{first.pid}/ns/pid')}", result
        assert int(result.lines[1]) <= 6


def test_where_the_kernel_cannot_make_it_the_others_proc_is_copied(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "_made", lambda *_: None)
    with box.running("exec sleep 77") as first:
        result = box.run("tr '\\0' ' ' < /proc/1/cmdline", linux={"namespaces": joining(first)})
        assert result.out == "sleep 77 ", result


def test_what_is_no_proc_of_that_namespace_is_not_copied(box: Box) -> None:
    with box.running("exec sleep 77") as first, opened(f"/proc/{first.pid}/ns/pid") as namespace:
        for path, shows in ((f"/proc/{first.pid}/root/proc", True), ("/proc", False), ("/tmp", False)):
            directory = opened(path)
            assert procfs._shows(directory, namespace) == shows
            directory.close()


def opened(path: str) -> Fd:
    return Fd(os.open(path, os.O_RDONLY))


@pytest.mark.parametrize("spec", [{}, INIT], ids=["program", "init"])
def test_one_that_joins_ends_as_its_program_does(box: Box, spec: dict[str, Any]) -> None:
    with box.running("exec sleep 77") as first:
        for code in (0, 2, 8, 126):
            result = box.run(f"exit {code}", linux={"namespaces": joining(first)}, spec=dict(spec))
            assert (result.status, result.failure) == (code, None)


def test_every_exit_code_of_what_is_executed_is_its_own(box: Box) -> None:
    """A newborn that cannot execute its program ends with an error's number: no program is taken for one."""
    with box.running("exec sleep 77") as running:
        for code in (0, 1, 2, 7, 8, 13, 126, 127, 255):
            result = box.exec(running, f"exit {code}")
            assert (result.status, result.failure) == (code, None)


@pytest.mark.parametrize("how", ["exec", "init", "join"])
@pytest.mark.parametrize(
    ("content", "text"), [("\x00\x01", "exec format error"), ("#!/nowhere\n", "no such file or directory")]
)
def test_a_program_that_the_kernel_refuses_is_named(box: Box, how: str, content: str, text: str) -> None:
    box.write("bin/broken", content, 0o755)
    with box.running("exec sleep 77") as running:
        if how == "exec":
            result = box.exec(running, ["broken"])
        elif how == "init":
            result = box.run(["broken"], spec=dict(INIT))
        else:
            result = box.run(["broken"], linux={"namespaces": joining(running)})
    assert result.failure is not None
    assert result.failure.text == f"exec /bin/broken: {text}"


def test_a_limit_on_processes_counts_nobody_who_helps(box: Box) -> None:
    limit = (Rlimit(type="RLIMIT_NPROC", soft=1, hard=1),)
    with box.running("exec sleep 77") as running:
        result = box.exec(running, ["id", "-u"], user=User(uid=4242), rlimits=limit)
        assert (result.out, result.failure) == ("4242\n", None)


@pytest.mark.parametrize("how", ["exec", "init"])
def test_a_limit_on_files_is_the_programs(box: Box, how: str) -> None:
    limit = (Rlimit(type="RLIMIT_FSIZE", soft=0, hard=0),)
    line = "grep 'Max file size' /proc/self/limits"
    with box.running("exec sleep 77") as running:
        if how == "exec":
            result = box.exec(running, line, rlimits=limit)
        else:
            result = box.run(line, spec=dict(INIT), process={"rlimits": limit})
    assert result.out.split()[3:5] == ["0", "0"], result


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_filter_that_forbids_new_processes_is_loaded_all_the_same(box: Box, no_new_privileges: bool) -> None:
    forbidden = SeccompSyscall(names=("clone", "clone3", "fork", "vfork"), action="SCMP_ACT_ERRNO")
    profile = Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(forbidden,))
    wanted = {"capabilities": HELD, "no_new_privileges": no_new_privileges}
    with box.running(["sleep", "77"], linux={"seccomp": profile}) as running:
        result = box.exec(running, "grep Seccomp: /proc/self/status", **wanted)
        # the shell itself becomes grep: it may not make a process
        assert result.out.split() == ["Seccomp:", "2"] or "fork" in result.err, result
        assert box.exec(running, ["grep", "Seccomp:", "/proc/self/status"], **wanted).out.split() == ["Seccomp:", "2"]


def test_capabilities_of_an_executed_program_are_those_asked_for(box: Box) -> None:
    asked = Capabilities(
        bounding=("CAP_CHOWN", "CAP_NET_RAW"),
        effective=("CAP_NET_RAW",),
        permitted=("CAP_CHOWN", "CAP_NET_RAW"),
        inheritable=("CAP_NET_RAW",),
        ambient=("CAP_NET_RAW",),
    )
    with box.running("exec sleep 77") as running:
        result = box.exec(running, ["grep", "Cap", "/proc/self/status"], user=User(uid=1000), capabilities=asked)
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in result.lines}
    raw = 1 << 13
    assert sets == {"CapInh": raw, "CapPrm": raw, "CapEff": raw, "CapBnd": raw | 1, "CapAmb": raw}


def test_init_has_no_descriptor_and_little_memory(box: Box) -> None:
    with box.running("exec sleep 77", spec=dict(INIT)) as running:
        assert os.listdir(f"/proc/{running.pid}/fd") == []
        rollup = Path(f"/proc/{running.pid}/smaps_rollup").read_text()
        resident = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:"))
        assert resident <= 64, rollup
        assert Path(f"/proc/{running.pid}/environ").read_bytes() == b""
        assert "python" not in Path(f"/proc/{running.pid}/maps").read_text()


@pytest.mark.parametrize("how", ["run", "exec"])
def test_the_null_device_of_the_streams_is_not_the_hosts(box: Box, how: str) -> None:
    mode = stat.S_IMODE(os.stat("/dev/null").st_mode)
    line = "chmod 0 /proc/self/fd/0; stat -L -c '%t:%T %a' /proc/self/fd/0"
    try:
        with box.running("exec sleep 77") as running:
            result = box.exec(running, line) if how == "exec" else box.run(line)
        assert stat.S_IMODE(os.stat("/dev/null").st_mode) == mode
        assert result.out == "1:3 0\n"
    finally:
        os.chmod("/dev/null", mode)


def test_what_lies_in_the_place_of_the_null_device_is_not_used(box: Box) -> None:
    with box.running("rm /dev/null; mkfifo /dev/null 2>/dev/null || mknod /dev/null p; exec sleep 77") as running:
        result = box.exec(running, "stat -L -c '%F %t:%T' /proc/self/fd/0")
    assert result.out == "character special file 1:3\n", result


@pytest.mark.parametrize("step", [SwitchUser(2**64 - 1), BecomeRoot("")], ids=["user", "root of a namespace"])
def test_who_has_become_somebody_else_keeps_its_memory_to_itself(step: Step) -> None:
    def work() -> int:
        set_dumpable(True)  # as fs.suid_dumpable may have it
        step.apply(Context(0))
        return prctl(3)  # PR_GET_DUMPABLE

    assert in_child(work) == 0
