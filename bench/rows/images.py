"""Images from archives, and what many of them cost when they stand on one base."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from bench import debian
from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.sides import ROOT, Side

ROUNDS = 3
IMAGES = 20
KILO = 1000


def measure(bench: Bench) -> list[Row]:
    """Import and load Debian's minbase, each time one that nobody has seen; then 20 images on one base."""
    (ROOT / ".bench").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="images-", dir=ROOT / ".bench") as place:
        work = _Work(Path(place))
        rounds = max(1, bench.amount(ROUNDS))
        imported = bench.alternating(work.bring, rounds=rounds, warm_up=0)
        loaded = bench.alternating(work.load, rounds=rounds, warm_up=0)
    count = max(2, bench.amount(IMAGES))
    cost = bench.once(lambda side: overhead(side, count))
    return [
        Row("`import` of Debian's minbase, 204 MB in 6,800 files", "s", imported, 1.3),
        Row("`load` of the same", "s", loaded, 1.3),
        Row(f"{count} images on one base: disk for each", "KB", cost, 64),
    ]


class _Work:
    def __init__(self, place: Path) -> None:
        self._place = place
        self._number = 0

    def bring(self, side: Side) -> float:
        """Import an archive that is in the page cache."""
        archive = self._variant()
        name = f"import-{self._number}"
        took = seconds(lambda: side.docker("import", str(archive), name))
        archive.unlink()
        return took

    def load(self, side: Side) -> float:
        """Load what the side itself saved of an import, once nothing of it is left there."""
        archive = self._variant()
        saved, name = self._place / "saved.tar", f"load-{self._number}"
        side.docker("import", str(archive), name)
        side.docker("save", "-o", str(saved), name)
        side.docker("rmi", name)
        os.sync()
        took = seconds(lambda: side.docker("load", "-i", str(saved)))
        archive.unlink()
        saved.unlink()
        return took

    def _variant(self) -> Path:
        self._number += 1
        target = self._place / f"{self._number}.tar"
        debian.variant(target, f"{self._number} {os.urandom(8).hex()}")
        os.sync()
        return target


def overhead(side: Side, count: int) -> float:
    """Kilobytes that each of some images takes, made by committing a container with one small file more."""
    before = on_disk(side)
    for number in range(count):
        script = f"echo {number} > /{number}"
        container = side.docker("run", "-d", "--network", "none", NAME, "sh", "-c", script).strip()
        side.docker("wait", container)
        side.docker("commit", container, f"on-base-{number}")
        side.docker("rm", container)
    return (on_disk(side) - before) / count / KILO


def on_disk(side: Side) -> int:
    """What du(1) says of a side's data root, in bytes."""
    os.sync()
    done = subprocess.run(["du", "-sxB1", str(side.data)], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])
