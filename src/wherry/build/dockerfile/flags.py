"""An instruction's flags: ``--name=value``, ``--name``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from wherry.build.dockerfile.suggestions import did_you_mean
from wherry.errors import InvalidInput

__all__ = ["Flags", "Kind", "WordError", "parse_flags"]


class Kind(Enum):
    """What a flag takes."""

    BOOL = auto()
    TEXT = auto()
    TEXTS = auto()


class WordError(InvalidInput):
    """A word is wrong: `word`, as it was written, to be pointed at."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.word = word


class Flags:
    """The values of flags."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Take one more value."""
        self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag that takes one."""
        return self._values[name][-1] if name in self._values else default

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be repeated."""
        return tuple(self._values.get(name, ()))

    def true(self, name: str) -> bool:
        """Whether a flag is set."""
        return self.text(name) == "true"

    def maybe(self, name: str) -> bool | None:
        """Whether a flag is set; None: it was not given."""
        return self.true(name) if name in self._values else None


def parse_flags(written: Sequence[str], known: dict[str, Kind]) -> Flags:
    """Read flags.

    :raises WordError: one is wrong, in BuildKit's words.
    """
    flags = Flags()
    for flag in written:
        name, equals, value = flag.partition("=")
        kind = known.get(name[2:])
        if kind is None:
            raise WordError(did_you_mean(f"unknown flag: {name}", name[2:], known), flag)
        if name[2:] in flags and kind is not Kind.TEXTS:
            raise WordError(f"duplicate flag specified: {name}", flag)
        if (equals and not value and kind is Kind.BOOL) or (not equals and kind is not Kind.BOOL):
            raise WordError(f"missing a value on flag: {name}", flag)
        if kind is Kind.BOOL:
            if value.lower() not in ("", "true", "false"):
                raise WordError(f"expecting boolean value for flag {name}, not: {value}", flag)
            value = value.lower() or "true"
        flags.add(name[2:], value)
    return flags
