"""A client that does nothing but look names up: run in a container's network namespace, it says how that went.

``python -m bench.lookups TOTAL AT_ONCE NAME...`` prints a JSON object: ``lost`` and ``wrong`` look-ups, and the
``median`` of the others in milliseconds, from before the question is sent to after the answer was read.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import struct
import sys
import time

SERVER = ("127.0.0.11", 53)
PATIENCE = 2.0
"""Seconds without any answer after which what is open counts as lost."""


class Lookups:
    """So many questions open at a time, each on a socket of its own."""

    def __init__(self, names: list[str]) -> None:
        self._questions = [question(name) for name in names]
        self._asked = 0
        self._begun: dict[socket.socket, tuple[bytes, float]] = {}
        self._selector = selectors.DefaultSelector()
        self.times: list[float] = []
        self.wrong = 0

    def run(self, total: int, at_once: int) -> None:
        """Ask until all were asked, and wait for the answers."""
        for _ in range(min(total, at_once)):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(SERVER)
            self._selector.register(sock, selectors.EVENT_READ)
            self._ask(sock)
        while self._begun:
            ready = self._selector.select(PATIENCE)
            if not ready:
                return
            for key, _ in ready:
                self._take(key.fileobj, total)  # type: ignore[arg-type]

    def _ask(self, sock: socket.socket) -> None:
        ident = struct.pack("!H", self._asked & 0xFFFF)
        data = ident + self._questions[self._asked % len(self._questions)]
        self._asked += 1
        self._begun[sock] = ident, time.perf_counter()
        sock.send(data)

    def _take(self, sock: socket.socket, total: int) -> None:
        answer = sock.recv(512)
        ident, begun = self._begun.pop(sock)
        self.times.append(time.perf_counter() - begun)
        flags, _, answers = struct.unpack_from("!HHH", answer, 2)
        self.wrong += answer[:2] != ident or bool(flags & 0xF) or not answers
        if self._asked < total:
            self._ask(sock)


def question(name: str) -> bytes:
    """A question for an IPv4 address, without its ID."""
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHH", 0x100, 1, 0, 0, 0) + wire + struct.pack("!BHH", 0, 1, 1)


def main(arguments: list[str]) -> None:
    """Do it and print the figures."""
    total, at_once, *names = arguments
    lookups = Lookups(names)
    lookups.run(int(total), int(at_once))
    figures = {
        "lost": int(total) - len(lookups.times),
        "wrong": lookups.wrong,
        "median": statistics.median(lookups.times) * 1000 if lookups.times else None,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
