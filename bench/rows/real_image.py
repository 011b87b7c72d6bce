"""A real image: Debian, 20 packages, five wheels, a program; and the same again after one changed source file.

Packages and wheels come from a mirror on this machine, so that the network is no part of what is measured.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench import image, mirror
from bench.buildah import Buildah
from bench.debian import root_file_system
from bench.measure import Bench, Row, seconds
from bench.rows.build import build, old_client
from bench.sides import ROOT, Side, Wherry

NAME = "wherry-bench/debian:latest"
ROUNDS = 2
REBUILDS = 3
SOURCES = 200
_CLASSIC, _BUILDKIT, _OWN = "classic API", "BuildKit client", "wherry's own CLI"
_SHARE = 0.8
_SHARE_AGAIN = 1 / 3
_DOCKERFILE = f"""\
FROM {NAME}
RUN echo 'deb [trusted=yes] {mirror.ADDRESS} ./' > /etc/apt/sources.list \\
 && apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {" ".join(mirror.PACKAGES)} \\
 && rm -rf /var/lib/apt/lists/*
RUN pip install --break-system-packages --no-cache-dir --no-index --find-links {mirror.ADDRESS}/wheels/ \\
    {" ".join(mirror.WHEELS)}
WORKDIR /app
COPY . /app
CMD ["python3", "-m", "app"]
"""


def measure(bench: Bench) -> list[Row]:
    """Both."""
    with tempfile.TemporaryDirectory(prefix="real-", dir=ROOT / ".bench") as place, mirror.served():
        archive = Path(place, "base.tar")
        _write_base(archive)
        for side in bench.sides:
            side.docker("load", "-q", "-i", str(archive))
        archive.unlink()
        work = _Work(bench, Path(place))
        try:
            return work.rows()
        finally:
            work.close()


def _write_base(target: Path) -> None:
    image.write(target, root_file_system().read_bytes(), NAME)


class _Work:
    def __init__(self, bench: Bench, place: Path) -> None:
        self._bench = bench
        self._context = place / "context"
        self._buildah = Buildah.found(place, base=_write_base, network="host")
        self._changes = itertools.count()
        (self._context / "app").mkdir(parents=True)
        (self._context / "Dockerfile").write_text(_DOCKERFILE)
        for number in range(SOURCES):
            (self._context / "app" / f"module{number}.py").write_text(f"VALUE = {number}\n" * 100)

    def close(self) -> None:
        """Leave nothing mounted."""
        if self._buildah is not None:
            self._buildah.remove()

    def _change(self) -> None:
        (self._context / "app" / "__init__.py").write_text(f"VERSION = {next(self._changes)}\n")

    def rows(self) -> list[Row]:
        """What is to be beaten is the best of the others, by whichever way in."""
        ways = [_CLASSIC, *([_BUILDKIT] if old_client() else []), _OWN]
        anew = {way: self._measured(way, "--no-cache", rounds=ROUNDS) for way in ways}
        again = {way: self._measured(way, rounds=REBUILDS) for way in ways}
        others = [
            self._buildah.took(self._context, words, rounds=rounds, before=self._change) if self._buildah else None
            for words, rounds in ((["--layers", "--no-cache"], 1), (["--layers"], REBUILDS))
        ]
        title = "build: a real image (Debian, 20 packages, five wheels, a program)"
        return [
            *_rows(f"{title}, nothing cached", anew, others[0], _SHARE),
            *_rows(f"{title}, one source file changed", again, others[1], _SHARE_AGAIN),
        ]

    def _measured(self, way: str, *words: str, rounds: int) -> dict[str, list[float]]:
        samples: dict[str, list[float]] = {}
        for _ in range(rounds):
            self._change()
            for side in self._bench.sides:
                if way != _OWN or isinstance(side, Wherry):
                    samples.setdefault(side.name, []).append(seconds(partial(self._build, side, way, words)))
        return samples

    def _build(self, side: Side, way: str, words: Sequence[str]) -> None:
        if isinstance(side, Wherry) and way == _OWN:
            side.wherry("build", "-q", "--network", "host", "-t", "bench", *words, str(self._context))
        else:
            build(side, self._context, *words, buildkit=way == _BUILDKIT, network="host")


def _rows(title: str, measured: Mapping[str, dict[str, list[float]]], buildah: float | None, share: float) -> list[Row]:
    """What the others take is the same for all ways in: the best of them, by whichever."""
    rows = [Row(f"{title}, {way}", "s", samples) for way, samples in measured.items()]
    found = [*(row.value("docker") for row in rows), buildah]
    best = min((value for value in found if value is not None), default=None)
    limit = None if best is None else share * best
    remark = f"buildah: {buildah:.2f} s" if buildah is not None else ""
    return [Row(row.title, row.unit, row.samples, limit, remark) for row in rows]
