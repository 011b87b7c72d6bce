"""A port of this namespace's loopback, shown at the loopback of another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
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


def _listen(namespace: str, port: int) -> socket.socket:
    with open(namespace) as file:
        setns(file.fileno(), CLONE.NEWNET)
    return socket.create_server(("127.0.0.1", port))


def _accept(listener: socket.socket, port: int) -> None:
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
        pair = _Pair(near, far)
        threading.Thread(target=pair.copy, args=(near, far), daemon=True).start()
        threading.Thread(target=pair.copy, args=(far, near), daemon=True).start()


class _Pair:
    """Two connections that are one: each direction ends by itself, and the second that does closes both."""

    def __init__(self, *both: socket.socket) -> None:
        self._both = both
        self._going = len(both)
        self._lock = threading.Lock()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        """Copy one direction until its end."""
        with suppress(OSError):
            while data := source.recv(_PIECE):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._going -= 1
            if not self._going:
                for one in self._both:
                    one.close()
