"""Output into the log, and back out of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.sides import Side

BYTES = 200_000_000
LINE = b"The quick brown fox jumps over the lazy dog, and then again and again.\n"
"""71 bytes."""
ONE_BIG_FILE = ("--log-opt", "max-size=1g", "--log-opt", "max-file=1")
"""Without it a side that rotates by default would keep only the end, and have less to read back."""


def measure(bench: Bench) -> list[Row]:
    """200 MB of lines, written by a container that nobody is attached to; then read by ``docker logs``."""
    size = bench.amount(BYTES) // len(LINE) * len(LINE)
    source = write_lines(bench, "long-lines", LINE, size)
    rounds = {side.name: [write_and_read(side, source, size) for _ in range(3)] for side in bench.sides}
    written = {side: [figures[0] for figures in taken] for side, taken in rounds.items()}
    read = {side: [figures[1] for figures in taken] for side, taken in rounds.items()}
    share = bench.amount(BYTES) / BYTES
    amount = f"{size // 1_000_000} MB"
    return [
        Row(f"{amount} of 71-byte lines into the log", "s", written, 1.2 * share),
        Row("reading them back through `docker logs`", "s", read, 1.5 * share),
    ]


def write_lines(bench: Bench, name: str, line: bytes, size: int) -> Path:
    """A file of ``size`` bytes of equal lines, for a container to print."""
    path = bench.sides[0].run / name
    path.write_bytes(line * (size // len(line)))
    return path


def write_and_read(side: Side, source: Path, size: int) -> tuple[float, float]:
    """The seconds that writing took, and that reading took."""
    written = seconds(lambda: print_detached(side, source))
    read = seconds(lambda: read_back(side, size))
    side.docker("rm", "-f", "bench-log")
    return written, read


def print_detached(side: Side, source: Path) -> None:
    """A container prints a file; the engine is done when the container is."""
    mount = f"{source}:/lines:ro"
    options = ("--network", "none", "--name", "bench-log", *ONE_BIG_FILE, "-v", mount)
    side.docker("run", "-d", *options, NAME, "cat", "/lines")
    side.docker("wait", "bench-log")


def read_back(side: Side, size: int) -> None:
    """Read the whole log, and see that it is whole.

    :raises RuntimeError: when it is not.
    """
    client = side.docker_process("logs", "bench-log", stdout=subprocess.PIPE)
    count = count_bytes(client)
    if count != size or client.returncode != 0:
        raise RuntimeError(f"{side.name}: read {count} bytes of {size} from the log, status {client.returncode}")


def count_bytes(client: subprocess.Popen[bytes]) -> int:
    """How much a process prints until it ends."""
    assert client.stdout
    count = 0
    while data := client.stdout.read1(1 << 20):  # type: ignore[attr-defined]
        count += len(data)
    client.stdout.close()
    client.wait()
    return count
