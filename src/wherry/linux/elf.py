"""ELF: enough of it to lay out a static program, and to read the segments of one.

See elf(5) for the structures.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from wherry.errors import InvalidInput
from wherry.linux._libc import ARCHITECTURE

__all__ = ["CODE", "DATA", "R", "Segment", "W", "X", "executable", "laid_out", "parsed"]

#: Where the code and the data are in memory. Both are on borders of pages of any size that Linux knows.
CODE: Final = 0x400000
#: The data's memory is needed beside a whole interpreter, too (:mod:`wherry.linux.vfork`), and is nobody's there. One
#: that is linked to fixed addresses, as Debian's, has its heap within 1 GiB of 4 MiB, at an address drawn by lot
#: (``arch_randomize_brk``). Everything else begins at 21 GiB or above: that is where the kernel puts files and memory
#: with 39 bits of address, its largest random offset, and a stack that may take nearly all (``mmap_base``).
DATA: Final = 0x200000000
_DATA_OFFSET: Final = 0x10000

_MACHINES: Final = {"x86_64": 62, "aarch64": 183}
_IDENTITY: Final = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_EXECUTABLE, _LOAD, _STACK = 2, 1, 0x6474E551
_INTERPRETER: Final = 3
#: What may be done with a segment's memory.
X, W, R = 1, 2, 4


def executable(code: bytes, data: bytes) -> list[tuple[int, bytes]]:
    """Lay out a static program that begins with the first byte of its code.

    :param code: machine code of this machine's architecture; its memory cannot be written.
    :param data: what is at :data:`DATA`; its memory can be written, and not be executed.
    :returns: the pieces of the file with their offsets; what is between them is a hole.
    """
    start = _HEADER.size + 3 * _SEGMENT.size
    header = _header(CODE + start, 3)
    size = start + len(code)
    segments = (
        _SEGMENT.pack(_LOAD, R | X, 0, CODE, CODE, size, size, _DATA_OFFSET),
        _SEGMENT.pack(_LOAD, R | W, _DATA_OFFSET, DATA, DATA, len(data), len(data), _DATA_OFFSET),
        _SEGMENT.pack(_STACK, R | W, 0, 0, 0, 0, 0, 16),
    )
    return [(0, header + b"".join(segments) + code), (_DATA_OFFSET, data)]


def _header(entry: int, segments: int) -> bytes:
    return _HEADER.pack(
        _IDENTITY, _EXECUTABLE, _MACHINES[ARCHITECTURE], 1, entry, _HEADER.size, 0, 0,
        _HEADER.size, _SEGMENT.size, segments, 0, 0, 0,
    )  # fmt: skip


class Segment(NamedTuple):
    """What a program has in memory.

    :param address: where; on a border of pages.
    :param size: how many bytes; those that `content` lacks are zero.
    :param access: of :data:`R`, :data:`W` and :data:`X`.
    """

    address: int
    size: int
    access: int
    content: bytes


def laid_out(entry: int, segments: list[Segment], page: int) -> list[tuple[int, bytes]]:
    """Lay out a static program.

    :param entry: address of its first instruction.
    :param segments: in the order of their addresses.
    :param page: bytes in a page of memory.
    :returns: the pieces of the file with their offsets, each on a border of pages.
    """
    headers = len(segments) + 1
    offset = _up(_HEADER.size + headers * _SEGMENT.size, page)
    table, pieces = [], []
    for one in segments:
        size = len(one.content)
        table.append(
            _SEGMENT.pack(_LOAD, one.access, offset if size else 0, one.address, one.address, size, one.size, page)
        )
        if size:
            pieces.append((offset, one.content))
        offset = _up(offset + size, page)
    table.append(_SEGMENT.pack(_STACK, R | W, 0, 0, 0, 0, 0, 16))
    return [(0, _header(entry, headers) + b"".join(table)), *pieces]


def _up(offset: int, page: int) -> int:
    return -(-offset // page) * page


class Parsed(NamedTuple):
    """What there is to know of a program or a library.

    :ivar entry: address of its first instruction.
    :ivar headers: where the headers of its segments are, in bytes from the file's beginning.
    :ivar header_count: how many there are.
    :ivar interpreter: path of the dynamic loader that it asks for.
    :ivar segments: what is loaded; addresses and sizes as they are in the file, on no border of pages.
    """

    entry: int
    headers: int
    header_count: int
    interpreter: str
    segments: list[Segment]


def parsed(file: bytes) -> Parsed:
    """Read a program or a library.

    :raises InvalidInput: it is none for this machine.
    """
    try:
        identity, _, machine, _, entry, headers, _, _, _, _, count, *_ = _HEADER.unpack_from(file)
        if not identity.startswith(_IDENTITY[:6]) or machine != _MACHINES.get(ARCHITECTURE):
            raise InvalidInput("this is no program for this machine")
        interpreter, segments = "", []
        for index in range(count):
            kind, access, offset, address, _, size, whole, _ = _SEGMENT.unpack_from(
                file, headers + index * _SEGMENT.size
            )
            content = file[offset : offset + size]
            if kind == _LOAD:
                segments.append(Segment(address, whole, access, content))
            elif kind == _INTERPRETER:
                interpreter = content.rstrip(b"\0").decode(errors="surrogateescape")
    except struct.error as error:
        raise InvalidInput("this is no program", cause=str(error)) from None
    return Parsed(entry, headers, count, interpreter, segments)
