"""The daemon's end of the connection to the keeper, on the event loop.

`wherry.keeper.client` knows the messages; this module adds waiting. When the keeper dies the link says so once, and
whoever built it starts another keeper and calls `connect` again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from wherry.engine.keeper.patience import in_time, trouble_with
from wherry.errors import Conflict, InvalidInput, SystemFault, Unavailable, WherryError
from wherry.keeper import client
from wherry.keeper import exec_root as exec_root_files
from wherry.keeper.protocol import OLDEST, PROTOCOL, Message, error_of
from wherry.linux import process

__all__ = ["KeeperConnection"]

_END_TIMEOUT: Final = 10.0  # seconds
_LOOK: Final = 5.0  # seconds between two looks at a keeper that tells of no exit
_EXIT_PATIENCE: Final = 15.0  # seconds for which a killed process is waited for; dockerd's are 12


class KeeperConnection:
    """Requests to the keeper and events from it.

    :param exec_root: where its socket is.
    """

    def __init__(self, exec_root: Path) -> None:
        self._exec_root = exec_root
        self._on_event: Callable[[Message], None] = lambda message: None
        self._on_lost: Callable[[], None] = lambda: None
        self._client: client.KeeperClient | None = None
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self.protocol = OLDEST
        """What the keeper understands."""
        self.reconciled: Final = asyncio.Event()
        """Whether it is known what the keeper runs. Before that nothing is launched: it would be taken for lost."""
        self.connections = 0
        """How many keepers have answered so far."""
        self._is_silent = False  # it did not answer the last time that it was asked
        self._given_up: set[int] = set()  # launches that nobody waits for any more
        self._greeted = False  # a connection that ends before that is the affair of whoever called `connect`

    async def connect(self, on_event: Callable[[Message], None], on_lost: Callable[[], None]) -> Message:
        """Connect, starting a keeper when none answers; returns its answer to ``hello``.

        :param on_event: called with every event, in order, from the event loop.
        :param on_lost: called once when the connection ends without `close`.
        :raises SystemFault: it does not start.
        """
        self._on_event, self._on_lost = on_event, on_lost
        try:
            sock = client.connect(self._exec_root)
        except (OSError, WherryError):
            await asyncio.to_thread(client.start_keeper, self._exec_root)
            sock = client.connect(self._exec_root)
        self._client = client.KeeperClient(sock)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
        try:
            hello = await self.request("hello", protocol=PROTOCOL)
        except InvalidInput:  # a keeper that an earlier version has left: it will be upgraded
            hello = await self.request("hello", protocol=OLDEST)
        self._greeted = True
        self.connections += 1
        self.protocol = hello.fields["protocol"]
        return hello

    async def upgrade(self) -> None:
        """Let the keeper go on as this version's.

        :raises WherryError: it cannot, and stays as it is.
        """
        self.protocol = (await self.request("upgrade")).fields["protocol"]

    def close(self) -> None:
        """End the connection; the keeper and its containers go on."""
        self._disconnect()

    async def release(self) -> None:
        """At the daemon's end: the keeper ends as well, unless something runs that it has to keep."""
        with suppress(WherryError):
            if self._client is not None and self.trouble() is None:
                await self.request("shutdown")

    async def end(self) -> None:
        """Ask the keeper to end, wait until it has, and remove what is left of it. Nothing may run any more.

        :raises Conflict: it does not end, or processes run.
        """
        deadline = time.monotonic() + _END_TIMEOUT
        while True:
            try:
                await self.request("shutdown")
                break
            except Conflict:  # what was killed a moment ago is not reaped yet
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)
        await asyncio.to_thread(_remove_traces, self._exec_root)

    async def request(self, op: str, fds: Sequence[int] = (), **fields: Any) -> Message:
        """Ask, and wait for the answer.

        :raises Unavailable: the keeper is gone, or goes before it answers.
        :raises WherryError: the keeper's own refusal; a child's error as the kind that it names.
        """
        if self._client is None or (op == "launch" and not self.reconciled.is_set()):
            raise Unavailable("the keeper is not there", hint="it is being started again")
        if self._is_silent and (trouble := self.trouble()) is not None:
            raise trouble
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        seq = self._client.request(op, fields, fds)
        self._waiting[seq] = answer
        if self._client.wants_write():
            self._watch_writable()
        try:
            message = await in_time(answer, self._client.peer(), op)
        except Unavailable:
            self._is_silent = True
            if op == "launch":
                self._given_up.add(seq)
            raise
        finally:
            self._waiting.pop(seq, None)
        if "error" in message.fields:
            raise error_of(message.fields["error"])
        return message

    async def try_request(self, op: str, **fields: Any) -> None:
        """Ask for something that may come too late: the process may be gone, and then nothing is lost."""
        with suppress(WherryError):
            await self.request(op, **fields)

    async def forget(self, key: str) -> None:
        """An exit need not be remembered any longer."""
        await self.try_request("forget", key=key)

    async def wait_for_exit(self, exit_code: asyncio.Future[Any]) -> None:
        """Wait for an exit of which the keeper is about to tell.

        :raises Unavailable: it tells nothing, because it stands still.
        :raises SystemFault: the process does not end, though it was killed: it waits in the kernel for what does not
            answer, or somebody else in its PID namespace traces it and does not let go. It may end later.
        """
        deadline = time.monotonic() + _EXIT_PATIENCE
        while not (await asyncio.wait([exit_code], timeout=_LOOK))[0]:
            if (trouble := self.trouble()) is not None:
                raise trouble
            if time.monotonic() > deadline:
                raise SystemFault("tried to kill container, but did not receive an exit event")

    def trouble(self) -> Unavailable | None:
        """Why the keeper tells nothing any more, if it stands still."""
        return None if self._client is None else trouble_with(self._client.peer())

    # --- the socket -------------------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._client is not None
        try:
            messages = self._client.receive()
        except (OSError, WherryError, EOFError):
            self._lost()
            return
        self._is_silent = False
        for message in messages:
            self._dispatch(message)
        if self._client is not None and self._client.closed:
            self._lost()

    def _dispatch(self, message: Message) -> None:
        seq = message.fields.get("re")
        if seq is None:
            self._on_event(message)
            return
        answer = self._waiting.get(seq)
        if answer is not None and not answer.done():
            answer.set_result(message)
        else:  # whoever asked has gone: its descriptors are ours to close
            if message.fds and seq in self._given_up:  # nobody takes care of what was started after all
                process.pidfd_send_signal(message.fds[0], signal.SIGKILL)
            self._given_up.discard(seq)
            for fd in message.fds:
                os.close(fd)

    def _watch_writable(self) -> None:
        assert self._client is not None
        asyncio.get_running_loop().add_writer(self._client.fileno(), self._writable)

    def _writable(self) -> None:
        assert self._client is not None
        self._client.flush()
        if not self._client.wants_write():
            asyncio.get_running_loop().remove_writer(self._client.fileno())

    def _disconnect(self) -> None:
        if self._client is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._client.fileno())
        loop.remove_writer(self._client.fileno())
        self._client.close()
        self._client = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("the keeper ended before it answered"))

    def _lost(self) -> None:
        if self._client is None:
            return
        was_greeted, self._greeted = self._greeted, False
        self.reconciled.clear()
        self._disconnect()
        if was_greeted:
            self._on_lost()


def _remove_traces(exec_root: Path) -> None:
    """Wait until the keeper's lock is free, which is when its process has gone; then remove lock and log."""
    deadline = time.monotonic() + _END_TIMEOUT
    while True:
        try:
            with exec_root_files.lock(exec_root):
                for name in (exec_root_files.LOG, exec_root_files.LOCK):
                    (exec_root / name).unlink(missing_ok=True)
        except Conflict:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return
