"""Images to and from a registry: Debian's root file system, and a layer that is larger than memory should ever be."""

from __future__ import annotations

import os
import tarfile
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from bench import debian, machine
from bench.measure import Bench, Row, seconds
from bench.registry import Registry, serving
from bench.sides import ROOT, Side

ROUNDS = 3
LARGE = 2 << 30
MEGA = 1_000_000
SAMPLE_SECONDS = 0.05


def measure(bench: Bench) -> list[Row]:
    """Push, then pull; each time an image that nobody has seen, since a removal slows down what is made after it."""
    (ROOT / ".bench").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="transfer-", dir=ROOT / ".bench") as place,
        serving(Path(place)) as registry,
    ):
        if registry is None:
            return []
        work = _Work(Path(place), registry)
        rounds = max(1, bench.amount(ROUNDS))
        pushed = bench.alternating(work.push, rounds=rounds, warm_up=0)
        pulled = bench.alternating(work.pull, rounds=rounds, warm_up=0)
        size = bench.amount(LARGE)
        memory = bench.once(lambda side: work.memory(side, size))
    megabytes = size // MEGA
    return [
        Row("push of Debian's minbase to docker-registry, compressing", "s", pushed, 3.0),
        Row("pull of it, unpacked", "s", pulled, 1.5),
        Row(f"memory above idle while a layer of {megabytes} MB is pushed and pulled", "MB", memory, 150),
    ]


class _Work:
    def __init__(self, place: Path, registry: Registry) -> None:
        self._place = place
        self._registry = registry
        self._number = 0

    def push(self, side: Side) -> float:
        """An image that was imported, so that its layer is kept plain, or is not kept but unpacked."""
        archive, mark = self._variant()
        name = f"{self._registry.host}/push/{mark}:1"
        side.docker("import", str(archive), name)
        archive.unlink()
        os.sync()
        return seconds(lambda: side.docker("push", "-q", name))

    def pull(self, side: Side) -> float:
        """An image that somebody else put there."""
        archive, mark = self._variant()
        name = self._registry.put(f"pull/{mark}", archive)
        archive.unlink()
        os.sync()
        return seconds(lambda: side.docker("pull", "-q", name))

    def memory(self, side: Side, size: int) -> float:
        """How far the engine's memory grows at most, in megabytes, while a large layer goes out and comes in."""
        large = self._place / "large"
        large.mkdir()
        with (large / "noise").open("wb") as out:
            for _ in range(size >> 20):
                out.write(os.urandom(1 << 20))
        name = f"{self._registry.host}/large/{side.name}:1"
        side.docker("import", self._packed(large), name)
        grown = peak_growth(side, lambda: side.docker("push", "-q", name))
        side.docker("rmi", name)
        return max(grown, peak_growth(side, lambda: side.docker("pull", "-q", name))) / MEGA

    def _packed(self, large: Path) -> str:
        target = self._place / "large.tar"
        with tarfile.open(target, "w") as archive:
            archive.add(large / "noise", "noise")
        (large / "noise").unlink()
        large.rmdir()
        return str(target)

    def _variant(self) -> tuple[Path, str]:
        self._number += 1
        mark = f"v{self._number}"
        target = self._place / f"{mark}.tar"
        debian.variant(target, f"{mark} {os.urandom(8).hex()}")
        return target, mark


def peak_growth(side: Side, work: Callable[[], object]) -> int:
    """By how many bytes the engine's resident memory exceeds what it was, at most, while something is done."""
    processes = side.engine_processes()
    before = machine.resident(processes)
    most, ended = [before], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            most[0] = max(most[0], machine.resident(processes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    return most[0] - before
