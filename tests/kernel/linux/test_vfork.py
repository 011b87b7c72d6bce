"""Children that run Python on this process's memory; each test does it in a process of its own."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

import pytest

from support.needs import need
from wherry.linux import elf
from wherry.linux._libc import ARCHITECTURE
from wherry.linux.process import CLONE
from wherry.linux.vfork import Vfork
from wherry.linux.vfork_code import LISTINGS
from wherry.runtime.steps import trampoline
from wherry.runtime.steps.trampoline import Call, Words
from wherry.runtime.steps.trampoline_code import machine_code

pytestmark = [
    need("root", "busybox"),
    pytest.mark.skipif(ARCHITECTURE not in LISTINGS, reason="no machine code for this architecture"),
]

ROOM = 1 << 16
SHELL = b"/bin/sh\0"


def in_a_process(work: Callable[[], None]) -> int:
    """Do something in a copy of this process; gives how it ended, as `os.waitpid` does."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(100)
    return os.waitpid(pid, 0)[1]


def making(function: Callable[[Vfork], int]) -> Vfork:
    """A maker of children that run a function which gets the maker."""
    held: list[Vfork] = []
    held.append(Vfork(lambda: function(held[0]), machine_code(), (elf.DATA, ROOM)))
    return held[0]


def shell(command: bytes) -> bytes:
    """The last system calls of a child that becomes a shell."""
    words = Words((b"sh\0", b"-c\0", command + b"\0", 0))
    return trampoline.assemble((Call("execve", (SHELL, words, Words((0,)))), Call("exit_group", (77,)))).data


def test_what_a_child_does_in_python_its_parent_has_done_and_the_rest_is_its_own() -> None:
    done: list[int] = []

    def child(maker: Vfork) -> int:
        done.append(os.getpid())
        os.chdir("/proc")
        os.umask(0o777)
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        maker.write(shell(b"exit 3"))
        return 0

    def work() -> None:
        maker = making(child)
        place, output = os.getcwd(), os.fstat(1)
        for number in range(1, 20):  # so often that Python has made its own code anew (PEP 659)
            maker.clone(CLONE.CLEAR_SIGHAND)
            pid, status = os.wait()
            assert os.WEXITSTATUS(status) == 3
            assert done[-1] == pid
            assert len(done) == number
        assert (os.getcwd(), os.fstat(1), os.umask(0o22)) == (place, output, 0o22)

    os.umask(0o22)
    assert in_a_process(work) == 0


def test_a_child_is_told_of_before_it_does_anything() -> None:
    reading, writing = os.pipe()
    told: list[bytes] = []

    def child() -> int:
        told.append(os.read(reading, 64))
        return 1

    def work() -> None:
        Vfork(child, machine_code(), (elf.DATA, ROOM), report_to=writing).clone(0)
        assert told == [os.wait()[0].to_bytes(8, "little")]

    assert in_a_process(work) == 0
    os.close(reading)
    os.close(writing)


def test_a_child_whose_function_says_so_ends() -> None:
    def work() -> None:
        maker = making(lambda _: 1)
        for _ in range(2):
            maker.clone(0)
            assert os.WEXITSTATUS(os.wait()[1]) == 1

    assert in_a_process(work) == 0


def test_a_program_that_cannot_be_executed_leaves_its_parent_as_it_was() -> None:
    def child(maker: Vfork) -> int:
        words = Words((0,))
        calls = (Call("execve", (b"/no/such\0", words, words)), Call("exit_group", (9,)))
        maker.write(trampoline.assemble(calls).data)
        return 0

    def work() -> None:
        maker = making(child)
        for _ in range(2):
            maker.clone(0)
            assert os.WEXITSTATUS(os.wait()[1]) == 9

    assert in_a_process(work) == 0


def test_what_a_child_wrote_for_its_last_calls_the_next_one_does_not_find() -> None:
    found: list[bytes] = []

    def child(maker: Vfork) -> int:
        with open("/proc/self/mem", "rb") as memory:
            memory.seek(elf.DATA)
            found.append(memory.read(ROOM))
        maker.write(shell(b"exit 0 # secret"))
        return 0

    def work() -> None:
        maker = making(child)
        for _ in range(2):
            maker.clone(0)
            os.wait()
        assert not any(map(any, found))

    assert in_a_process(work) == 0


def test_a_process_whose_child_was_killed_within_python_ends() -> None:
    def child(_: Vfork) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def work() -> None:
        making(child).clone(0)
        os._exit(50)

    assert os.WEXITSTATUS(in_a_process(work)) == 1


def test_a_child_is_in_the_namespaces_that_were_asked_for() -> None:
    reading, writing = os.pipe()

    def child(_: Vfork) -> int:
        os.write(writing, f"{os.getpid()} {os.readlink('/proc/thread-self/ns/net')}".encode())
        return 1

    assert in_a_process(lambda: making(child).clone(CLONE.NEWPID | CLONE.NEWNET)) == 0
    assert select.select([reading], [], [], 10)[0]
    pid, network = os.read(reading, 100).decode().split()
    assert pid == "1"
    assert network != os.readlink("/proc/self/ns/net")
    os.close(reading)
    os.close(writing)


def test_who_cannot_be_made_is_an_error_of_its_parent() -> None:
    def work() -> None:
        maker = making(lambda _: 1)
        with pytest.raises(Exception, match="clone3"):
            maker.clone(CLONE.NEWNS | CLONE.FS)  # these two exclude each other
        maker.clone(0)
        os.wait()

    assert in_a_process(work) == 0
