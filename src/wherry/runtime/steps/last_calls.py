"""The last system calls of a process that becomes a program, as entries of a script.

They are written down where Python cannot make them itself: for the trampoline (:mod:`wherry.runtime.steps.birth`), and
in a process that shares its memory with another one, whose Python has to go on
(:mod:`wherry.runtime.launch.vfork_server`).
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from wherry.linux import capabilities
from wherry.runtime.channel import CHANNEL
from wherry.runtime.steps.trampoline import ERROR, Branch, Call, Hole, Words

__all__ = [
    "NOT_EXECUTED",
    "NOT_FILTERED",
    "NO_CAPABILITIES",
    "ambient",
    "capset",
    "execve",
    "load_filter",
    "no_new_privs",
    "report",
    "string",
    "variables",
]

_CAPABILITY_VERSION: Final = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
_SET_NO_NEW_PRIVS, _AMBIENT = 38, 47
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4
_SET_MODE_FILTER: Final = 1


def report(step: str, call: str) -> Branch:
    """Say what failed, and end."""
    text = json.dumps({"step": step, "call": call}).encode()
    return (Call("writev", (CHANNEL, Words((ERROR, 8, text, len(text))), 2)), Call("exit_group", (1,)))


NOT_FILTERED: Final = report("load the seccomp filter", "seccomp")
NO_CAPABILITIES: Final = report("set the capabilities", "capset")
NOT_EXECUTED: Final = report("execute the program", "execve")


def load_filter(program: bytes, flags: int, on_error: Branch) -> Call:
    """Put a system call filter in force; see seccomp(2)."""
    return Call("seccomp", (_SET_MODE_FILTER, flags, Words((len(program) // 8, program))), on_error)


def capset(effective: int, permitted: int, inheritable: int, on_error: Branch | None) -> Call:
    """Set the capabilities of this thread; see capset(2)."""
    low = (mask & 0xFFFFFFFF for mask in (effective, permitted, inheritable))
    high = (mask >> 32 for mask in (effective, permitted, inheritable))
    return Call("capset", (_CAPABILITY_VERSION, struct.pack("=6I", *low, *high)), on_error)


def ambient(mask: int) -> Iterator[Call]:
    """Replace the ambient set; see prctl(2)."""
    yield Call("prctl", (_AMBIENT, _AMBIENT_CLEAR_ALL))
    for number in capabilities.from_mask(mask):
        yield Call("prctl", (_AMBIENT, _AMBIENT_RAISE, number), NO_CAPABILITIES)


def no_new_privs(on_error: Branch) -> Call:
    """Forbid for ever that an executed program gains privileges; see prctl(2)."""
    return Call("prctl", (_SET_NO_NEW_PRIVS, 1), on_error)


def execve(
    program: bytes | Hole, arguments: Iterable[str], environment: Iterable[bytes | Hole], on_error: Branch
) -> Call:
    """Execute a program; see execve(2)."""
    return Call("execve", (program, Words((*map(string, arguments), 0)), Words((*environment, 0))), on_error)


def variables(environment: Iterable[str]) -> Iterator[bytes]:
    """The variables as execve(2) takes them; of two with one name the last counts."""
    found = dict(entry.split("=", 1) for entry in environment)
    return (string(f"{name}={value}") for name, value in found.items())


def string(text: str) -> bytes:
    """A string as the kernel takes it."""
    return os.fsencode(text) + b"\0"
