"""Symbolic modes, as chmod(1) takes them: ``u=rwX,go=rX``."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from typing import Final, NamedTuple

from wherry.errors import InvalidInput

__all__ = ["ModeChange", "mode_change"]

ModeChange = Callable[[int, bool], int]
"""From a file's permission bits, and whether it is a directory, to its new ones."""

_LONGEST: Final = 1024
_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_ACTION: Final = re.compile(r"([-+=])([rwxXstugo]*)")
_WHO: Final = {"u": 0o4700, "g": 0o2070, "o": 0o0007, "a": 0o7777}
_SHIFT: Final = {"u": 6, "g": 3, "o": 0}
_PERMISSION: Final = {"r": 0o444, "w": 0o222, "x": 0o111}
_ANY_X: Final = 0o111


class _Action(NamedTuple):
    who: str
    operator: str
    permissions: str


def mode_change(mode: int, text: str) -> ModeChange | None:
    """What a copy does to modes; None: it leaves them as they are.

    :param mode: permission bits; -1: none.
    :param text: a symbolic mode, or an octal one, which goes before `mode`; empty: none.
    :raises InvalidInput: it is no mode.
    """
    if text:
        if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
            return _constant(int(text, 8))
        actions = _parse(text)
        return lambda bits, is_directory: _apply(actions, bits, is_directory)
    return _constant(mode & 0o7777) if mode >= 0 else None


def _constant(mode: int) -> ModeChange:
    return lambda bits, is_directory: mode


def _parse(text: str) -> list[_Action]:
    if len(text) > _LONGEST:
        raise InvalidInput("invalid chmod parameter: it is too long")
    actions = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise InvalidInput(f"invalid chmod parameter: '{text}'. it should be an octal string or a symbolic mode")
        actions += [_Action(match[1], *found) for found in _ACTION.findall(match[2])]
    return actions


def _apply(actions: list[_Action], bits: int, is_directory: bool) -> int:
    """Apply all actions; ``X`` goes by what the file had at first, as in BSD's setmode(3)."""
    executable = is_directory or bool(bits & _ANY_X)
    new = bits
    for action in actions:
        mask = _mask(action.who)
        wanted = _wanted(action, new, mask, executable)
        if action.operator == "+":
            new |= wanted
        elif action.operator == "-":
            new &= ~wanted
        else:
            new = (new & ~_cleared(action)) | wanted
    return stat.S_IMODE(new)


def _mask(who: str) -> int:
    mask = 0
    for one in who or "a":
        mask |= _WHO[one]
    return mask


def _cleared(action: _Action) -> int:
    """What ``=`` takes away: the sticky bit only where it is named; where a class is copied, permissions alone."""
    mask = _mask(action.who)
    if action.permissions and set(action.permissions) <= set("ugo"):
        return mask & 0o777
    return mask if "t" in action.permissions else mask & ~stat.S_ISVTX


def _wanted(action: _Action, now: int, mask: int, executable: bool) -> int:
    wanted = 0
    for letter in action.permissions:
        if letter in _PERMISSION:
            wanted |= _PERMISSION[letter] & mask
        elif letter == "X":
            if executable or action.operator == "-":
                wanted |= _ANY_X & mask
        elif letter == "s":
            wanted |= (stat.S_ISUID | stat.S_ISGID) & mask
        elif letter == "t":
            wanted |= stat.S_ISVTX if action.who != "o" else 0
        else:  # a copy of what another class has
            value = now >> _SHIFT[letter] & 0o7
            wanted |= (value << 6 | value << 3 | value) & mask & 0o777
    return wanted
