"""Images from archives, and what many of them cost when they stand on one base."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from bench import debian
from bench.image import NAME, add_file
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
        imported = bench.alternating(work.bring, rounds=rounds, warm_up=1)
        loaded = bench.alternating(work.load, rounds=rounds, warm_up=1)
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
        """Load an archive that Docker could have saved, and that is in the page cache.

        Saved by hand: a side that had to remove an image before would still be at it.
        """
        layer = self._variant()
        archive = self._place / "saved.tar"
        pack(layer, archive, f"load-{self._number}:1")
        layer.unlink()
        os.sync()
        took = seconds(lambda: side.docker("load", "-i", str(archive)))
        archive.unlink()
        return took

    def _variant(self) -> Path:
        self._number += 1
        target = self._place / f"{self._number}.tar"
        debian.variant(target, f"{self._number} {os.urandom(8).hex()}")
        os.sync()
        return target


def pack(layer: Path, target: Path, name: str) -> None:
    """Write a Docker archive of an image with one layer."""
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["bash"]},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        for member, value in (("config.json", config), ("manifest.json", manifest)):
            add_file(archive, member, json.dumps(value).encode())
        archive.add(layer, "layer.tar")


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
