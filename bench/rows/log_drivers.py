"""Output on its way to those who ship logs: Docker's JSON file, and a syslog receiver."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.rows.logs import LINE, ONE_BIG_FILE, write_lines
from bench.sides import Side

FILE_BYTES = 200_000_000
SYSLOG_BYTES = 20_000_000
PATIENCE = 300.0


def measure(bench: Bench) -> list[Row]:
    """A container prints lines; the engine is done when all of them are where they belong."""
    rows = []
    for title, total, work in (
        ("into Docker's JSON file", FILE_BYTES, into_file),
        ("to a syslog receiver by TCP", SYSLOG_BYTES, to_syslog),
    ):
        lines = bench.amount(total) // len(LINE)
        source = write_lines(bench, "shipped-lines", LINE, lines * len(LINE))
        taken = {side.name: [work(side, source, lines) for _ in range(3)] for side in bench.sides}
        rows.append(Row(f"{lines * len(LINE) // 1_000_000} MB of 71-byte lines {title}", "s", taken))
    return rows


def into_file(side: Side, source: Path, lines: int) -> float:
    """Seconds until the file that ``inspect`` names has as many lines."""
    asked = ("--log-opt", "file=true") if side.name == "wherry" else ()

    def work() -> None:
        run(side, source, *ONE_BIG_FILE, *asked)
        path = side.docker("inspect", "--format", "{{.LogPath}}", "bench-log").strip()
        count, end = 0, time.monotonic() + PATIENCE
        with Path(path).open("rb") as file:
            while count < lines and time.monotonic() < end:
                data = file.read(1 << 20)
                count += data.count(b"\n")
                if not data:
                    time.sleep(0.005)
        check(side, count, lines)

    return timed(side, work)


def to_syslog(side: Side, source: Path, lines: int) -> float:
    """Seconds until a receiver has as many lines."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        counted: list[int] = []
        receiver = threading.Thread(target=receive, args=(listener, lines, counted), daemon=True)
        receiver.start()
        address = f"syslog-address=tcp://127.0.0.1:{listener.getsockname()[1]}"

        def work() -> None:
            run(side, source, "--log-driver", "syslog", "--log-opt", address)
            receiver.join(PATIENCE)
            check(side, sum(counted), lines)

        return timed(side, work)


def receive(listener: socket.socket, lines: int, counted: list[int]) -> None:
    """Take one connection, and count lines until there are so many."""
    connection, _ = listener.accept()
    with connection:
        while sum(counted) < lines and (data := connection.recv(1 << 20)):
            counted[:] = [sum(counted) + data.count(b"\n")]


def run(side: Side, source: Path, *options: str) -> None:
    """A container prints a file, and exits."""
    mount = f"{source}:/lines:ro"
    side.docker("run", "-d", "--network", "none", "--name", "bench-log", *options, "-v", mount, NAME, "cat", "/lines")
    side.docker("wait", "bench-log")


def timed(side: Side, work: Callable[[], None]) -> float:
    """How long it takes; the container is gone afterwards."""
    took = seconds(work)
    side.docker("rm", "-f", "bench-log")
    return took


def check(side: Side, count: int, lines: int) -> None:
    """See that all are there.

    :raises RuntimeError: they are not.
    """
    if count != lines:
        raise RuntimeError(f"{side.name}: {count} lines of {lines} have arrived")
