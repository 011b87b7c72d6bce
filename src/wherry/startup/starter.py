"""The template's program: the dynamic loader with the interpreter's arguments, on a stack that a snapshot can have.

The kernel puts a process's stack where the next one's may be as well. So the template does not use it: its program is
an ELF file of the loader's segments, of a stack on which everything lies that the kernel would have put there, and of
a few instructions that switch to it. All of that is at an address that was drawn by lot for this snapshot, far away
from where the kernel places anything by itself; what the loader maps is far from the stack, because this program is
executed with an unlimited one.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from wherry.errors import Unsupported
from wherry.linux.elf import R, Segment, W, X, parsed
from wherry.startup.control import PAGE, Control, page
from wherry.startup.machine_code import entry_of, machine_code

__all__ = ["Starter", "starter"]

#: Addresses from here on are never given out by the kernel: it begins below the stack, or at a third of all there are.
_LOWEST: Final = 1 << 40
_CHOICES: Final = 1 << 24  # pages
_STACK_SIZE: Final = 8 << 20
_STACK_END, _LOADER = 0x1000000, 0x2000000  # from the first address
#: Types of values in the auxiliary vector, linux/auxvec.h.
_NULL, _PHDR, _PHNUM, _BASE, _ENTRY, _PLATFORM, _BASE_PLATFORM, _RANDOM, _EXECFN, _VDSO = (
    0, 3, 5, 7, 9, 15, 24, 25, 31, 33
)  # fmt: skip


class Starter(NamedTuple):
    """The program.

    :ivar base: its lowest address: the page of code; the page of :class:`Control` follows.
    """

    base: int
    entry: int
    segments: list[Segment]


def random_base() -> int:
    """Return an address for the next one."""
    return _LOWEST + secrets.randbelow(_CHOICES) * PAGE


def starter(base: int, loader: str, arguments: Sequence[str], environment: Sequence[str]) -> Starter:
    """Lay out the program.

    :param base: from :func:`random_base`.
    :param loader: the dynamic loader's path.
    :param arguments: of the loader: the interpreter's path, and what that is to get.
    :raises Unsupported: this process was given no vDSO, or not by a kernel that we know.
    """
    program = parsed(Path(loader).read_bytes())
    at = base + _LOADER
    own = {_PHDR: at + program.headers, _PHNUM: program.header_count, _BASE: 0, _ENTRY: at + program.entry}
    end = base + _STACK_END
    stack = _Stack(end)
    pointer, vdso = stack.fill([loader, *arguments], environment, own)
    numbers = {Control.VECTOR: vdso, Control.FIRST_STACK: pointer, Control.LOADER: own[_ENTRY]}
    used = pointer // PAGE * PAGE
    content = bytes(pointer - used) + stack.content
    return Starter(
        base,
        base + entry_of("template"),
        [
            Segment(base, PAGE, R | X, machine_code()),
            Segment(base + PAGE, PAGE, R | W, page(numbers)),
            Segment(end - _STACK_SIZE, used - (end - _STACK_SIZE), R | W, b""),
            Segment(used, end - used, R | W, content),
            *(_on_pages(one, at) for one in program.segments),
        ],
    )


def _on_pages(segment: Segment, at: int) -> Segment:
    before = segment.address % PAGE
    address = at + segment.address - before
    return Segment(address, before + segment.size, segment.access, bytes(before) + segment.content)


class _Stack:
    """What a process finds on its stack, from the end on downwards."""

    def __init__(self, end: int) -> None:
        self._end = end
        self.content = b""

    def _put(self, data: bytes) -> int:
        self.content = data + self.content
        return self._end - len(self.content)

    def _text(self, text: str) -> int:
        return self._put(os.fsencode(text) + b"\0")

    def fill(self, arguments: Sequence[str], environment: Sequence[str], own: dict[int, int]) -> tuple[int, int]:
        """Put everything there; returns the stack pointer, and the address of the vDSO's place.

        :param own: values of the auxiliary vector that are not those of this process.
        """
        own |= {
            _RANDOM: self._put(os.urandom(16)),
            _EXECFN: self._text("/proc/self/exe"),
            _PLATFORM: (platform := self._text("x86_64")),
            _BASE_PLATFORM: platform,
            _VDSO: 0,
        }
        vector = [(kind, own.get(kind, value)) for kind, value in _auxiliary_vector()]
        words = [len(arguments), *map(self._text, arguments), 0, *map(self._text, environment), 0]
        place = next((index for index, (kind, _) in enumerate(vector) if kind == _VDSO), None)
        if place is None:
            raise Unsupported("this process has no vDSO")
        vdso = len(words) + 2 * place + 1
        words += [word for pair in vector for word in pair]
        size = 8 * len(words)
        self._put(bytes((self._end - len(self.content) - size) % 16))
        pointer = self._put(struct.pack(f"<{len(words)}Q", *words))
        return pointer, pointer + 8 * vdso


def _auxiliary_vector() -> list[tuple[int, int]]:
    """This process's own: the machine's values are every process's."""
    data = Path("/proc/self/auxv").read_bytes()
    found = list(struct.iter_unpack("<QQ", data))
    return found[: found.index((_NULL, 0)) + 1]
