"""A keeper in the test's own process, with the face of `wherry.engine.keeper.connection.KeeperConnection`.

Its processes are ordinary ones: the program of a plan, without namespaces, so that signals, pidfds and exit codes are
real. It survives the engine that uses it, as the real one does, so that a test can end an engine at any point and let
another one find what it has left. That it behaves as the real one is what `support.keeper_conformance` checks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry import __version__
from wherry.engine.keeper.connection import KeeperConnection
from wherry.errors import CommandNotExecutable, CommandNotFound, InvalidInput, NotFound, Unavailable, WherryError
from wherry.keeper.protocol import PROTOCOL, Message
from wherry.runtime.plan import Plan

__all__ = ["FakeConnection", "FakeKeeper"]

Fields = dict[str, Any]


@dataclass
class Process:
    """A process that was launched, until it is forgotten."""

    key: str
    container: str
    kind: str
    popen: subprocess.Popen[bytes]
    started: int
    exited: Fields | None = None
    lost: bool = False  #: a keeper that did not start it cannot see how it ends

    def entry(self) -> Fields:
        """As in the answer to ``hello``."""
        return {
            "key": self.key, "container": self.container, "kind": self.kind, "pid": self.popen.pid,
            "started": self.started, "exited": self.exited, "log": None,
        }  # fmt: skip

    def has_exited(self) -> bool:
        """Whether it has; it is not reaped."""
        return os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> None:
        """Kill it and all that it has started, and reap it."""
        if self.popen.returncode is None:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()


def argv_of(plan: Plan) -> tuple[str, ...]:
    """The program of a plan, wherever in it that is."""
    return next(args for args in _args_in(plan) if args)


def _args_in(value: object) -> Sequence[Any]:
    found = [value.args] if hasattr(value, "args") and isinstance(getattr(value, "args", None), tuple) else []
    if isinstance(value, tuple):
        for part in value:
            found += _args_in(part)
    return found


@dataclass
class FakeKeeper:
    """What outlives an engine: the processes. One connection at a time hears of them."""

    processes: dict[str, Process] = field(default_factory=dict)
    connection: FakeConnection | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)  #: operation and key, in order
    fail: dict[str, list[WherryError]] = field(default_factory=dict)  #: by operation: what the next ones raise
    silent: set[str] = field(default_factory=set)  #: operations that are carried out, but never answered

    def launch(self, fields: Fields, plan: Plan) -> tuple[Fields, list[int]]:
        """Start the program of a plan."""
        if fields["kind"] == "container" and fields.get("log") is None:
            raise InvalidInput("'launch': a container needs a log")
        argv = argv_of(plan)
        try:
            popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        except PermissionError as error:
            raise CommandNotExecutable(f"exec: {argv[0]!r}") from error
        except FileNotFoundError as error:
            raise CommandNotFound(f"exec: {argv[0]!r}") from error
        process = Process(fields["key"], fields["container"], fields["kind"], popen, time.time_ns())
        self.processes[process.key] = process
        pidfd = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._exited, process, pidfd)
        return {"pid": popen.pid, "started": process.started, "root": False}, [os.pidfd_open(popen.pid)]

    def _exited(self, process: Process, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self.note_exit(process)

    def note_exit(self, process: Process) -> None:
        """Reap, remember, and tell whoever listens.

        There is no PID namespace that would end what it has started: that is killed here, while its group's number is
        still its own.
        """
        if process.exited is None:
            process.end()
            code = process.popen.returncode
            status = 255 if process.lost else 128 - code if code < 0 else code
            process.exited = {"status": status, "at": time.time_ns(), "oom": False}
            self.say({"event": "exited", "key": process.key, "container": process.container, "kind": process.kind}
                     | process.exited)  # fmt: skip

    def say(self, fields: Fields, fds: Sequence[int] = ()) -> None:
        """Tell the engine something, if there is one."""
        if self.connection is not None:
            self.connection.on_event(Message(fields, list(fds)))

    def look(self) -> None:
        """See which processes have ended while no loop was watching."""
        for process in self.processes.values():
            if process.exited is None and process.has_exited():
                self.note_exit(process)

    def die(self) -> None:
        """As by ``kill -9``. The next one finds the processes, and is not their parent."""
        connection, self.connection = self.connection, None
        for process in self.processes.values():
            process.lost = True
        if connection is not None:
            connection.lost()

    def close(self) -> None:
        """End all that runs."""
        for process in self.processes.values():
            process.end()


class FakeConnection(KeeperConnection):
    """The engine's end; what `KeeperConnection` sends over a socket is a call here."""

    def __init__(self, keeper: FakeKeeper, exec_root: Path) -> None:
        super().__init__(exec_root)
        self._fake = keeper
        self.on_event: Callable[[Message], None] = lambda message: None
        self._lost_callback: Callable[[], None] = lambda: None

    async def connect(self, on_event: Callable[[Message], None], on_lost: Callable[[], None]) -> Message:
        self.on_event, self._lost_callback = on_event, on_lost
        self._fake.look()
        former, self._fake.connection = self._fake.connection, self
        if former is not None:
            former.lost()
        self.connections += 1
        self.protocol = PROTOCOL
        entries = [process.entry() for process in self._fake.processes.values()]
        for process in list(self._fake.processes.values()):
            if process.exited is None:
                self._fake.say({"event": "process", "key": process.key}, [os.pidfd_open(process.popen.pid)])
                pidfd = os.pidfd_open(process.popen.pid)
                asyncio.get_running_loop().add_reader(pidfd, self._fake._exited, process, pidfd)
        return Message({"version": __version__, "protocol": PROTOCOL, "processes": entries}, [])

    async def upgrade(self) -> None:
        raise AssertionError("it is of this version")

    def close(self) -> None:
        if self._fake.connection is self:
            self._fake.connection = None

    async def release(self) -> None:
        """Nothing to do: the test ends the fake."""

    def lost(self) -> None:
        """The keeper has died."""
        self.reconciled.clear()
        self._lost_callback()

    async def request(self, op: str, fds: Sequence[int] = (), **fields: Any) -> Message:
        if self._fake.connection is not self or (op == "launch" and not self.reconciled.is_set()):
            raise Unavailable("the keeper is not there")
        self._fake.requests.append((op, str(fields.get("key", ""))))
        if self._fake.fail.get(op):
            raise self._fake.fail[op].pop(0)
        answer: Fields = {}
        returned: list[int] = []
        if op == "launch":
            with os.fdopen(os.dup(fds[0]), "rb") as plan:
                plan.seek(0)
                answer, returned = self._fake.launch(fields, Plan.decode(plan.read()))
        elif op == "forget":
            self._fake.processes.pop(fields["key"], None)
        elif op == "adopt" and fields["key"] not in self._fake.processes:
            raise NotFound("there is no such process")
        await asyncio.sleep(0)
        if op in self._fake.silent:
            await asyncio.get_running_loop().create_future()
        return Message({"re": 1, **answer}, returned)

    def trouble(self) -> Unavailable | None:
        return None
