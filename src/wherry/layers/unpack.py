"""Unpack a layer's archive into its directory.

The archive is hostile until proven otherwise. What is made is made by name in a directory that is held open, never
through a link; what is in the way is removed, never written through. Duplicate entries: the last one counts, except
that a directory over a directory keeps its content, as Docker has it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from wherry.content.durable import disk_errors, write_all
from wherry.errors import InvalidInput
from wherry.layers import whiteouts
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.layers.reuse import Reuse, rewrite
from wherry.layers.source import Reader, Source
from wherry.layers.tar.entry import Entry, Kind, clean_name, shown
from wherry.layers.tar.reader import TarReader
from wherry.layers.tree import Tree, split
from wherry.linux import trees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wherry.layers.compression import Compression
    from wherry.oci.digest import Digest

__all__ = ["Directories", "Unpacked", "unpack", "unpack_files"]

_MAX_ID: Final = 0xFFFFFFFE
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SLASH: Final = ord("/")
# Directories whose times are still to be set; with more, those go first that nothing comes into any more.
_MOST_TIMES: Final = 65536
# What chmod(2), setxattr(2) and mknod(2) say where a file system, or a user without privilege, cannot do it.
_CANNOT: Final = (errno.EPERM, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The result of unpacking an archive.

    :param digest: of the stream as it came.
    :param diff_id: of the uncompressed archive.
    :param size: the sum of the files' sizes, in bytes; what ``docker images`` adds up.
    :param sums: the CRC-32 of files by their inode numbers, as far as they fell off on the way.
    """

    digest: Digest
    diff_id: Digest
    packed_size: int
    compression: Compression
    size: int
    entries: int
    sums: Mapping[int, int] = field(default_factory=dict, repr=False)


def unpack(stream: Reader, target: Path, below: Sequence[str] = (), limits: Limits = DEFAULT_LIMITS) -> Unpacked:
    """Unpack a layer's archive, compressed or not, reading it to its end.

    Nothing is synced: that's done once for the whole tree, by the caller, who also removes it after an error.

    :param target: an empty directory.
    :param below: directories of the layers underneath, top first; parents that the archive has no entry for look like
        theirs.
    :raises CorruptData: the archive is damaged, or ends too early.
    :raises InvalidInput: it wants something that no honest archive wants.
    :raises TooLarge: it goes beyond the limits.
    :raises OutOfSpace: the disk is full.
    """
    from wherry.layers.tree_digest import crc32  # noqa: PLC0415 - a package's, which who unpacks files here may not have

    root = os.open(target, _DIRECTORY)
    try:
        os.fchmod(root, 0o755)
        with Source(stream, limits) as source:
            unpacker = _Unpacker(Tree(root, below), TarReader(source, limits), limits, checksum=crc32)
            try:
                unpacker.run()
            finally:
                unpacker.tree.forget()
            source.drain()
            return Unpacked(
                source.digest,
                source.diff_id,
                source.packed_size,
                source.compression,
                unpacker.size,
                unpacker.entries,
                unpacker.sums,
            )
    finally:
        os.close(root)


class Directories(Protocol):
    """Where an archive is unpacked: directories by their clean paths in it (`wherry.layers.tree.Tree`)."""

    def directory(self, path: bytes, *, create: bool = True) -> int:
        """A descriptor of a directory, good until the next but sixty calls; an empty path is the place itself."""

    def forget(self) -> None:
        """Close all of them but the place itself."""


