"""Files become entries of an archive: with owner, times, attributes, and hard links as hard links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from wherry.errors import SystemFault, TooLarge
from wherry.layers import whiteouts
from wherry.layers.overlay_view import MergedEntry
from wherry.layers.tar import writer
from wherry.layers.tar.entry import Entry, Kind, shown
from wherry.layers.tree_digest import TreeDigest, content_line, crc32
from wherry.linux.fd import Fd
from wherry.linux.files import open_regular

__all__ = ["Packer"]

_READ = 1024 * 1024
_LARGE = 64 * 1024 * 1024
# The longest that readers of archives take for an extended header, with some room for what else is in it.
_MAX_NAME = 1024 * 1024 - 65536
# Bytes of memory for names of files that have further ones: beyond, they are forgotten, and packed again by the next.
_MOST_LINKS = 128 * 1024 * 1024
_LINK = 200  # bytes beside the name itself
# Bytes of a file's extended attributes: more than that, no reader takes.
_MOST_ATTRIBUTES = 1024 * 1024
# Not the content's, but the host's own: labels of its security module.
_HOSTS_OWN = ("security.selinux", "security.apparmor", "security.evm", "security.ima")


class Packer:
    """Writes an archive entry by entry.

    :param write: takes the archive's bytes, piece by piece.
    :param longest: how many bytes a name may have.
    :param seal: takes what is packed, for the digest of the tree.
    :param modified: nanoseconds since the epoch, for all entries; None: as the files have it.
    :param room: asked whether there is room for so many bytes, before a large file is written; it may be one big hole.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        longest: int = _MAX_NAME,
        seal: TreeDigest | None = None,
        *,
        modified: int | None = None,
        room: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._room = room
        self._modified = modified
        self._write = write
        self._longest = longest
        self._seal = seal
        self._links: dict[tuple[int, int], bytes] = {}
        self._size_of_links = 0
        self._sealed: dict[tuple[int, int], tuple[dict[str, bytes], bytes]] = {}

    def add(self, path: bytes, found: MergedEntry, directory: int) -> None:
        """Append a file, of a directory just itself. Sockets are left out: an archive cannot hold them.

        :param path: its name in the archive.
        :param directory: a descriptor of the directory that it is in.
        :raises TooLarge: its name is longer than `longest`.
        """
        if len(path) > self._longest:
            raise TooLarge(f"a file's name of {len(path)} bytes, where {self._longest} are allowed: {shown(path)}")
        kind = Kind.of_mode(found.status.st_mode)
        if kind is None:
            if self._seal is not None:
                self._seal.add(path, found.status, _attributes_by_name(found.name, directory))
            return
        entry = self._described(path, kind, found.status)
        key = (found.status.st_dev, found.status.st_ino)
        if kind is not Kind.DIRECTORY and found.status.st_nlink > 1:
            first = self._first_name(key, path)
            if first != path:
                entry.kind, entry.target, entry.size = Kind.LINK, first, 0
                self._write(writer.header(entry))
                if self._seal is not None:
                    self._seal.add(path, found.status, *self._sealed[key])
                return
        if kind is Kind.FILE:
            attributes, more = self._add_file(entry, found.name, directory)
        else:
            attributes, more = _attributes_by_name(found.name, directory), b""
            if kind is Kind.SYMLINK:
                entry.target = more = os.readlink(found.name, dir_fd=directory)
            entry.xattrs = _wanted(attributes)
            self._write(writer.header(entry))
        if self._seal is not None:
            self._seal.add(path, found.status, attributes, more)
            if found.status.st_nlink > 1 and kind is not Kind.DIRECTORY:
                self._sealed[key] = (attributes, more)

    def _first_name(self, file: tuple[int, int], path: bytes) -> bytes:
        """The name by which a file was packed; this one, if it was not, or nobody remembers.

        A name may be a million bytes long, and a container makes as many of them as it likes.
        """
        known = self._links.get(file)
        if known is not None:
            return known
        self._size_of_links += _LINK + len(path)
        if self._size_of_links > _MOST_LINKS and self._seal is None:
            self._links.clear()
            self._size_of_links = _LINK + len(path)
        self._links[file] = path
        return path

    def add_directory(self, path: bytes, status: os.stat_result) -> None:
        """Append a directory that is known by its status alone."""
        self._write(writer.header(self._described(path, Kind.DIRECTORY, status)))

    def add_open_directory(self, path: bytes, directory: int) -> None:
        """Append a directory that is open, just itself."""
        entry = self._described(path, Kind.DIRECTORY, os.fstat(directory))
        entry.xattrs = _wanted(_attributes(directory))
        self._write(writer.header(entry))

    def add_whiteout(self, directory: bytes, name: bytes) -> None:
        """Append the whiteout of `name`."""
        self._add_whiteout(directory, whiteouts.PREFIX + name)

    def add_opaque(self, directory: bytes) -> None:
        """Append the opaque whiteout of a directory."""
        self._add_whiteout(directory, whiteouts.OPAQUE_WHITEOUT)

    def finish(self) -> None:
        """Append the archive's end."""
        self._write(writer.END)

    def open_file(self, name: bytes, directory: int) -> Fd:
        """Open a file for reading, and nothing else that may be there by now.

        :raises OSError: it is not there any more, or somebody has a lease on it.
        :raises SystemFault: something else is there.
        """
        try:
            return open_regular(name, directory)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            raise SystemFault(f"{shown(name)} is no file any more") from error

    def _described(self, path: bytes, kind: Kind, status: os.stat_result) -> Entry:
        entry = _describe(path, kind, status)
        if self._modified is not None:
            entry.mtime = self._modified
        return entry

    def _add_whiteout(self, directory: bytes, name: bytes) -> None:
        self._write(writer.header(Entry(directory + b"/" + name if directory else name, mode=0)))

    def _add_file(self, entry: Entry, name: bytes, directory: int) -> tuple[dict[str, bytes], bytes]:
        """A file whose size changes meanwhile is cut or filled with zeros to the size announced, as tar(1) does.

        :return: all its attributes, and what the seal has of its content.
        """
        with self.open_file(name, directory) as found:
            fd = found.fileno()
            attributes = _attributes(fd)
            if attributes:
                entry.xattrs = _wanted(attributes)
            if entry.size >= _LARGE:
                self._room(entry.size)
            self._write(writer.header(entry))
            left, total = entry.size, 0
            while left and (piece := os.read(fd, min(left, _READ))):
                self._write(piece)
                left -= len(piece)
                if self._seal is not None:
                    total = crc32(piece, total)
        while left:
            piece = bytes(min(left, _READ))
            self._write(piece)
            left -= len(piece)
        if padding := writer.padding(entry.size):
            self._write(padding)
        return attributes, content_line(total)


