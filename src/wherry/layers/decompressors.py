"""The decompressors, each made for one member of a stream; two of them are other people's packages.

They are loaded when something compressed comes: the command line, which takes plain archives from the daemon, has to do
without packages.
"""

from __future__ import annotations

import bz2
import lzma
from typing import TYPE_CHECKING, Any, Final

import zstandard
from isal import igzip_lib

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ERRORS", "MAKERS"]

# One compressed block of four bytes can stand for 128 KiB, and the decoder has no limit on its output: so it's fed by
# the spoon.
_ZSTD_SPOON: Final = 2048
# zstd's own default for decoders; more would let an archive claim gigabytes of memory.
_ZSTD_WINDOW: Final = 128 * 1024 * 1024
_XZ_MEMORY: Final = 256 * 1024 * 1024

#: What they raise about data that is damaged.
ERRORS: Final[tuple[type[Exception], ...]] = (
    igzip_lib.IsalError,  # type: ignore[assignment]  # isal's stub calls it an instance
    zstandard.ZstdError,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
)


class _Zstd:
    """One zstd frame, in the shape of the standard library's decompressors."""

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._pending = memoryview(b"")
        self.eof = False
        self.unused_data = b""
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """As ``bz2.BZ2Decompressor.decompress``; the result may be longer by what one spoonful of input gives."""
        if data:
            self._pending = memoryview(data)
        pieces, length = [], 0
        while self._pending and length < max_length and not self.eof:
            spoonful, self._pending = self._pending[:_ZSTD_SPOON], self._pending[_ZSTD_SPOON:]
            piece = self._frame.decompress(spoonful)
            pieces.append(piece)
            length += len(piece)
            self.eof = self._frame.eof
        if self.eof:
            self.unused_data = self._frame.unused_data + bytes(self._pending)
        self.needs_input = not self._pending
        return b"".join(pieces)


#: What makes one, by the kind of compression.
MAKERS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    "zstd": _Zstd,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY),
}