def unpack_files(  # noqa: PLR0917
    stream: Reader,
    root: int | Directories,
    limits: Limits,
    prepare: Callable[[Entry], object],
    reuse: Reuse | None = None,
    in_the_way: Callable[[bytes, os.stat_result, Entry], object] = lambda path, status, entry: None,
) -> None:
    """Unpack an archive of files, that is no layer's, among what is there; whiteouts are names like others.

    :param root: a descriptor of the directory, or the directories; what is in the way is replaced.
    :param prepare: called with each entry before it is unpacked; may change its owner. False: it is left out.
    :param reuse: where files are taken from, rather than new ones made.
    :param in_the_way: called with the path and the status of what is about to be replaced by an entry; may raise.
    :raises CorruptData: the archive is damaged, or ends too early.
    :raises InvalidInput: it wants something that no honest archive wants.
    :raises TooLarge: it goes beyond the limits.
    """
    tree = Tree(root) if isinstance(root, int) else root
    with Source(stream, limits, hashed=False) as source:
        unpacker = _Unpacker(tree, TarReader(source, limits), limits, prepare, reuse, in_the_way)
        try:
            unpacker.run()
        finally:
            unpacker.tree.forget()


class _Unpacker:
    """Unpacks one archive into one directory.

    :param prepare: for an archive that is no layer's: called with each entry.
    :param reuse: where files are taken from.
    :param in_the_way: called with what is about to be replaced.
    :param checksum: adds bytes to a sum; None: nobody asks for sums, and they would grow with the archive.
    """

    def __init__(  # noqa: PLR0917
        self,
        tree: Directories,
        archive: TarReader,
        limits: Limits,
        prepare: Callable[[Entry], object] | None = None,
        reuse: Reuse | None = None,
        in_the_way: Callable[[bytes, os.stat_result, Entry], object] = lambda path, status, entry: None,
        *,
        checksum: Callable[[memoryview, int], int] | None = None,
    ) -> None:
        self._reuse = reuse
        self._checksum = checksum
        self.tree: Final = tree
        self._prepare = prepare
        self._in_the_way = in_the_way
        self.size = 0
        self.entries = 0
        self.sums: Final[dict[int, int]] = {}
        self._archive = archive
        self._limits = limits
        self._times: dict[bytes, int] = {}
        self._stale = False

    def run(self) -> None:
        """Unpack all entries; directories' times come last, as files made inside change them."""
        for entry in self._archive:
            self.entries += 1
            if self._prepare is not None and self._prepare(entry) is False:
                continue
            with _explained(entry):
                self._take(entry)
        self._set_times(b"")

    def _set_times(self, path: bytes) -> None:
        """Set the times of directories, but of those above `path`."""
        above = {path[:at] for at, byte in enumerate(path) if byte == _SLASH} | ({path} if path else set())
        done = {at: time for at, time in self._times.items() if at not in above}
        self._times = {at: time for at, time in self._times.items() if at in above}
        for at, mtime in done.items():
            with suppress(InvalidInput, FileNotFoundError):
                os.utime(self.tree.directory(at, create=False), ns=(mtime, mtime))

    def _take(self, entry: Entry) -> None:
        if self._stale:
            self.tree.forget()
            self._stale = False
        path = clean_name(entry.name)
        if not path:
            if entry.kind is not Kind.DIRECTORY:
                raise InvalidInput(f"the archive has something else in the place of its root: {shown(entry.name)}")
            return  # "./": Docker leaves the root as it is, 0755 and root's
        parent, name = split(path)
        if self._prepare is None and name.startswith(whiteouts.PREFIX):
            self._take_whiteout(parent, name)
            return
        if entry.uid > _MAX_ID or entry.gid > _MAX_ID:
            raise InvalidInput(f"the archive has an owner that cannot exist, {entry.uid}:{entry.gid}")
        here = self.tree.directory(parent)
        if entry.kind is Kind.DIRECTORY:
            self._make_directory(here, path, name, entry)
        elif entry.kind is Kind.FILE:
            self._make_file(here, path, name, entry)
        elif entry.kind is Kind.LINK:
            self._make_link(here, path, name, entry)
        else:
            self._make_other(here, path, name, entry)

    def _take_whiteout(self, parent: bytes, name: bytes) -> None:
        """Apply a whiteout. It concerns the layers below only (layer.md): this archive's own entry stays."""
        here = self.tree.directory(parent)
        if name == whiteouts.OPAQUE_WHITEOUT:
            whiteouts.make_opaque(here)
            return
        hidden = name[len(whiteouts.PREFIX) :]
        if name.startswith(whiteouts.META_PREFIX):
            return
        if hidden in (b"", b".", b".."):
            raise InvalidInput("the archive has a whiteout of nothing")
        try:
            whiteouts.make_whiteout(here, hidden)
        except FileExistsError:
            with suppress(NotADirectoryError, OSError):
                fd = os.open(hidden, _DIRECTORY, dir_fd=here)
                try:
                    whiteouts.make_opaque(fd)
                finally:
                    os.close(fd)

    def _make_directory(self, here: int, path: bytes, name: bytes, entry: Entry) -> None:
        opaque = False
        try:
            os.mkdir(name, 0o700, dir_fd=here)
        except FileExistsError:
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                opaque = whiteouts.is_whiteout(status)
                self._clear(here, path, entry)
                os.mkdir(name, 0o700, dir_fd=here)
        fd = os.open(name, _DIRECTORY, dir_fd=here)
        try:
            if opaque:
                whiteouts.make_opaque(fd)
            _dress(fd, entry)
        finally:
            os.close(fd)
        if len(self._times) >= _MOST_TIMES:
            self._set_times(path)
        self._times[path] = entry.mtime

    def _make_file(self, here: int, path: bytes, name: bytes, entry: Entry) -> None:
        if max(entry.full_size, entry.size) > self._limits.max_bytes:
            raise InvalidInput(f"the archive has a file of {entry.full_size} bytes")
        fd = self._reuse.take(path, here, name) if self._reuse is not None and entry.sparse is None else None
        made = None
        try:
            if fd is not None:
                rewrite(fd, self._archive.body())
            else:
                fd = self._new_file(here, path, name, entry)
                made = os.fstat(fd)
                self._write(fd, entry)
            _dress(fd, entry, made)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            if fd is not None:
                os.close(fd)
        self.size += entry.full_size

    def _new_file(self, here: int, path: bytes, name: bytes, entry: Entry) -> int:
        mode = entry.mode & 0o777  # without what must not be set before the owner is
        try:
            return os.open(name, _NEW_FILE, mode, dir_fd=here)
        except FileExistsError:
            self._clear(here, path, entry)
            return os.open(name, _NEW_FILE, mode, dir_fd=here)

    def _write(self, fd: int, entry: Entry) -> None:
        if entry.sparse is None:
            self._write_all(fd)
            return
        os.ftruncate(fd, entry.full_size)
        pieces = self._archive.body()
        rest = memoryview(b"")
        for offset, length in entry.sparse:
            position = os.lseek(fd, offset, os.SEEK_SET)
            while position < offset + length:
                rest = rest or next(pieces)
                wanted = offset + length - position
                piece, rest = rest[:wanted], rest[wanted:]
                write_all(fd, piece)
                position += len(piece)

    def _write_all(self, fd: int) -> None:
        if self._checksum is None:
            for piece in self._archive.body():
                write_all(fd, piece)
            return
        total = 0
        for piece in self._archive.body():
            write_all(fd, piece)
            total = self._checksum(piece, total)
        self.sums[os.fstat(fd).st_ino] = total

    def _make_link(self, here: int, path: bytes, name: bytes, entry: Entry) -> None:
        target = clean_name(entry.target)
        if target == path or not target:
            raise InvalidInput(f"the archive has a hard link to itself: {shown(path)}")
        parent, base = split(target)
        there = self.tree.directory(parent, create=False)
        if whiteouts.is_whiteout(os.stat(base, dir_fd=there, follow_symlinks=False)):
            raise InvalidInput(f"the archive has a hard link to something that it deletes: {shown(path)}")
        try:
            os.link(base, name, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
        except FileExistsError:
            self._clear(here, path, entry)
            os.link(base, name, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)

    def _make_other(self, here: int, path: bytes, name: bytes, entry: Entry) -> None:
        """Links, devices, FIFOs: they have no content, and mustn't be opened."""
        if self._prepare is not None and entry.kind is Kind.CHARACTER and entry.device == (0, 0):
            return  # overlayfs' own mark of something deleted: as a file it cannot be
        try:
            self._make_node(here, name, entry)
        except FileExistsError:
            self._clear(here, path, entry)
            self._make_node(here, name, entry)
        except PermissionError:
            if entry.kind in (Kind.CHARACTER, Kind.BLOCK):
                return  # in a user namespace nobody may make devices; Docker goes on without them as well
            raise
        os.chown(name, entry.uid, entry.gid, dir_fd=here, follow_symlinks=False)
        for key, value in _allowed(entry):
            _set_attribute(b"/proc/self/fd/%d/%s" % (here, name), key, value)
        if entry.kind is not Kind.SYMLINK:
            _change_mode(here, name, entry)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=here, follow_symlinks=False)

    @staticmethod
    def _make_node(here: int, name: bytes, entry: Entry) -> None:
        if entry.kind is Kind.SYMLINK:
            os.symlink(entry.target, name, dir_fd=here)
        else:
            os.mknod(name, entry.kind.file_type | 0o600, os.makedev(*entry.device), dir_fd=here)

    def _clear(self, here: int, path: bytes, entry: Entry) -> None:
        """Remove what an earlier entry made, or what was there."""
        _, name = split(path)
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
        self._in_the_way(path, status, entry)
        if self._prepare is not None:
            trees.check_not_mounted(name, here)
        if stat.S_ISDIR(status.st_mode):
            trees.remove(name, dir_fd=here, one_mount=self._prepare is not None)
            self._times = {at: time for at, time in self._times.items() if not (at + b"/").startswith(path + b"/")}
        else:
            os.unlink(name, dir_fd=here)
        # Directories that are held open may be gone, or be reached by another way, now. `here` is still needed.
        self._stale = not stat.S_ISREG(status.st_mode)


