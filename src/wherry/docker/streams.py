"""Options and data of streams: what attach, logs and exec have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from wherry.errors import InvalidInput

__all__ = ["AttachOptions", "DetachKeys", "LogChunk", "LogOptions"]


class LogChunk(NamedTuple):
    """Output to be sent on: the stream (1 standard output, 2 standard error) and any number of bytes or lines."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outputs:
    """Which of a process's outputs are wanted."""

    stdout: bool = True
    stderr: bool = True

    @property
    def outputs(self) -> frozenset[int]:
        """The numbers of those that are, as in `LogChunk`."""
        return frozenset(number for number, wanted in ((1, self.stdout), (2, self.stderr)) if wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOptions(_Outputs):
    """How a client attaches.

    :param stream: whether it stays for what comes; else it gets the log only.
    :param logs: whether what was written before comes first.
    :param detach_keys: as in ``--detach-keys``; empty for ``ctrl-p,ctrl-q``. Only terminals have them.
    """

    stream: bool = True
    stdin: bool = False
    logs: bool = False
    detach_keys: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions(_Outputs):
    """Which part of a log is wanted; times are nanoseconds since the epoch.

    :param details: put what the log's options name of labels and environment before each line.
    """

    since: int | None = None
    until: int | None = None
    tail: int | None = None
    timestamps: bool = False
    details: bool = False
    follow: bool = False


_CONTROL: Final = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


class DetachKeys:
    """Finds the sequence of keys by which a person leaves a terminal.

    :param name: what they are called where they are refused; Docker has two names for them.
    :param text: keys joined by commas, each a character or ``ctrl-`` with a letter or one of ``@ [ \\ ] ^ _``.
    :raises InvalidInput: it is no such sequence.
    """

    def __init__(self, text: str, *, name: str = "detach") -> None:
        keys = [_key(word) for word in (text or "ctrl-p,ctrl-q").split(",")]
        if -1 in keys:
            raise InvalidInput(f"Invalid {name} keys ({text}) provided")
        self._keys: Final = bytes(keys)
        self._matched = 0

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """What of the input is for the process, and whether the sequence is complete.

        The beginning of a sequence is held back until the next key decides.
        """
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False


def _key(word: str) -> int:
    if len(word) == 1 and word.isascii():
        return ord(word)
    match = re.fullmatch(r"ctrl-([a-zA-Z@\[\\\]^_])", word)
    if match is None:
        return -1
    letter = match.group(1)
    return _CONTROL[letter] if letter in _CONTROL else ord(letter.lower()) - ord("a") + 1
