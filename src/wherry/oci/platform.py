"""Platforms: operating system, architecture, variant; and which image runs on which machine.

The order of preference is containerd's: the exact architecture and variant first, then what the processor can run as
well (an arm64 machine also runs 32-bit arm, an amd64 machine 386).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Platform"]

_ALIASES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "ppc64el": ("ppc64le", ""),
    "loongarch64": ("loong64", ""),
}
#: Those of Go, from which Docker's clients and daemons have theirs.
_KNOWN_SYSTEMS: Final = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris wasip1 windows "
    "zos".split()
)
_KNOWN_ARCHITECTURES: Final = frozenset(
    "386 amd64 amd64p32 arm arm64 arm64be armbe loong64 mips mips64 mips64le mips64p32 mips64p32le mipsle ppc ppc64 "
    "ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
_PART: Final = re.compile(r"[A-Za-z0-9_.-]+")
_DEFAULT_VARIANT: Final = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform: operating system, architecture, variant (``linux/arm64/v8``)."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse ``os/architecture[/variant]``, ``os`` or ``architecture``; absent parts are this machine's.

        :raises InvalidInput: it is none of these.
        """
        parts = text.lower().split("/")
        for part in parts:
            if not _PART.fullmatch(part):
                raise InvalidInput(
                    f'"{part}" is an invalid component of "{text}": platform specifier component must match '
                    f'"^{_PART.pattern}$": invalid argument'
                )
        if len(parts) > 3:
            raise InvalidInput(f'"{text}": cannot parse platform specifier: invalid argument')
        host = cls.host()
        if len(parts) == 1:
            if parts[0] in _KNOWN_SYSTEMS:
                return cls(parts[0], host.architecture, host.variant)
            if _ALIASES.get(parts[0], (parts[0], ""))[0] not in _KNOWN_ARCHITECTURES:
                raise InvalidInput(f'"{text}": unknown operating system or architecture: invalid argument')
            return cls("linux", parts[0]).normalised()
        return cls(*parts).normalised()

    @classmethod
    def host(cls) -> Platform:
        """The platform of the running kernel."""
        return cls("linux", os.uname().machine).normalised()

    def normalised(self) -> Platform:
        """The same under the names that Go's tool chain uses, without a variant that says nothing."""
        architecture, variant = _ALIASES.get(self.architecture, (self.architecture, ""))
        variant = self.variant or variant
        if variant.isdigit():
            variant = f"v{variant}"
        if (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        return Platform(self.os or "linux", architecture, variant)

    def best_of(self, offered: Iterable[Platform]) -> int | None:
        """The index of the best match in `offered`, the first of equals; None without a match."""
        acceptable = [platform.normalised() for platform in self._acceptable()]
        ranked = [
            (acceptable.index(platform), position)
            for position, platform in enumerate(one.normalised() for one in offered)
            if platform in acceptable
        ]
        return min(ranked)[1] if ranked else None

    def _acceptable(self) -> list[Platform]:
        """Everything that runs here, best first."""
        mine = self.normalised()
        level = mine.variant or _DEFAULT_VARIANT.get(mine.architecture, "")
        if mine.architecture == "amd64":
            own = _levels("amd64", level or "v1", 1)
            return [Platform(self.os, *one) for one in [*own, ("386", "")]]
        if mine.architecture == "arm64":
            own = _levels("arm64", level, 8)
            return [Platform(self.os, *one) for one in [*own, *_levels("arm", "v8", 5), ("arm", "")]]
        if mine.architecture == "arm":
            return [Platform(self.os, *one) for one in [*_levels("arm", level, 5), ("arm", "")]]
        return [mine]

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _levels(architecture: str, highest: str, lowest: int) -> list[tuple[str, str]]:
    """An architecture at its own level and all those below: ``v7``, ``v6``, ``v5``; of a level that is none, itself."""
    match = re.match(r"v([0-9]{1,2})(?![0-9])", highest)  # any number may be asked for, and each level is a platform
    if match is None:
        return [(architecture, highest)]
    return [(architecture, f"v{level}") for level in range(int(match[1]), lowest - 1, -1)]
