"""Relay bytes between a socket and two descriptors, with half-close: one direction may end while the other goes on."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.sockets import Socket

__all__ = ["relay"]

PIECE = 1 << 16
MOST_WAITING = 1 << 20
_SHUT_WR = 1


def relay(sock: Socket, source: int, target: int) -> None:
    """Pass what comes from ``source`` to a socket, and what the socket sends to ``target``.

    Nobody is waited for who does not read while there is something to do in the other direction. It returns at the
    socket's end, or when nobody is left to read ``target``. The two descriptors stay blocking, since others may share
    them: as much is written at once as poll(2) promises to have room (pipe(7), ``PIPE_BUF``).

    :raises BrokenPipeError: nobody reads ``target`` any more.
    """
    sock.setblocking(False)
    _Relay(sock, source, target).run()


class _Relay:
    def __init__(self, sock: Socket, source: int, target: int) -> None:
        self._sock = sock
        self._source = source
        self._target = target
        self._there = b""  #: read from the source, not yet sent
        self._back = b""  #: received, not yet written
        self._source_ended = False
        self._socket_ended = False
        self._shut = False

    def run(self) -> None:
        """Relay until the end."""
        while not self._socket_ended or self._back:
            ready = self._wait()
            if ready.get(self._target, 0) & (select.POLLERR | select.POLLHUP):
                return
            if ready.get(self._source):
                self._read()
            if ready.get(self._sock.fileno()):
                self._send()
                self._receive()
            if ready.get(self._target):
                self._back = self._back[os.write(self._target, self._back[: select.PIPE_BUF]) :]
            if self._source_ended and not self._there and not self._shut:
                self._shut = True
                self._end_sending()

    def _wait(self) -> dict[int, int]:
        poll = select.poll()
        if not self._source_ended and len(self._there) < MOST_WAITING:
            poll.register(self._source, select.POLLIN)
        events = select.POLLOUT if self._there else 0
        if not self._socket_ended:
            if len(self._back) < MOST_WAITING:
                events |= select.POLLIN
            if events:
                poll.register(self._sock.fileno(), events)
        poll.register(self._target, select.POLLOUT if self._back else 0)
        return dict(poll.poll())

    def _read(self) -> None:
        data = os.read(self._source, PIECE)
        self._there += data
        self._source_ended = not data

    def _send(self) -> None:
        try:
            while self._there:
                self._there = self._there[self._sock.send(self._there[:PIECE]) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):  # it takes nothing more; what it has sent may still come
            self._there, self._source_ended, self._shut = b"", True, True

    def _receive(self) -> None:
        """All that is there: poll(2) does not see what TLS has decrypted already."""
        try:
            while not self._socket_ended and len(self._back) < MOST_WAITING:
                data = self._sock.recv(PIECE)
                self._back += data
                self._socket_ended = not data
        except BlockingIOError:
            return
        except ConnectionResetError:
            self._socket_ended = True

    def _end_sending(self) -> None:
        try:
            self._sock.shutdown(_SHUT_WR)
        except OSError:
            return  # the daemon has closed the connection already