def _describe(path: bytes, kind: Kind, status: os.stat_result) -> Entry:
    is_device = kind in (Kind.CHARACTER, Kind.BLOCK)
    return Entry(
        path,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_size if kind is Kind.FILE else 0,
        status.st_mtime_ns,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else (0, 0),
    )


def _attributes_by_name(name: bytes, directory: int) -> dict[str, bytes]:
    """All extended attributes of a file that is not to be opened."""
    return _attributes(b"/proc/self/fd/%d/%s" % (directory, name))


def _attributes(file: int | bytes) -> dict[str, bytes]:
    """All extended attributes.

    :param file: a descriptor, or a path, whose last name is not followed.
    """
    follow = isinstance(file, int)
    try:
        names = os.listxattr(file, follow_symlinks=follow)
        found, size = dict[str, bytes](), 0
        for one in names:
            found[one] = os.getxattr(file, one, follow_symlinks=follow)
            size += len(found[one])
            if size > _MOST_ATTRIBUTES:
                raise TooLarge(f"a file has more than {_MOST_ATTRIBUTES} bytes of extended attributes")
    except OSError:
        return {}  # a file system without attributes, or a file that is just being replaced
    return found


def _wanted(attributes: dict[str, bytes]) -> dict[str, bytes]:
    """Those for an archive: those of overlayfs and of the host's security module stay here."""
    return {
        name: value
        for name, value in attributes.items()
        if not name.startswith(whiteouts.OVERLAY_ATTRIBUTES) and name not in _HOSTS_OWN
    }
