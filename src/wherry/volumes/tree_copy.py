"""A directory's content is copied into an empty directory: copy-up, snapshots, clones.

Whoever runs a container decides what the source is like, and changes it meanwhile. So the source is walked by
descriptor, name by name; nothing follows a link, nothing but a regular file is opened, and what memory it takes
depends neither on how many files there are nor on how deep they are. Of files with several names the first copy gets
a further one in a directory of their own, by which it is found again.

What is gone, or something else, when its turn comes was not there, as for one who looks a moment later.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from wherry.content.durable import disk_errors
from wherry.errors import SystemCallError
from wherry.layers.file_content import Content, copy_attributes
from wherry.layers.overlay_view import MergedTree
from wherry.layers.whiteouts import OVERLAY_ATTRIBUTES
from wherry.linux.capabilities import CAP, lowered
from wherry.linux.directories import Named, read_directory
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, open_regular
from wherry.linux.trees import DIRECTORY, Descent

__all__ = ["Copied", "DirectorySource", "Item", "LayersSource", "Source", "copy_tree"]

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_MOUNTED: Final = errno.EXDEV
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)  # of file systems that give each file one name
_STAY: Final = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_XDEV
#: Directories whose names, as far as they were read, are kept while one is below; those further down read them again.
_KEPT: Final = 64


class Item(NamedTuple):
    """Something in the present directory of a source.

    :param directory: a descriptor of what it is in, good until the next move.
    :param kind: as in ``st_mode``; 0: has to be looked up.
    """

    name: bytes
    directory: int
    kind: int


class Source(Protocol):
    """What is copied: a tree, and a present directory in it.

    :ivar hidden: how the names of extended attributes begin that are not its content.
    """

    hidden: tuple[str, ...]

    def fileno(self) -> int:
        """A descriptor of the present directory, for its looks."""

    def next(self) -> Item | None:
        """One more of the present directory; None: that was all."""

    def enter(self, item: Item) -> bool:
        """Go into a directory; False, and one stays, where it is none, or nothing of it is to be copied."""

    def leave(self) -> bool:
        """Go back up; False at the top."""

    def open(self, item: Item) -> Fd:
        """Open a regular file."""


class DirectorySource:
    """A directory, whose content somebody may change meanwhile. Use it in a ``with`` block.

    All extended attributes are content: those of overlayfs are a container's that runs containers itself.

    :param top: a descriptor of it; owned from now on.
    :param other_mounts: whether what is mounted below is copied, too; else an empty directory is in its place.
    """

    hidden: tuple[str, ...] = ()

    def __init__(self, top: Fd, *, other_mounts: bool = False) -> None:
        self._way = Descent(top)
        self._resolve = int(_STAY & ~RESOLVE.NO_XDEV if other_mounts else _STAY)
        self._positions = array("q")  # where the directories above go on
        self._kept: list[list[Named]] = []
        self._names: list[Named] = []
        self._position = 0
        self._read()

    @classmethod
    def open_path(cls, path: str | bytes | os.PathLike[str]) -> DirectorySource:
        """A directory by its path."""
        return cls(Fd(os.open(path, DIRECTORY)))

    def fileno(self) -> int:
        """The present directory; see `Source`."""
        return self._way.fileno()

    def next(self) -> Item | None:
        """One more; see `Source`."""
        if not self._names:
            self._read()
            if not self._names:
                return None
        name, kind, self._position = self._names.pop()
        return Item(name, self._way.fileno(), kind)

    def enter(self, item: Item) -> bool:
        """Go down; see `Source`."""
        try:
            self._way.enter(item.name, self._resolve)
        except SystemCallError as error:
            if error.errno in (*_GONE, _MOUNTED):
                return False
            raise
        self._positions.append(self._position)
        if len(self._positions) <= _KEPT:
            self._kept.append(self._names)
        self._names, self._position = [], 0
        return True

    def leave(self) -> bool:
        """Go up; see `Source`."""
        if not self._positions:
            return False
        self._way.leave()
        self._position = self._positions.pop()
        self._names = self._kept.pop() if len(self._positions) < _KEPT else []
        return True

    def open(self, item: Item) -> Fd:
        """Open a file; see `Source`."""
        return open_regular(item.name, item.directory)

    def _read(self) -> None:
        self._names = read_directory(self._way.fileno(), self._position)
        self._names.reverse()

    def close(self) -> None:
        """Close its descriptors."""
        self._way.close()

    def __enter__(self) -> DirectorySource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class LayersSource:
    """A directory of an image, as its layers make it together.

    :param tree: at that directory; it stays the caller's.
    """

    hidden: tuple[str, ...] = OVERLAY_ATTRIBUTES

    def __init__(self, tree: MergedTree) -> None:
        self._tree = tree
        self._entries = [tree.entries()]

    def fileno(self) -> int:
        """The present directory of the topmost layer that has it; see `Source`."""
        return self._tree.fileno()

    def next(self) -> Item | None:
        """One more; see `Source`."""
        for entry in self._entries[-1]:
            return Item(entry.name, self._tree.directory(entry), stat.S_IFMT(entry.status.st_mode))
        return None

    def enter(self, item: Item) -> bool:
        """Go down; see `Source`."""
        if not self._tree.enter(item.name):
            return False
        self._entries.append(self._tree.entries())
        return True

    def leave(self) -> bool:
        """Go up; see `Source`."""
        self._entries.pop()
        if not self._entries:
            return False
        self._tree.leave()
        return True

    def open(self, item: Item) -> Fd:
        """Open a file; see `Source`. Nobody exchanges an image's files between the look at them and this."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return Fd(os.open(item.name, flags | os.O_NOATIME, dir_fd=item.directory))
        except PermissionError:  # O_NOATIME is for owners
            return Fd(os.open(item.name, flags, dir_fd=item.directory))


