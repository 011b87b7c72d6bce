"""The daemon's end of the connection to the keeper, on the event loop.

`wherry.keeper.client` knows the messages; this module adds waiting. When the keeper dies the link says so once, and
whoever built it starts another keeper and calls `connect` again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from wherry.errors import Conflict, Unavailable, WherryError
from wherry.keeper import client
from wherry.keeper import exec_root as exec_root_files
from wherry.keeper.protocol import PROTOCOL, Message, error_of

__all__ = ["KeeperLink"]

_END_TIMEOUT: Final = 10.0  # seconds


class KeeperLink:
    """Requests to the keeper and events from it.

    :param exec_root: where its socket is.
    :param on_event: called with every event, in order, from the event loop.
    :param on_lost: called once when the connection ends without `close`.
    """

    def __init__(self, exec_root: Path, on_event: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._exec_root = exec_root
        self._on_event = on_event
        self._on_lost = on_lost
        self._client: client.KeeperClient | None = None
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._greeted = False  # a connection that ends before that is the affair of whoever called `connect`

    async def connect(self) -> Message:
        """Connect, starting a keeper when none answers; returns its answer to ``hello``.

        :raises SystemFault: it does not start.
        """
        try:
            sock = client.connect(self._exec_root)
        except (OSError, WherryError):
            await asyncio.to_thread(client.start_keeper, self._exec_root)
            sock = client.connect(self._exec_root)
        self._client = client.KeeperClient(sock)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
        hello = await self.request("hello", protocol=PROTOCOL)
        self._greeted = True
        return hello

    def close(self) -> None:
        """End the connection; the keeper and its containers go on."""
        self._disconnect()

    async def end(self) -> None:
        """Ask the keeper to end, wait until it has, and remove what is left of it. Nothing may run any more.

        :raises Conflict: it does not end, or processes run.
        """
        await self.request("shutdown")
        await asyncio.to_thread(_remove_traces, self._exec_root)

    async def request(self, op: str, fds: Sequence[int] = (), **fields: Any) -> Message:
        """Ask, and wait for the answer.

        :raises Unavailable: the keeper is gone, or goes before it answers.
        :raises WherryError: the keeper's own refusal; a child's error as the kind that it names.
        """
        if self._client is None:
            raise Unavailable("the keeper is not there", hint="it is being started again")
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        seq = self._client.request(op, fields, fds)
        self._waiting[seq] = answer
        if self._client.wants_write():
            self._watch_writable()
        try:
            message = await answer
        finally:
            self._waiting.pop(seq, None)
        if "error" in message.fields:
            raise error_of(message.fields["error"])
        return message

    # --- the socket -------------------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._client is not None
        try:
            messages = self._client.receive()
        except (OSError, WherryError, EOFError):
            self._lost()
            return
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
