"""What ``--init`` costs: the container's first process looks after the others."""

from __future__ import annotations

from pathlib import Path

from bench.image import NAME
from bench.measure import Bench, Row, milliseconds
from bench.sides import Side

OPTIONS = ("--init", "--network", "none")


def measure(bench: Bench) -> list[Row]:
    """The time of a container with it, and the memory of that process."""
    run = ("run", "--rm", *OPTIONS, NAME, "true")
    samples = bench.alternating(lambda side: milliseconds(lambda: side.docker(*run)), rounds=40)
    return [
        Row("`run --rm --init --network none busybox true`, docker CLI", "ms", samples, 45),
        Row("`--init`: resident memory of the first process", "KB", bench.once(resident), 64),
    ]


def resident(side: Side) -> float:
    """Kilobytes that the first process of a container has in memory."""
    side.docker("run", "-d", *OPTIONS, "--name", "bench-init", NAME, "sleep", "100000")
    pid = side.docker("inspect", "--format", "{{.State.Pid}}", "bench-init").strip()
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    side.docker("rm", "-f", "bench-init")
    return float(next(line.split()[1] for line in lines if line.startswith("Rss:")))