@dataclass(slots=True)
class Copied:
    """What was copied.

    :ivar entries: files of all kinds, directories among them.
    :ivar size: the sum of the files' sizes, in bytes.
    :ivar left_out: devices, FIFOs and sockets that were not to be copied, or that this user may not make.
    """

    entries: int = 0
    size: int = 0
    left_out: int = 0


def copy_tree(
    source: Source, target: int, links: int, *, specials: bool = True, check: Callable[[], object] = lambda: None
) -> Copied:
    """Copy everything in the source's present directory, and how that itself looks, into an empty directory.

    Owners, modes, times, extended attributes, hard links and holes are as in the source; contents are shared where the
    file system can do that. Nothing is synced. Quotas hold.

    :param target: a descriptor of the directory. Whoever can reach it meanwhile can spoil the copy, and nothing else.
    :param links: a descriptor of another empty directory of the same file system, to be removed afterwards.
    :param specials: whether devices, FIFOs and sockets are copied.
    :param check: called for each file, and now and then in large ones: raises where the work is not wanted any more.
    :raises OutOfSpace: the disk is full.
    :raises SystemFault: something could not be read; or a directory was moved elsewhere while one was in it.
    """
    keeping_quotas = lowered(CAP.SYS_RESOURCE)
    with (
        keeping_quotas,
        disk_errors("copy a directory tree"),
        Descent(Fd(os.open(".", DIRECTORY, dir_fd=target))) as into,
    ):
        copying = _Copying(source, into, links, check, specials=specials)
        copying.run()
        return copying.copied


