"""A port of this namespace's loopback, shown at the loopback of another; or at another port, with a valve between."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from wherry.linux.process import CLONE, setns

_PIECE = 1 << 16


@contextmanager
def relayed(namespace: str, port: int) -> Iterator[None]:
    """Take connections to a port of 127.0.0.1 in another network namespace, and make them here.

    :param namespace: a path, as ``/proc/1/ns/net``.
    """
    with ThreadPoolExecutor(1) as thread:  # one that ends there, and does not come back
        listener = thread.submit(_listen, namespace, port).result()
    accepting = threading.Thread(target=_accept, args=(listener, port))
    accepting.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
        accepting.join()
        listener.close()


class Valve:
    """A port that leads to another one of this loopback, and lets as much through as it is told.

    :ivar host: as in the name of an image, ``127.0.0.1:5000``.
    """

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._room: int | None = None
        self._changed = threading.Condition()
        self._accepting = threading.Thread(target=_accept, args=(self._listener, port, self._pass))
        self._accepting.start()

    @contextmanager
    def narrow(self, room: int) -> Iterator[None]:
        """Let no more than some bytes through, in both directions and by all connections together."""
        self._set(room)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, room: int | None) -> None:
        with self._changed:
            self._room = room
            self._changed.notify_all()

    def _pass(self, size: int) -> None:
        """Wait until so much may go through."""
        with self._changed:
            self._changed.wait_for(lambda: self._room is None or self._room >= size)
            if self._room is not None:
                self._room -= size

    def close(self) -> None:
        """Take no more connections, and let go what waits."""
        self._set(None)
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
        self._accepting.join()
        self._listener.close()


def _listen(namespace: str, port: int) -> socket.socket:
    with open(namespace) as file:
        setns(file.fileno(), CLONE.NEWNET)
    return socket.create_server(("127.0.0.1", port))


def _accept(listener: socket.socket, port: int, passing: Callable[[int], None] = lambda _: None) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:  # it was shut down
            return
        try:
            far = socket.create_connection(("127.0.0.1", port))
        except OSError:
            near.close()
            continue
        pair = _Pair(passing, near, far)
        threading.Thread(target=pair.copy, args=(near, far), daemon=True).start()
        threading.Thread(target=pair.copy, args=(far, near), daemon=True).start()


class _Pair:
    """Two connections that are one: each direction ends by itself, and the second that does closes both."""

    def __init__(self, passing: Callable[[int], None], *both: socket.socket) -> None:
        self._passing = passing
        self._both = both
        self._going = len(both)
        self._lock = threading.Lock()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        """Copy one direction until its end."""
        with suppress(OSError):
            while data := source.recv(_PIECE):
                self._passing(len(data))
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._going -= 1
            if not self._going:
                for one in self._both:
                    one.close()
