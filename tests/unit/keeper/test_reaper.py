"""A birth that nobody waits for any more leaves no process behind that would become its program later."""

from __future__ import annotations

import os
import signal
import time

import pytest

from wherry.keeper.process import Description, Process
from wherry.keeper.reaper import end_newborns
from wherry.linux._libc import ARCHITECTURE
from wherry.runtime.steps import trampoline
from wherry.runtime.steps.trampoline import GIVE_UP, RETRY, Call
from wherry.runtime.steps.trampoline_code import LISTINGS

pytestmark = pytest.mark.skipif(ARCHITECTURE not in LISTINGS, reason="no code for this architecture")
CLONE_PARENT = 0x8000


def forked(become: object) -> int:
    """A child that becomes something."""
    pid = os.fork()
    if pid == 0:
        try:
            become()  # type: ignore[operator]
        finally:
            os._exit(1)
    return pid


def waiting_for_ever() -> Call:
    return Call("rt_sigtimedwait", (bytes(8), 0, 0, 8), RETRY)


def children() -> set[int]:
    found = set()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                    found.add(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def is_in_trampoline(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/exe").startswith("/memfd:wherry")


def test_a_newborn_that_is_held_up_is_killed_and_nobody_else() -> None:
    script = (Call("clone", (CLONE_PARENT,), (Call(GIVE_UP),), (waiting_for_ever(),)), waiting_for_ever())
    before = children()
    other = forked(signal.pause)
    init = forked(lambda: trampoline.execute(trampoline.fill(trampoline.assemble((waiting_for_ever(),))), "init"))
    helper = forked(lambda: trampoline.execute(trampoline.fill(trampoline.assemble(script)), "helper"))
    deadline = time.monotonic() + 60
    while not (born := children() - before - {other, init, helper}) or not is_in_trampoline(init):
        assert time.monotonic() < deadline, "nobody was born"
        time.sleep(0.01)
    try:
        end_newborns(helper, [Process(Description("c", "c", "container", False, None, init, 1, 1), "/")])
        (newborn,) = born
        assert os.waitstatus_to_exitcode(os.waitpid(newborn, 0)[1]) == -signal.SIGKILL
        for pid in (other, init, helper):
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        for pid in (other, init, helper):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_helper_that_is_gone_has_nobody_to_be_looked_for() -> None:
    pid = forked(lambda: os._exit(0))
    os.waitpid(pid, 0)
    end_newborns(pid, ())