class _Copying:
    def __init__(
        self, source: Source, into: Descent, links: int, check: Callable[[], object], *, specials: bool
    ) -> None:
        self._source = source
        self._into = into
        self._links = links
        self._specials = specials
        self._check = check
        self._content = Content(check)
        self._user, self._group = os.geteuid(), os.getegid()
        self.copied = Copied()

    def run(self) -> None:
        while True:
            item = self._source.next()
            if item is not None:
                self._check()
                with suppress(FileExistsError):  # a directory that changes may give a name twice
                    self._copy(item)
                continue
            self._dress_directory()
            if not self._source.leave():
                return
            self._into.leave()

    def _copy(self, item: Item) -> None:
        status = None
        if item.kind != stat.S_IFREG:
            with suppress(FileNotFoundError):
                status = os.stat(item.name, dir_fd=item.directory, follow_symlinks=False)
            if status is None:
                return
        if status is None or stat.S_ISREG(status.st_mode):
            self._copy_file(item)
        elif stat.S_ISDIR(status.st_mode):
            self._copy_directory(item, status)
        elif not self._link(status, item.name) and self._make(item, status):
            self._remember(status, item.name)
            self.copied.entries += 1
            self.copied.size += status.st_size  # of a link, as `size_of_tree` has it

    # --- directories ------------------------------------------------------------------------------

    def _copy_directory(self, item: Item, status: os.stat_result) -> None:
        os.mkdir(item.name, 0o700, dir_fd=self._into.fileno())
        if self._source.enter(item):
            self._into.enter(item.name)
        else:
            self._dress(item, status)
        self.copied.entries += 1

    def _dress_directory(self) -> None:
        """What comes last: an ACL would be handed down, and the times change with what is made."""
        source, target = self._source.fileno(), self._into.fileno()
        status = os.fstat(source)
        os.fchown(target, status.st_uid, status.st_gid)
        copy_attributes(source, target, self._source.hidden)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    # --- files ------------------------------------------------------------------------------------

    def _copy_file(self, item: Item) -> None:
        try:
            source = self._source.open(item)
        except OSError as error:
            if error.errno in _GONE:
                return
            raise
        with source:
            status = os.fstat(source.fileno())
            if self._link(status, item.name):
                return
            with Fd(os.open(item.name, _NEW, 0o600, dir_fd=self._into.fileno())) as target:
                self._fill(source.fileno(), target.fileno(), status)
        self._remember(status, item.name)
        self.copied.entries += 1
        self.copied.size += status.st_size

    def _fill(self, source: int, target: int, status: os.stat_result) -> None:
        """Owner before mode and attributes: changing it drops set-user-ID bits and capabilities (chown(2))."""
        self._content.copy(source, target, status)
        if (status.st_uid, status.st_gid) != (self._user, self._group):
            os.fchown(target, status.st_uid, status.st_gid)
        copy_attributes(source, target, self._source.hidden)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _make(self, item: Item, status: os.stat_result) -> bool:
        """Make what has no content; False where it is left out."""
        there = self._into.fileno()
        if stat.S_ISLNK(status.st_mode):
            try:
                os.symlink(os.readlink(item.name, dir_fd=item.directory), item.name, dir_fd=there)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOENT):  # it is no link any more
                    return False
                raise
        elif not self._specials or not self._make_node(item.name, status):
            self.copied.left_out += 1
            return False
        self._dress(item, status)
        return True

    def _make_node(self, name: bytes, status: os.stat_result) -> bool:
        try:
            os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=self._into.fileno())
        except PermissionError:  # devices are not for every user
            return False
        return True

    def _dress(self, item: Item, status: os.stat_result) -> None:
        """The looks of what is not opened."""
        there = self._into.fileno()
        os.chown(item.name, status.st_uid, status.st_gid, dir_fd=there, follow_symlinks=False)
        copy_attributes(_by_name(item.directory, item.name), _by_name(there, item.name), self._source.hidden)
        if not stat.S_ISLNK(status.st_mode):
            _set_mode(there, item.name, status.st_mode)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(item.name, ns=times, dir_fd=there, follow_symlinks=False)

    # --- further names ----------------------------------------------------------------------------

    def _link(self, status: os.stat_result, name: bytes) -> bool:
        """Make a file a further name of one that was copied before; False where it is the first."""
        if status.st_nlink < 2:
            return False
        known = _known(status)
        try:
            os.link(known, name, src_dir_fd=self._links, dst_dir_fd=self._into.fileno(), follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            if error.errno != errno.EMLINK:
                raise
            os.unlink(known, dir_fd=self._links)
            return False
        self.copied.entries += 1
        return True

    def _remember(self, status: os.stat_result, name: bytes) -> None:
        if status.st_nlink > 1:
            there = self._into.fileno()
            try:
                os.link(name, _known(status), src_dir_fd=there, dst_dir_fd=self._links, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise


def _known(status: os.stat_result) -> bytes:
    return b"%d-%d" % (status.st_dev, status.st_ino)


def _set_mode(directory: int, name: bytes, mode: int) -> None:
    """Set the mode of something that was made; a link that somebody has put in its place is not followed."""
    with Fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)) as node:
        if stat.S_IFMT(os.fstat(node.fileno()).st_mode) == stat.S_IFMT(mode):
            os.chmod(f"/proc/self/fd/{node.fileno()}", stat.S_IMODE(mode))


def _by_name(directory: int, name: bytes) -> bytes:
    """A path of something that is not opened, for calls that take no descriptor of a directory."""
    return b"/proc/self/fd/%d/%s" % (directory, name)
