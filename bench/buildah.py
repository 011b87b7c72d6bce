"""`buildah bud`, with storage of its own, beside the engines that are compared."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import image, machine
from bench.measure import seconds
from bench.sides import checked, clean_environment


class Buildah:
    """The program.

    :param place: for its storage.
    :param base: writes the archive of the image that is built upon.
    :param network: of the steps.
    """

    def __init__(
        self, program: str, place: Path, *, base: Callable[[Path], None] = image.write, network: str = "none"
    ) -> None:
        self._command = [
            program, "--root", str(place / "buildah"), "--runroot", str(place / "buildah-run"),
            "--storage-driver", "overlay",
        ]  # fmt: skip
        self._place = place
        self._base = base
        self._network = network
        self._has_base = False
        self._runtime: list[str] = []  # its own choice

    @classmethod
    def found(cls, place: Path, *, base: Callable[[Path], None] = image.write, network: str = "none") -> Buildah | None:
        """The one that is installed."""
        program = shutil.which("buildah")
        return cls(program, place, base=base, network=network) if program else None

    def took(
        self, context: Path, words: Sequence[str], *, rounds: int = 2, before: Callable[[], object] = bool
    ) -> float | None:
        """How long a build takes, in seconds; None where it cannot do it here.

        :param words: ``--layers`` and the like.
        :param before: each round.
        """
        samples = []
        try:
            self._bring_base()
            for _ in range(rounds):
                before()
                samples.append(seconds(lambda: self._build(context, words)))
        except RuntimeError:
            return None
        return statistics.median(samples)

    def _bring_base(self) -> None:
        if not self._has_base:
            archive = self._place / "base.tar"
            self._base(archive)
            checked([*self._command, "pull", "-q", f"docker-archive:{archive}"], clean_environment())
            archive.unlink()
            self._has_base = True

    def _build(self, context: Path, words: Sequence[str]) -> None:
        options = ["bud", "-q", "--network", self._network, "--pull=false", *words, "-t", "bench", str(context)]
        try:
            checked([*self._command, *options[:1], *self._runtime, *options[1:]], clean_environment())
        except RuntimeError as error:
            if self._runtime or "cgroups in hybrid mode" not in str(error):
                raise
            self._runtime = ["--runtime", "runc"]  # crun does not work where both versions of cgroups have controllers
            self._build(context, words)

    def remove(self) -> None:
        """Unmount what it has left mounted."""
        for target in machine.mounts_under(self._place):
            subprocess.run(["umount", "-l", target], check=False)
