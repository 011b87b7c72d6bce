"""Builds: steps that do nothing, contexts of many files and of a large one, stages side by side.

Each with Docker's classic API, and with the BuildKit client that Docker 20.10's command has in it; `buildah bud` beside
them where it is installed. Steps have no network, as the sides have no bridge.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from bench.buildah import Buildah
from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.sides import ROOT, Side, checked, clean_environment, client

STEPS = 30
FILES = 10_000
ROUNDS = 3
GIGA = 1 << 30
_PIECE = 1 << 20
_OLD = ("Docker version 19.", "Docker version 20.", "Docker version 22.")

Samples = dict[str, list[float]]


def measure(bench: Bench) -> list[Row]:
    """All of them."""
    (ROOT / ".bench").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=ROOT / ".bench") as place:
        work = _Work(bench, Path(place))
        try:
            return [*work.steps(), *work.many_files(), *work.large_file(), *work.stages()]
        finally:
            work.close()


class _Work:
    def __init__(self, bench: Bench, place: Path) -> None:
        self._bench = bench
        self._place = place
        self._buildah = Buildah.found(place)
        self._known: dict[tuple[Path, bool], str] = {}

    def close(self) -> None:
        """Leave nothing mounted."""
        if self._buildah is not None:
            self._buildah.remove()

    # --- the rows ---------------------------------------------------------------------------------

    def steps(self) -> list[Row]:
        """Steps that do nothing."""
        count = max(3, self._bench.amount(STEPS))
        context = self._context("steps", "RUN true\n" * count)
        title = f"build: {count} times `RUN true`"
        return [
            *self._pair(f"{title}, classic API", context, buildkit=False, limits=(0.9, 0.05)),
            *self._pair(f"{title}, BuildKit client", context, buildkit=True, limits=(0.9, 0.18)),
        ]

    def many_files(self) -> list[Row]:
        """A context of many small files."""
        count = max(100, self._bench.amount(FILES))
        context = self._context("many", "COPY files /files\n")
        for number in range(count):
            path = context / "files" / str(number // 100) / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(1000))
        title = f"build: `COPY` of {count:,} files of 1 KB"
        return [
            *self._pair(f"{title}, classic API", context, buildkit=False, limits=(3, 2.5)),
            *self._pair(f"{title}, BuildKit client", context, buildkit=True, limits=(1.2, 0.3)),
        ]

    def large_file(self) -> list[Row]:
        """A context of one large file."""
        context = self._context("large", "COPY large /large\n")
        with (context / "large").open("wb") as file:
            for _ in range(max(_PIECE, self._bench.amount(GIGA)) // _PIECE):
                file.write(os.urandom(_PIECE))
        title = "build: `COPY` of one file of 1 GB"
        return [
            *self._pair(f"{title}, classic API", context, buildkit=False, limits=(None, None)),
            *self._pair(f"{title}, BuildKit client", context, buildkit=True, limits=(5, 0.2)),
        ]

    def stages(self) -> list[Row]:
        """Stages that need nothing of each other."""
        names = ("a", "b", "c", "d")
        stages = "".join(f"FROM {NAME} AS {name}\nRUN sleep 1; echo {name} > /{name}\n" for name in names)
        copies = "".join(f"COPY --from={name} /{name} /\n" for name in names)
        context = self._place / "stages"
        context.mkdir()
        (context / "Dockerfile").write_text(f"{stages}FROM {NAME}\n{copies}")
        title = "build: four stages that each `sleep 1`, and a `COPY` from each, BuildKit client"
        return self._pair(title, context, buildkit=True, limits=(1.3, None))[:1]

    # --- measuring --------------------------------------------------------------------------------

    def _context(self, name: str, steps: str) -> Path:
        context = self._place / name
        context.mkdir()
        (context / "Dockerfile").write_text(f"FROM {NAME}\n{steps}")
        return context

    def _remark(self, context: Path, *, cached: bool) -> str:
        """How long buildah takes."""
        if (context, cached) not in self._known:
            words = ["--layers"] if cached else ["--layers", "--no-cache"]
            took = self._buildah.took(context, words) if self._buildah else None
            self._known[context, cached] = f"buildah: {took:.2f} s" if took is not None else ""
        return self._known[context, cached]

    def _pair(
        self, title: str, context: Path, *, buildkit: bool, limits: tuple[float | None, float | None]
    ) -> list[Row]:
        """Nothing cached, and all of it."""
        if buildkit and old_client() is None:
            return []
        remarks = [self._remark(context, cached=cached) for cached in (False, True)]

        def run(*words: str) -> Callable[[Side], float]:
            return lambda side: seconds(lambda: build(side, context, *words, buildkit=buildkit))

        anew = self._bench.alternating(run("--no-cache"), rounds=ROUNDS, warm_up=0)
        again = self._bench.alternating(run(), rounds=ROUNDS, warm_up=1)
        return [
            Row(f"{title}, nothing cached", "s", anew, limits[0], remarks[0]),
            Row(f"{title}, all cached", "s", again, limits[1], remarks[1]),
        ]


def build(side: Side, context: Path, *words: str, buildkit: bool, network: str = "none") -> None:
    """Build with Docker's client."""
    program = old_client() if buildkit else client()
    assert program is not None, "it was looked for"
    environment = {
        **clean_environment(), "DOCKER_HOST": f"unix://{side.socket}", "DOCKER_BUILDKIT": "1" if buildkit else "0",
    }  # fmt: skip
    checked([program, "build", "-q", "--network", network, "-t", "bench", *words, str(context)], environment)


@cache
def old_client() -> str | None:
    """A client of Docker's that speaks BuildKit's protocol without a plugin."""
    for directory in os.environ.get("PATH", "").split(":"):
        program = Path(directory or ".", "docker")
        if program.is_file() and os.access(program, os.X_OK):
            said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
            if said.startswith(_OLD):
                return str(program)
    return None
