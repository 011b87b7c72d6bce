"""The keeper's end of one connection: requests, answers and events.

Sending never waits. What the socket does not take is kept, and as long as something is kept no further request is
read: so a daemon that stops reading can make the keeper hold no more than the answers to what it had asked. Growth of
logs is not even kept, only the set of logs that grew.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from wherry.errors import InvalidInput
from wherry.keeper import packets
from wherry.keeper.loop import Loop
from wherry.keeper.protocol import KeeperSide, Refused, Request, encode, error_fields
from wherry.linux.fd import Fd


class Connection:
    """One connection of a daemon.

    :param on_request: called with each request; the descriptors in it are the callee's.
    :param on_gone: called once, when the other side has gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        on_request: Callable[[Connection, Request], None],
        on_gone: Callable[[Connection], None],
    ) -> None:
        self._sock: Final = sock
        self._loop: Final = loop
        self._on_request: Final = on_request
        self._on_gone: Final = on_gone
        self._kept: deque[tuple[bytes, list[Fd]]] = deque()
        self._grown: dict[str, None] = {}
        self.side: Final = KeeperSide()
        self.watched: set[str] = set()
        """The keys of processes for which `grew` events are sent."""
        self.paused = False
        """Whether no request is read, because the keeper is about to re-execute itself."""
        self.closed = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    @property
    def is_flushed(self) -> bool:
        """Whether everything that was to be sent has been sent."""
        return not self._kept

    def start(self) -> None:
        """Serve requests from now on; also after :attr:`paused` was changed."""
        if self.closed:
            return
        events = 0 if self._kept or self.paused else select.EPOLLIN
        events |= select.EPOLLOUT if self._kept or self._grown else 0
        self._loop.watch(self._sock.fileno(), self._on_ready, events)

    def close(self) -> None:
        """End the connection."""
        if self.closed:
            return
        self.closed = True
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        self._kept.clear()

    def send(self, fields: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        """Send a message, now or when the socket takes it; the descriptors stay the caller's.

        Nothing happens on a closed connection: the answer to the next ``hello`` has it.

        :returns: whether it is sent, or will be.
        """
        if self.closed:
            return False
        data = encode(fields)
        try:
            if not self._kept and packets.send(self._sock, data, fds):
                return True
        except packets.Gone:
            self._lost()
            return False
        self._kept.append((data, [Fd(os.dup(fd)) for fd in fds]))
        self.start()
        return True

    def refuse(self, seq: int | None, error: Exception) -> None:
        """Answer a request with an error."""
        self.send({"re": seq, "error": error_fields(error)})

    def grew(self, key: str) -> None:
        """Note that a log grew; if it is watched, the event is sent at the end of the round."""
        if key in self.watched:
            self._grown[key] = None

    def send_grown(self, position: Callable[[str], list[int] | None]) -> None:
        """Send `grew` events, as many as the socket takes now.

        :param position: the end of the log of the process with a key.
        """
        if self.closed or self._kept or not self._grown:
            return
        try:
            while self._grown:
                key = next(iter(self._grown))
                if not packets.send(self._sock, encode({"event": "grew", "key": key, "log": position(key)})):
                    self.start()
                    return
                del self._grown[key]
        except packets.Gone:
            self._lost()

    def unwatch(self, keys: Iterable[str]) -> None:
        """Send no more `grew` events for these keys."""
        for key in keys:
            self.watched.discard(key)
            self._grown.pop(key, None)

    def _on_ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & select.EPOLLIN and not self._kept and not self.paused:
            self._receive()
        elif events & (select.EPOLLHUP | select.EPOLLERR) and not events & select.EPOLLIN:
            self._lost()

    def _flush(self) -> None:
        try:
            while self._kept:
                data, fds = self._kept[0]
                if not packets.send(self._sock, data, [fd.fileno() for fd in fds]):
                    return
                self._kept.popleft()
        except packets.Gone:
            self._lost()
            return
        self._loop.watch(self._sock.fileno(), self._on_ready, 0 if self.paused else select.EPOLLIN)

    def _receive(self) -> None:
        try:
            packet = packets.receive(self._sock)
            if packet is None:
                return
        except packets.Gone:
            self._lost()
            return
        except InvalidInput as error:
            self.refuse(None, error)
            return
        self._understand(*packet)

    def _understand(self, data: bytes, fds: list[int]) -> None:
        try:
            request = self.side.receive(data, fds)
        except Refused as error:
            packets.close_all(fds)
            self.refuse(error.seq, error)
            return
        self._on_request(self, request)

    def _lost(self) -> None:
        self.close()
        self._on_gone(self)
