"""Filters that leave decisions to a program outside: it gets their listener, and the container never does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from support.runtime_harness import Box
from support.seccomp_agent import Agent, agent
from wherry.oci.runtime_spec import Seccomp, SeccompSyscall

pytestmark = need("root", "busybox", "overlay", "namespaces")

INIT = {"annotations": {"org.wherry.init": "true"}}
#: What the program has open; ls itself opens one more.
OPEN = "ls /proc/self/fd | tr '\\n' ' '; echo; ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c seccomp"


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Agent]:
    with agent(tmp_path) as made:
        yield made


def profile(path: str, *names: str) -> dict[str, Any]:
    rule = SeccompSyscall(names=names or ("mkdir", "mkdirat"), action="SCMP_ACT_NOTIFY")
    seccomp = Seccomp(default_action="SCMP_ACT_ALLOW", listener_path=path, listener_metadata="m", syscalls=(rule,))
    return {"seccomp": seccomp}


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("init", [False, True])
def test_a_program_outside_decides(box: Box, answering: Agent, init: bool, no_new_privileges: bool) -> None:
    found = box.run(
        f"mkdir /tmp/made && ls /tmp; {OPEN}",
        linux=profile(answering.path),
        process={"no_new_privileges": no_new_privileges},
        spec=dict(INIT) if init else {},
    )
    assert found.lines == ["0 1 2 3 ", "0"], found  # it was told that there is a directory, and there is none
    (message,) = answering.messages(1)
    state = message["state"]
    assert (message["fds"], message["received"], message["metadata"]) == (["seccompFd"], 1, "m")
    assert (state["status"], state["pid"]) == ("creating", message["pid"])


def test_an_exec_has_a_listener_of_its_own_and_its_own_number(box: Box, answering: Agent) -> None:
    with box.running("exec sleep 100", linux=profile(answering.path)) as first:
        found = box.exec(first, f"mkdir /tmp/made && ls /tmp; {OPEN}")
        assert found.lines == ["0 1 2 3 ", "0"], found
    created, executed = answering.messages(2)
    assert created["pid"] == first.pid == executed["state"]["pid"]
    assert executed["state"]["status"] == "running"
    assert executed["pid"] != first.pid


def test_even_what_is_needed_to_become_the_program_can_be_decided(box: Box, answering: Agent) -> None:
    linux = profile(answering.path, "setsid", "capset", "prctl", "close")
    found = box.run("echo ran", linux=linux)
    assert found.out == "ran\n", found


def full_backlog(path: Path) -> list[socket.socket]:
    """A socket whose owner accepts nothing, and that has as many waiting as it takes."""
    made = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)]
    made[0].bind(str(path))
    made[0].listen(0)
    while True:
        made.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        made[-1].setblocking(False)
        try:
            made[-1].connect(str(path))
        except BlockingIOError:
            return made


@pytest.mark.parametrize("kind", ["missing", "file", "deaf"])
def test_nobody_who_takes_the_listener_is_a_failed_start(box: Box, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "socket"
    sockets = []
    if kind == "file":
        path.touch()
    elif kind == "deaf":
        sockets = full_backlog(path)
    failure = box.run("echo ran", linux=profile(str(path))).failure
    for one in sockets:
        one.close()
    assert failure is not None
    assert failure.step == "hand the seccomp listener over"
    assert str(path) in failure.text
