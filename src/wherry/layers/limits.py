"""Limits of unpacking: sizes, entries, compression ratio."""

from __future__ import annotations

from dataclasses import dataclass

from wherry.errors import TooLarge

__all__ = ["DEFAULT_LIMITS", "Limits"]

#: The ratio is not looked at below this size: a few megabytes of zeros are no bomb.
_HARMLESS = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one archive.

    :param max_bytes: bytes, uncompressed, headers included; holes in sparse files count.
    :param max_ratio: uncompressed bytes per compressed byte, from 256 MiB on. Deflate cannot exceed 1032; real layers
        reach 20.
    :param max_entries: files, directories, links...
    """

    max_bytes: int = 256 * 1024**3
    max_ratio: int = 400
    max_entries: int = 5_000_000

    def check_expansion(self, packed: int, unpacked: int) -> None:
        """Refuse a decompression bomb while it is unpacked.

        :param packed: compressed bytes read so far.
        :param unpacked: what they became so far.
        :raises TooLarge: it is one.
        """
        if unpacked > self.max_bytes:
            raise TooLarge(f"the archive unpacks to more than the {self.max_bytes} bytes allowed")
        if unpacked > _HARMLESS and unpacked > packed * self.max_ratio:
            raise TooLarge(
                f"the archive unpacks to more than {self.max_ratio} times its size",
                hint="it looks like a decompression bomb",
            )


DEFAULT_LIMITS = Limits()
