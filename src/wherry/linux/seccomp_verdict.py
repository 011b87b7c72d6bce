"""Run a seccomp filter (classic BPF) for a system call without making the call.

Only what compilers of filters emit; see the kernel's Documentation/networking/filter.rst and seccomp(2).
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from wherry.linux._libc import ARCHITECTURE, NUMBERS

__all__ = ["allows", "allows_or_notifies", "verdict"]

_INSTRUCTION: Final = struct.Struct("=HBBI")
_DATA: Final = struct.Struct("=IIQ6Q")  # struct seccomp_data
_AUDIT: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_KILL: Final = 0
_PASSING: Final = frozenset({0x7FFF0000, 0x7FFC0000})  # SECCOMP_RET_ALLOW, SECCOMP_RET_LOG
_NOTIFYING: Final = 0x7FC00000  # SECCOMP_RET_USER_NOTIF
_COMPARISONS: Final[dict[int, Callable[[int, int], object]]] = {
    0x15: operator.eq,
    0x25: operator.gt,
    0x35: operator.ge,
    0x45: operator.and_,
}


def allows(program: bytes, name: str, *arguments: int) -> bool:
    """Whether a filter lets a system call of this architecture through.

    :param program: ``struct sock_filter`` after ``struct sock_filter``.
    """
    return verdict(program, NUMBERS[name], arguments) & 0xFFFF0000 in _PASSING


def allows_or_notifies(program: bytes, name: str, *arguments: int) -> bool:
    """Whether a filter lets a system call through, or asks the filter's listener, who can let it through."""
    return verdict(program, NUMBERS[name], arguments) & 0xFFFF0000 in _PASSING | {_NOTIFYING}


def verdict(program: bytes, number: int, arguments: Sequence[int]) -> int:
    """Return a filter's answer, ``SECCOMP_RET_*`` with its data; to kill, where it uses what is not known here."""
    padded = [*(value & (2**64 - 1) for value in arguments), *(0,) * (6 - len(arguments))]
    data = _DATA.pack(number, _AUDIT[ARCHITECTURE], 0, *padded)
    instructions = list(_INSTRUCTION.iter_unpack(program))
    return next(_results(instructions, data), _KILL)


def _results(instructions: list[tuple[int, int, int, int]], data: bytes) -> Iterator[int]:
    """Run the instructions; jumps lead forwards only, so that this ends."""
    value = index = 0
    while index < len(instructions):
        operation, if_true, if_false, constant = instructions[index]
        index += 1
        if operation == _RETURN:
            yield constant
        elif operation == _LOAD:
            (value,) = struct.unpack_from("=I", data, constant)
        elif operation == _AND:
            value &= constant
        elif operation == _JUMP:
            index += constant
        elif operation in _COMPARISONS:
            index += if_true if _COMPARISONS[operation](value, constant) else if_false
        else:
            return
