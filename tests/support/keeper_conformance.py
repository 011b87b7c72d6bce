"""What the engine relies on of a keeper, as a list: for the fake one, and the real one with processes and containers.

Every check gets a `Subject` and begins with a keeper that knows nothing. Processes are called ``c``, so one runs at a
time.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from wherry.engine.keeper.connection import KeeperConnection
from wherry.errors import CommandNotFound, InvalidInput, Unavailable, WherryError
from wherry.keeper.protocol import PROTOCOL, Message
from wherry.linux.fd import Fd

__all__ = ["CHECKS", "Subject", "run"]

PATIENCE = 20.0
Check = Callable[["Subject"], Awaitable[None]]


class Subject(Protocol):
    """A keeper to be looked at."""

    exec_root: Path

    def connection(self) -> KeeperConnection:
        """Another engine's end, not connected yet."""

    def plan(self, argv: list[str]) -> Fd:
        """How to start a program, as the keeper's launcher understands it."""


class Engine:
    """Hears what the keeper tells."""

    def __init__(self, subject: Subject) -> None:
        self.keeper = subject.connection()
        self._subject = subject
        self.events: asyncio.Queue[Message] = asyncio.Queue()
        self.lost = asyncio.Event()

    async def greet(self) -> list[dict[str, Any]]:
        """Connect; returns what the keeper knows."""
        hello = await self.keeper.connect(self.events.put_nowait, self.lost.set)
        self.keeper.reconciled.set()
        processes: list[dict[str, Any]] = hello.fields["processes"]
        return processes

    async def launch(self, *argv: str, has_log: bool = True) -> Message:
        """Start a program."""
        log = {"dir": str(self._subject.exec_root / "log")} if has_log else None
        with self._subject.plan(list(argv)) as plan:
            return await self.keeper.request(
                "launch", [plan.fileno()], key="c", container="c", kind="container", terminal=False, stdin=False,
                size=None, log=log,
            )  # fmt: skip

    async def exited(self) -> dict[str, Any]:
        """Wait for the exit."""
        while True:
            message = await self.events.get()
            if message.fields["event"] == "exited":
                return message.fields
            close(message)


@asynccontextmanager
async def engine(subject: Subject) -> AsyncIterator[Engine]:
    """An engine's end, for as long as the block."""
    made = Engine(subject)
    try:
        yield made
    finally:
        made.keeper.close()
        while not made.events.empty():
            close(made.events.get_nowait())


def close(message: Message) -> None:
    """Its descriptors are of no use."""
    for fd in message.fds:
        os.close(fd)


async def a_new_keeper_knows_nothing_and_speaks_this_protocol(subject: Subject) -> None:
    async with engine(subject) as one:
        assert await one.greet() == []
        assert one.keeper.protocol == PROTOCOL
        assert one.keeper.connections == 1
        assert one.keeper.trouble() is None


async def nothing_is_launched_before_it_is_known_what_runs(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        one.keeper.reconciled.clear()
        with suppress(Unavailable):
            close(await one.launch("sleep", "0"))
            raise AssertionError("it was launched")


async def a_container_needs_a_log(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        with suppress(InvalidInput):
            close(await one.launch("sleep", "0", has_log=False))
            raise AssertionError("it was launched")


async def a_process_is_launched_and_its_exit_told(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        answer = await one.launch("sh", "-c", "exit 3")
        assert answer.fields["pid"] > 0
        exit_ = await one.exited()
        assert (exit_["key"], exit_["container"], exit_["kind"], exit_["status"]) == ("c", "c", "container", 3)
        close(answer)
        await one.keeper.forget("c")


async def the_answer_has_a_pidfd_that_signals_go_through(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        answer = await one.launch("sleep", "1000")
        signal.pidfd_send_signal(answer.fds[0], signal.SIGKILL)
        assert (await one.exited())["status"] == 128 + signal.SIGKILL
        close(answer)
        await one.keeper.forget("c")


async def a_program_that_is_not_there_is_an_error_and_leaves_nothing(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        try:
            close(await one.launch("/no/such/program"))
        except CommandNotFound:
            pass
        else:
            raise AssertionError("it was launched")
    async with engine(subject) as two:
        assert await two.greet() == []


async def another_engine_is_told_of_what_runs_with_its_pidfd(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        answer = await one.launch("sleep", "1000")
    async with engine(subject) as two:
        [entry] = await two.greet()
        assert (entry["key"], entry["kind"], entry["pid"]) == ("c", "container", answer.fields["pid"])
        assert not entry["exited"]
        message = await two.events.get()
        assert (message.fields["event"], message.fields["key"]) == ("process", "c")
        signal.pidfd_send_signal(message.fds[0], signal.SIGTERM if entry["pid"] == 1 else signal.SIGKILL)
        close(message)
        await two.exited()
        await two.keeper.forget("c")
    close(answer)


async def an_exit_is_remembered_until_it_is_forgotten(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        close(await one.launch("sh", "-c", "exit 5"))
        exit_ = await one.exited()
    async with engine(subject) as two:
        [entry] = await two.greet()
        assert entry["exited"]["status"] == 5
        assert entry["exited"]["at"] == exit_["at"]
        await two.keeper.forget("c")
    async with engine(subject) as three:
        assert await three.greet() == []


async def who_says_hello_takes_over_from_the_one_before(subject: Subject) -> None:
    async with engine(subject) as one, engine(subject) as two:
        await one.greet()
        await two.greet()
        await one.lost.wait()
        assert not one.keeper.reconciled.is_set()
        assert not two.lost.is_set()


async def what_comes_too_late_is_no_error_where_that_is_said(subject: Subject) -> None:
    async with engine(subject) as one:
        await one.greet()
        await one.keeper.try_request("watch", key="nobody")
        await one.keeper.forget("nobody")


CHECKS: list[Check] = [
    a_new_keeper_knows_nothing_and_speaks_this_protocol,
    nothing_is_launched_before_it_is_known_what_runs,
    a_container_needs_a_log,
    a_process_is_launched_and_its_exit_told,
    the_answer_has_a_pidfd_that_signals_go_through,
    a_program_that_is_not_there_is_an_error_and_leaves_nothing,
    another_engine_is_told_of_what_runs_with_its_pidfd,
    an_exit_is_remembered_until_it_is_forgotten,
    who_says_hello_takes_over_from_the_one_before,
    what_comes_too_late_is_no_error_where_that_is_said,
]


def run(check: Check, subject: Subject) -> None:
    """Carry one out."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await check(subject)

    try:
        asyncio.run(bounded())
    except WherryError as error:
        raise AssertionError(f"{check.__name__}: {error}") from error
