"""ELF: enough of it for a static program with one segment of code and one of data.

See elf(5) for the structures.
"""

from __future__ import annotations

import struct
from typing import Final

from wherry.linux._libc import ARCHITECTURE

__all__ = ["CODE", "DATA", "executable"]

#: Where the code and the data are in memory. Both are on borders of pages of any size that Linux knows.
CODE: Final = 0x400000
DATA: Final = 0x10000000
_DATA_OFFSET: Final = 0x10000

_MACHINES: Final = {"x86_64": 62, "aarch64": 183}
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_EXECUTABLE, _LOAD, _STACK = 2, 1, 0x6474E551
_X, _W, _R = 1, 2, 4


def executable(code: bytes, data: bytes) -> list[tuple[int, bytes]]:
    """Lay out a static program that begins with the first byte of its code.

    :param code: machine code of this machine's architecture; its memory cannot be written.
    :param data: what is at :data:`DATA`; its memory can be written, and not be executed.
    :returns: the pieces of the file with their offsets; what is between them is a hole.
    """
    start = _HEADER.size + 3 * _SEGMENT.size
    identity = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
    header = _HEADER.pack(
        identity, _EXECUTABLE, _MACHINES[ARCHITECTURE], 1, CODE + start, _HEADER.size, 0, 0,
        _HEADER.size, _SEGMENT.size, 3, 0, 0, 0,
    )  # fmt: skip
    size = start + len(code)
    segments = (
        _SEGMENT.pack(_LOAD, _R | _X, 0, CODE, CODE, size, size, _DATA_OFFSET),
        _SEGMENT.pack(_LOAD, _R | _W, _DATA_OFFSET, DATA, DATA, len(data), len(data), _DATA_OFFSET),
        _SEGMENT.pack(_STACK, _R | _W, 0, 0, 0, 0, 0, 16),
    )
    return [(0, header + b"".join(segments) + code), (_DATA_OFFSET, data)]
