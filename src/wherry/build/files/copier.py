"""Trees are copied: what a selection takes, from one mount into another, with BuildKit's rules and words.

Both sides are walked by descriptors, name by name, and nothing follows a link: what leads where was decided before
(`rooted.locate`). A file that is in the way is removed, never written through.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final

from wherry.build.files.content import Content, copy_attributes
from wherry.build.files.modes import ModeChange
from wherry.build.files.owners import Ids
from wherry.build.files.rooted import Place, shown, translated
from wherry.build.files.selection import ALL, TOP, Selection, States, Verdict
from wherry.errors import InvalidInput
from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.trees import Descent, unrolled

__all__ = ["Copier", "Looks"]

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKED: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL: Final = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
# Files with several names that are remembered: each costs a descriptor's worth of memory.
_MOST_LINKS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Looks:
    """What copied files shall look like.

    :param owner: None: as the source.
    :param mode: None: as the source.
    :param time: nanoseconds since the epoch; None: as the source.
    """

    owner: Ids | None = None
    mode: ModeChange | None = None
    time: int | None = None


class Copier:
    """Copies sources into one mount.

    :param root: a descriptor of the target's root.
    :param replace: whether what is in the way goes even where it is of another kind.
    :param check: called for each file: raises where the work is not wanted any more.
    """

    def __init__(
        self,
        root: int,
        looks: Looks,
        selection: Selection = ALL,
        *,
        replace: bool = False,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._root = root
        self._looks = looks
        self._selection = selection
        self._replace = replace
        self._check = check
        self._content = Content()
        self._links: dict[tuple[int, int], bytes] = {}

    def copy(self, source: Place, target: Place, *, dress: bool = False) -> None:
        """Copy a file, or a directory with what is selected in it, to a place; a directory that is there is merged.

        :param dress: whether a directory that is there takes over the looks of the source's.
        :raises InvalidInput: a directory is in the place of a file, or the other way round.
        """
        assert source.status is not None
        self._check()
        self._links.clear()
        if stat.S_ISDIR(source.status.st_mode):
            self._copy_directory(source, target, dress=dress)
            return
        here, there = source.directory.fileno(), target.directory.fileno()
        if target.status is not None:
            self._clear(there, target.name, target.path, is_directory=target.is_directory)
        try:
            self._make(here, source.name, source.status, there, target.name, target.path)
        except OSError as error:
            raise translated(error, "copy", target.path) from error

    # --- directories ------------------------------------------------------------------------------

    def _copy_directory(self, source: Place, target: Place, *, dress: bool) -> None:
        assert source.status is not None
        there = target.directory.fileno()
        made = self._make_directory(there, target.name, target.path, target.status)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with (
            Descent(source.open_directory()) as way,
            Descent(Fd(os.open(target.name, flags, dir_fd=there))) as into,
        ):
            tree = _Tree(way, into, target.path)
            for _ in unrolled(self._below(tree, b"", TOP)):
                pass
            if made or dress:
                self._dress_directory(way.fileno(), into.fileno(), source.status)
            elif target.status is not None:
                time = self._time(source.status)
                os.utime(into.fileno(), ns=time)

    def _below(self, tree: _Tree, path: bytes, above: States) -> Generator[Any, None, None]:
        """Copy what is in the present directory; generators are for `unrolled`."""
        names = sorted(map(os.fsencode, os.listdir(tree.source.fileno())), reverse=True)
        while names:
            self._check()
            name = names.pop()
            try:
                status = os.stat(name, dir_fd=tree.source.fileno(), follow_symlinks=False)
            except FileNotFoundError:  # overlayfs lists a whiteout where nothing is below
                continue
            here = path + name
            verdict = self._selection.judge(here, above)
            if stat.S_ISDIR(status.st_mode):
                if verdict.taken or verdict.entered:
                    yield self._directory(tree, here, name, status, verdict)
            elif verdict.taken:
                self._open_parents(tree)
                self._file(tree, name, status)

    def _directory(
        self, tree: _Tree, path: bytes, name: bytes, status: os.stat_result, verdict: Verdict
    ) -> Generator[Any, None, None]:
        tree.source.enter(name)
        tree.waiting.append(name)
        if verdict.taken:
            self._open_parents(tree)
        if verdict.entered:
            yield self._below(tree, path + b"/", verdict.below)
        if tree.leave_target():  # below the source's top, a directory that was there looks like the source's, too
            self._dress_directory(tree.source.fileno(), tree.target.fileno(), status)
            tree.target.leave()
        tree.source.leave()

    def _open_parents(self, tree: _Tree) -> None:
        """Make the directories on the way that were put off until something in them is taken."""
        while tree.waiting:
            name = tree.waiting[0]
            there = tree.target.fileno()
            try:
                os.mkdir(name, 0o700, dir_fd=there)
            except FileExistsError:
                self._make_directory(there, name, tree.at(name), os.stat(name, dir_fd=there, follow_symlinks=False))
            tree.open_next()

    def _make_directory(self, there: int, name: bytes, path: bytes, status: os.stat_result | None) -> bool:
        """Make a directory unless there is one; returns whether it was made."""
        if status is not None and not stat.S_ISDIR(status.st_mode):
            if not self._replace:
                raise InvalidInput(f"cannot copy to non-directory: {shown(path)}")
            os.unlink(name, dir_fd=there)
            status = None
        if status is None:
            os.mkdir(name, 0o700, dir_fd=there)
        return status is None

    def _dress_directory(self, source: int, target: int, status: os.stat_result) -> None:
        owner = self._looks.owner or (status.st_uid, status.st_gid)
        os.fchown(target, *owner)
        os.fchmod(target, self._mode(status))
        copy_attributes(source, target)
        os.utime(target, ns=self._time(status))

    # --- everything else --------------------------------------------------------------------------

    def _file(self, tree: _Tree, name: bytes, status: os.stat_result) -> None:
        here, there = tree.source.fileno(), tree.target.fileno()
        try:
            try:
                self._make(here, name, status, there, name, None, tree)
            except FileExistsError:
                found = os.stat(name, dir_fd=there, follow_symlinks=False)
                self._clear(there, name, tree.at(name), is_directory=stat.S_ISDIR(found.st_mode))
                self._make(here, name, status, there, name, None, tree)
        except OSError as error:
            raise translated(error, "copy", tree.at(name)) from error

    def _clear(self, there: int, name: bytes, path: bytes, *, is_directory: bool) -> None:
        """Remove what is in the place of a file."""
        if not is_directory:
            os.unlink(name, dir_fd=there)
        elif self._replace:
            trees.remove(name, dir_fd=there)
        else:
            raise InvalidInput(f"cannot replace to directory {shown(path)} with file")

    def _make(  # noqa: PLR0917
        self,
        here: int,
        name: bytes,
        status: os.stat_result,
        there: int,
        new: bytes,
        path: bytes | None,
        tree: _Tree | None = None,
    ) -> None:
        """Make a copy of a file that is no directory, where nothing is.

        :param path: of the new file, from the root; None: `tree` knows it.
        """
        kind = stat.S_IFMT(status.st_mode)
        if status.st_nlink > 1 and self._link(status, there, new, path, tree):
            return
        if kind == stat.S_IFREG:
            self._copy_file(here, name, status, there, new)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=here), new, dir_fd=there)
            self._dress(here, name, status, there, new)
        else:
            self._make_node(here, name, status, there, new)

    def _link(self, status: os.stat_result, there: int, new: bytes, path: bytes | None, tree: _Tree | None) -> bool:
        """Make a file a further name of one that was copied before; False where it is the first."""
        key = (status.st_dev, status.st_ino)
        first = self._links.get(key)
        if first is None:
            if stat.S_ISREG(status.st_mode) and tree is not None and len(self._links) < _MOST_LINKS:
                self._links[key] = tree.at(new)
            return False
        directory, _, base = first.rpartition(b"/")
        with _walk_down(self._root, directory) as parent:
            try:
                os.link(base, new, src_dir_fd=parent.fileno(), dst_dir_fd=there, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EMLINK, errno.ENOENT):
                    raise
                self._links.pop(key)
                return False
        return True

    def _copy_file(self, here: int, name: bytes, status: os.stat_result, there: int, new: bytes) -> None:
        source = _open_source(name, here)
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidInput(f"{os.fsdecode(name)!r} was exchanged while it was copied")
            target = os.open(new, _NEW, 0o600, dir_fd=there)
            try:
                self._content.copy(source, target, found)
                owner = self._looks.owner or (status.st_uid, status.st_gid)
                os.fchown(target, *owner)
                os.fchmod(target, self._mode(status))
                copy_attributes(source, target)
                os.utime(target, ns=self._time(status))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _make_node(self, here: int, name: bytes, status: os.stat_result, there: int, new: bytes) -> None:
        """Devices and FIFOs; of a socket an empty file is left, as in BuildKit."""
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            os.close(os.open(new, _NEW, 0o600, dir_fd=there))
        elif kind == stat.S_IFCHR and status.st_rdev == 0:
            return  # overlayfs' own mark of something deleted: as a file it cannot be
        else:
            os.mknod(new, kind | 0o600, status.st_rdev, dir_fd=there)
        self._dress(here, name, status, there, new)

    def _dress(self, here: int, name: bytes, status: os.stat_result, there: int, new: bytes) -> None:
        """Owner, mode, attributes and time of what is not to be opened."""
        owner = self._looks.owner or (status.st_uid, status.st_gid)
        os.chown(new, *owner, dir_fd=there, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(new, self._mode(status), dir_fd=there)
        copy_attributes(b"/proc/self/fd/%d/%s" % (here, name), b"/proc/self/fd/%d/%s" % (there, new))
        os.utime(new, ns=self._time(status), dir_fd=there, follow_symlinks=False)

    def _mode(self, status: os.stat_result) -> int:
        mode = stat.S_IMODE(status.st_mode)
        return mode if self._looks.mode is None else self._looks.mode(mode, stat.S_ISDIR(status.st_mode))

    def _time(self, status: os.stat_result) -> tuple[int, int]:
        if self._looks.time is not None:
            return self._looks.time, self._looks.time
        return status.st_atime_ns, status.st_mtime_ns


class _Tree:
    """Where a copy is: a place in the source, the same in the target, and directories that are not made yet.

    :ivar waiting: the names of directories on the way that the target's place is not in yet.
    """

    def __init__(self, source: Descent, target: Descent, top: bytes) -> None:
        self.source: Final = source
        self.target: Final = target
        self.waiting: list[bytes] = []
        self._path = bytearray(top + b"/" if top else b"")
        self._lengths: list[int] = []

    def at(self, name: bytes) -> bytes:
        """The path of a name in the target's present directory, from the root."""
        return bytes(self._path + name)

    def open_next(self) -> None:
        """Enter the first of those that wait, in the target."""
        name = self.waiting.pop(0)
        self.target.enter(name)
        self._lengths.append(len(self._path))
        self._path += name + b"/"

    def leave_target(self) -> bool:
        """Note that a directory is left; returns whether the target's place is in it."""
        if self.waiting:
            self.waiting.pop()
            return False
        del self._path[self._lengths.pop() :]
        return True


def _open_source(name: bytes, here: int) -> int:
    try:
        return os.open(name, _READ, dir_fd=here)
    except PermissionError:  # O_NOATIME is for owners
        return os.open(name, _READ & ~os.O_NOATIME, dir_fd=here)


def _walk_down(root: int, path: bytes) -> Fd:
    """Open a directory by its path, of any length, following no link."""
    here = Fd(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root))
    for name in path.split(b"/"):
        if name:
            with here:
                here = Fd(os.open(name, _LINKED | os.O_DIRECTORY, dir_fd=here.fileno()))
    return here
