"""Read the memory of the stopped template, and make the segments of a program of it."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from wherry.errors import Unsupported
from wherry.linux.elf import R, Segment, W, X
from wherry.startup.control import PAGE

__all__ = ["Memory", "read"]

#: What the kernel gives every process, where it likes.
_KERNELS: Final = ("[stack", "[vvar", "[vsyscall")
_VDSO: Final = "[vdso]"
_NOTHING: Final = bytes(PAGE)
#: Pages; fewer empty ones in a row are written to the file, for each segment is work for the kernel at each start.
_HOLE: Final = 16
#: A library that has the state of a random number generator: all processes of one snapshot would draw the same numbers.
_FORBIDDEN: Final = ("libcrypto",)


class _Mapping(NamedTuple):
    begin: int
    end: int
    access: int
    name: str
    is_wiped: bool


class Memory:
    """A process's memory, but for what the kernel puts there.

    :ivar vdso: where its vDSO is; ``vdso_page``: the first page of that.
    :ivar areas: address to content, in the order of the addresses.
    :ivar wiped: address and size of areas that a child finds empty.
    """

    def __init__(self, vdso: range, vdso_page: bytes) -> None:
        self.vdso: Final = vdso
        self.vdso_page: Final = vdso_page
        self.wiped: Final[list[tuple[int, int]]] = []
        self._areas: Final[dict[int, tuple[int, bytearray]]] = {}

    def add(self, address: int, access: int, content: bytes) -> None:
        """Add an area.

        :param access: see :class:`Segment`.
        """
        self._areas[address] = access, bytearray(content)

    def add_wiped(self, address: int, access: int, size: int) -> None:
        """Add an area that each process begins with empty: what is in it was not meant for others.

        There the C library (2.41) has the state of a random number generator; an empty one is filled anew.
        """
        self.wiped.append((address, size))
        self.add(address, access, bytes(size))

    def write(self, address: int, data: bytes) -> None:
        """Change some bytes.

        :raises KeyError: there is no such area.
        """
        for begin, (_, content) in self._areas.items():
            if begin <= address < begin + len(content):
                content[address - begin : address - begin + len(data)] = data
                return
        raise KeyError(address)

    def free_vdso_words(self) -> list[int]:
        """Return the addresses of the words that point into the vDSO, and make it possible to write to them."""
        found = []
        for begin, (access, content) in self._areas.items():
            if access & X:
                continue  # code has none
            words = array("Q", bytes(content))
            here = [begin + 8 * index for index, word in enumerate(words) if word in self.vdso]
            if here:
                self._areas[begin] = access | W, content
            found += here
        return found

    def segments(self) -> list[Segment]:
        """Return the segments; pages without anything in them are in no file."""
        found: list[Segment] = []
        for begin, (access, content) in sorted(self._areas.items()):
            whole = [Segment(begin, len(content), access, b"")]  # in no file, as madvise(2) asks it to be
            pieces = whole if (begin, len(content)) in self.wiped else _without_holes(begin, access, content)
            for piece in pieces:
                if found and _follows(found[-1], piece):
                    last = found.pop()
                    found.append(Segment(last.address, last.size + piece.size, access, last.content + piece.content))
                else:
                    found.append(piece)
        return found


def _follows(one: Segment, other: Segment) -> bool:
    """Whether both are one segment; where the first ends with empty pages, the other has to be empty, too."""
    near = one.address + one.size == other.address and one.access == other.access
    return near and (len(one.content) == one.size or not other.content)


def _without_holes(begin: int, access: int, content: bytearray) -> Iterator[Segment]:
    pages = [bytes(content[at : at + PAGE]) for at in range(0, len(content), PAGE)]
    at = begin
    data = b""
    for empty, group in groupby(pages, key=lambda one: one == _NOTHING):
        run = list(group)
        if not empty or len(run) < _HOLE or not access & W:
            data += b"".join(run)
            continue
        yield Segment(at, len(data) + PAGE * len(run), access, data)
        at += len(data) + PAGE * len(run)
        data = b""
    if data:
        yield Segment(at, len(data), access, data)


def read(pid: int, *, lasts: bool = False) -> Memory:
    """Read a stopped process's memory.

    :param lasts: each process renews its random numbers, :mod:`wherry.startup.lasting`.
    :raises Unsupported: it has something that a snapshot cannot have.
    """
    mappings = list(_mappings(pid))
    named = next((one.name for one in mappings if any(each in one.name for each in _FORBIDDEN)), "")
    if named and not lasts:
        raise Unsupported(f"the template has {named}, whose random numbers would repeat")
    vdso = next((range(one.begin, one.end) for one in mappings if one.name == _VDSO), None)
    if vdso is None:
        raise Unsupported("the template has no vDSO")
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        memory = Memory(vdso, os.pread(fd, PAGE, vdso.start))
        for one in mappings:
            if one.name == _VDSO or one.name.startswith(_KERNELS) or not one.access:
                continue
            if one.is_wiped:
                memory.add_wiped(one.begin, one.access, one.end - one.begin)
                continue
            content = os.pread(fd, one.end - one.begin, one.begin)
            if len(content) != one.end - one.begin:
                raise Unsupported(f"the template's memory at {one.begin:#x} ({one.name}) cannot be read")
            memory.add(one.begin, one.access, content)
    finally:
        os.close(fd)
    return memory


def _mappings(pid: int) -> Iterator[_Mapping]:
    """Read proc_pid_smaps(5)."""
    lines = Path(f"/proc/{pid}/smaps").read_text(errors="surrogateescape").splitlines()
    where = ""
    for line in lines:
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            where = line
        elif first == "VmFlags:":
            yield _mapping(where, line.split())


def _mapping(line: str, flags: list[str]) -> _Mapping:
    where, letters, _, _, _, *name = line.split(maxsplit=5)
    begin, end = (int(one, 16) for one in where.split("-"))
    access = sum(bit for bit, letter in ((R, "r"), (W, "w"), (X, "x")) if letter in letters)
    path = name[0] if name else ""
    if "s" in letters and access & W:
        raise Unsupported(f"the template shares memory with others: {path}")
    return _Mapping(begin, end, access, path, "wf" in flags)