def _change_mode(here: int, name: bytes, entry: Entry) -> None:
    """Change the mode of a FIFO or device by descriptor: by name, a link that somebody puts there is followed."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    try:
        if stat.S_IFMT(os.fstat(fd).st_mode) == entry.kind.file_type:
            os.chmod(f"/proc/self/fd/{fd}", entry.mode)
    finally:
        os.close(fd)


def _dress(fd: int, entry: Entry, made: os.stat_result | None = None) -> None:
    """Owner first: changing it drops set-user-ID bits and capabilities (chown(2)).

    :param made: how a new file came into being. What most are like needs no change: a tenth of the time of a small one.
    """
    if made is None or (made.st_uid, made.st_gid) != (entry.uid, entry.gid):
        os.fchown(fd, entry.uid, entry.gid)
    if entry.xattrs:
        for key, value in _allowed(entry):
            _set_attribute(fd, key, value)
        made = None  # those that are lists of rights change the mode
    if made is None or stat.S_IMODE(made.st_mode) != entry.mode:
        os.fchmod(fd, entry.mode)


def _allowed(entry: Entry) -> Iterator[tuple[str, bytes]]:
    """An archive's attributes, without those that would steer overlayfs: a redirect could show other layers' files."""
    return ((key, value) for key, value in entry.xattrs.items() if not key.startswith(whiteouts.OVERLAY_ATTRIBUTES))


def _set_attribute(file: int | bytes, key: str, value: bytes) -> None:
    """Attributes that the file system doesn't have, or this user may not set, are left out, as Docker does."""
    try:
        os.setxattr(file, key, value, follow_symlinks=isinstance(file, int))
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


class _explained:
    """Adds the entry's name to errors."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            what = f"unpack {shown(self._entry.name)}"
            if error.errno in (errno.ENAMETOOLONG, errno.ENOENT, errno.EINVAL, errno.EISDIR, errno.ELOOP):
                raise InvalidInput(f"cannot {what}", cause=(error.strerror or "").lower()) from error
            error.filename = None
            with disk_errors(what):
                raise error
