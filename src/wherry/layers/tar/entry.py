"""One entry of a tar archive, and how the names in it are to be read."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from wherry.errors import InvalidInput

__all__ = ["MAX_NAME", "Entry", "Kind", "clean_name", "shown"]

#: The longest name of a file in an archive (PATH_MAX counts the byte that ends it as well); its parts are held to
#: NAME_MAX by the file system. It is also what bounds how deep directories are nested.
MAX_NAME: Final = 4095


class Kind(Enum):
    """The type of an entry."""

    FILE = b"0"
    LINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"

    @property
    def file_type(self) -> int:
        """The same as a bit of ``st_mode``."""
        return _FILE_TYPES[self]

    @classmethod
    def of_mode(cls, mode: int) -> Kind | None:
        """The kind of an existing file; None for a socket, which an archive cannot hold."""
        return _KINDS.get(stat.S_IFMT(mode))


_FILE_TYPES: Final = {
    Kind.FILE: stat.S_IFREG,
    Kind.LINK: stat.S_IFREG,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.FIFO: stat.S_IFIFO,
}
_KINDS: Final = {bits: kind for kind, bits in _FILE_TYPES.items() if kind is not Kind.LINK}


@dataclass(slots=True)
class Entry:
    """One entry of a tar archive.

    :param name: as it stands in the archive; bytes, since Linux' names are.
    :param size: bytes that follow in the archive.
    :param mtime: nanoseconds since the epoch.
    :param target: what a link points to.
    :param device: major and minor number.
    :param sparse: where the bytes that follow belong, as (offset, length); None when the file has no holes.
    :param full_size: the file's size, holes included.
    """

    name: bytes
    kind: Kind = Kind.FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    sparse: list[tuple[int, int]] | None = None
    full_size: int = 0


def shown(name: bytes) -> str:
    """A name from an archive for a message: quoted, and cut where it is very long."""
    return repr(name[:200].decode("utf-8", "backslashreplace")) + ("..." if len(name) > 200 else "")


def clean_name(name: bytes, *, strict: bool = False) -> bytes:
    """A name as a path from the archive's root, without ``.`` and ``..``; empty for the root itself.

    What is above the root is the root, as it is for dockerd, which unpacks layers in a root of their own.

    :param strict: names may not lead there.
    :raises InvalidInput: it leads out of the archive's root, or is too long.
    """
    if len(name) > MAX_NAME:
        raise InvalidInput(f"the archive has a name of {len(name)} bytes: {shown(name)}")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts and strict:
                raise InvalidInput(f"the archive has a name that leads out of it: {shown(name)}")
            del parts[-1:]
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)
