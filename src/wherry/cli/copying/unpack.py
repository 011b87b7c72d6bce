"""An archive from a container becomes files of this machine."""

from __future__ import annotations

import os
import stat

from wherry.errors import SystemFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.layers.tar.entry import Entry

__all__ = ["unpack"]

_KEPT = ("user.", "security.capability")


class _Chunks:
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        piece = self._rest or next(self._pieces, b"")
        self._rest = piece[size:]
        return piece[:size] if self._rest else piece


def unpack(pieces: Iterator[bytes], directory: str, old: str, new: str) -> None:
    """Unpack an archive into a directory; nothing outside of it is touched, whatever the archive says.

    All files are this user's, as with docker; devices of a container are left out.

    :param old: the first name in the archive, which becomes `new`; empty: it stays.
    :raises wherry.errors.WherryError: the archive is damaged, or would replace a directory by something else.
    """
    from wherry.layers.limits import Limits
    from wherry.layers.tar.entry import Kind
    from wherry.layers.unpack import unpack_files

    owner = os.geteuid(), os.getegid()
    first, renamed = os.fsencode(old), os.fsencode(new)

    def prepare(entry: Entry) -> bool:
        entry.uid, entry.gid = owner
        entry.xattrs = {key: value for key, value in entry.xattrs.items() if key.startswith(_KEPT)}
        if renamed:
            entry.name = _rebased(entry.name, first, renamed)
            if entry.kind is Kind.LINK:
                entry.target = _rebased(entry.target, first, renamed)
        return entry.kind not in (Kind.CHARACTER, Kind.BLOCK)

    def in_the_way(path: bytes, status: os.stat_result, entry: Entry) -> None:
        is_directory = stat.S_ISDIR(status.st_mode)
        if is_directory != (entry.kind is Kind.DIRECTORY):
            there = os.path.join(directory, os.fsdecode(path))
            kinds = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
            raise SystemFault(f'cannot overwrite {kinds[0]} "{there}" with {kinds[1]} "{directory}"')

    stream = _Chunks(pieces)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        limits = Limits(max_bytes=1 << 62, max_entries=1 << 40)
        unpack_files(stream, root, limits, prepare, in_the_way=in_the_way)
    finally:
        os.close(root)
    while stream.read(1 << 20):  # its end says whether it was whole
        pass


def _rebased(name: bytes, old: bytes, new: bytes) -> bytes:
    """A name with its beginning exchanged; what begins with the root's name begins with nothing."""
    if old == b"/":
        return new + b"/" + name.lstrip(b"/")
    if name == old or name.startswith(old + b"/"):
        return new + name[len(old) :]
    return name
