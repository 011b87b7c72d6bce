"""Output of many short lines to a client that is attached."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.rows.logs import ONE_BIG_FILE, count_bytes, write_lines
from bench.sides import Side

BYTES = 50_000_000


def measure(bench: Bench) -> list[Row]:
    """50 MB of lines of one character, through ``docker run``."""
    size = bench.amount(BYTES)
    source = write_lines(bench, "short-lines", b"y\n", size)
    samples = bench.once(lambda side: seconds(lambda: print_attached(side, source, size)))
    title = f"{size // 1_000_000} MB of 2-byte lines, attached"
    return [Row(title, "s", samples, 3 * bench.amount(BYTES) / BYTES)]


def print_attached(side: Side, source: Path, size: int) -> None:
    """Run it and count what arrives.

    :raises RuntimeError: when something is missing.
    """
    options = ("--rm", "--network", "none", *ONE_BIG_FILE, "-v", f"{source}:/lines:ro")
    client = side.docker_process("run", *options, NAME, "cat", "/lines", stdout=subprocess.PIPE)
    count = count_bytes(client)
    if count != size or client.returncode != 0:
        raise RuntimeError(f"{side.name}: {count} bytes of {size} arrived, status {client.returncode}")
