"""The place up to which a log was delivered, on disk: in a file beside the log's directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from wherry.engine.log_drivers.entries import Mark
from wherry.keeper.log_reader import BEGINNING, Start, end_position
from wherry.keeper.log_writer import segments_of
from wherry.keeper.records import BLOCK, STDERR, STDOUT, Position
from wherry.keeper.segment_file import SegmentFile

__all__ = ["Place", "first_wanted", "is_behind", "start_at"]

_SIZE: Final = 1024
"""Bytes of the file. It is written over in place, by one call, which a killed process has carried out or not begun."""


class Place:
    """A mark in a file.

    :param path: of the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def read(self) -> Mark | None:
        """The mark; None when nothing was delivered yet. One that is damaged is none: rather twice than never."""
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if _is_mark(found) else None

    def write(self, mark: Mark) -> None:
        """Put down a mark.

        :raises OSError: the disk is full, which cannot be but for the first time.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.pwrite(self._fd, json.dumps(mark).encode().ljust(_SIZE), 0)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _is_mark(found: Any) -> bool:
    def is_place(value: Any) -> bool:
        return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value[:2])

    if not isinstance(found, dict) or not is_place(found.get("next")) or len(found["next"]) != 2:
        return False
    lines = [found[name] for name in (str(STDOUT), str(STDERR)) if name in found]
    return all(is_place(line) and list(map(type, line)) == [int, int, str, int, int] for line in lines)


def start_at(directory: Path, mark: Mark | None) -> tuple[Start, bool]:
    """Where to begin reading, and whether something was dropped that was not delivered.

    A record that was delivered in part is read again from its block's beginning; what was delivered of it is left out.
    """
    if mark is None:
        return Start(BEGINNING), False
    following = Position(*mark["next"])
    wanted = {stream: Position(*mark.get(str(stream), following)[:2]) for stream in (STDOUT, STDERR)}
    first = min(wanted.values())
    there = segments_of(directory)
    if not there or first.segment < there[0]:
        return Start(BEGINNING), bool(there) and first != BEGINNING
    if first.segment in there and first.offset > _size(directory, first.segment):
        return Start(Position(first.segment, 0)), True  # it was cut, as by logrotate
    return Start(Position(first.segment, first.offset // BLOCK * BLOCK), wanted), False


def _size(directory: Path, segment: int) -> int:
    with SegmentFile.open(directory, segment) as file:
        return file.size


def first_wanted(mark: Mark | None) -> Position:
    """The first byte that was not delivered."""
    if mark is None:
        return BEGINNING
    return min(Position(*mark[name][:2]) for name in ("next", str(STDOUT), str(STDERR)) if name in mark)


def is_behind(directory: Path, mark: Mark | None) -> bool:
    """Whether something of a log was not delivered."""
    return bool(segments_of(directory)) and first_wanted(mark) < end_position(directory)
