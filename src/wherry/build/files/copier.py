"""Trees are copied: what a selection takes, from one mount into another, with BuildKit's rules and words.

Both sides are walked by descriptors, name by name, and nothing follows a link: what leads where was decided before
(`rooted.locate`). A file that is in the way is removed, never written through.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wherry.build.files.modes import ModeChange
from wherry.build.files.owners import Ids
from wherry.build.files.rooted import Place, check_length, shown, translated
from wherry.build.files.selection import ALL, TOP, Selection, States, Verdict
from wherry.errors import InvalidInput
from wherry.layers.file_content import Content, copy_attributes
from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.trees import DIRECTORY, Descent, unrolled

__all__ = ["Copier", "Looks"]

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKED: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DEFAULT_ACL: Final = "system.posix_acl_default"
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
    :param upper: where that is an overlay: of its writable directory. New directories are filled there, which takes
        half the time; the overlay must be mounted again before it shows what is in them for sure.
    :param replace: whether what is in the way goes even where it is of another kind.
    :param check: called for each file: raises where the work is not wanted any more.
    :ivar wrote_directly: whether the overlay has to be mounted again.
    """

    def __init__(
        self,
        root: int,
        looks: Looks,
        selection: Selection = ALL,
        *,
        upper: int | None = None,
        replace: bool = False,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._root = root
        self._upper = upper
        self._umask = _umask()
        self._looks = looks
        self._selection = selection
        self._replace = replace
        self._check = check
        self._content = Content(check)
        self._links: dict[tuple[int, int], bytes] = {}
        self.wrote_directly = False

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
            self._make(here, source.name, source.status, there, target.name, None)
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
            _Target(Fd(os.open(target.name, flags, dir_fd=there)), target.path, self._upper) as into,
        ):
            if made or into.is_empty():
                os.utime(into.fileno(), ns=self._time(source.status))  # an overlay copies it up, if it has to
                into.go_direct()
            for _ in unrolled(self._below(way, into, b"", TOP)):
                pass
            self.wrote_directly |= into.went_direct
            into.go_back()
            if made or dress:
                self._dress_directory(way.fileno(), into.fileno(), source.status)
            else:
                os.utime(into.fileno(), ns=self._time(source.status))

    def _below(self, way: Descent, into: _Target, path: bytes, above: States) -> Generator[Any, None, None]:
        """Copy what is in the present directory; generators are for `unrolled`."""
        with os.scandir(way.fileno()) as scan:
            entries = [(os.fsencode(entry.name), entry.is_file(follow_symlinks=False)) for entry in scan]
        entries.sort(reverse=True)
        while entries:
            self._check()
            name, is_file = entries.pop()
            here = path + name
            check_length(here)
            verdict = self._selection.judge(here, above)
            if is_file:
                if verdict.taken:
                    self._open_parents(into)
                    self._file(way.fileno(), name, None, into)
                continue
            try:
                status = os.stat(name, dir_fd=way.fileno(), follow_symlinks=False)
            except FileNotFoundError:  # overlayfs lists a whiteout where nothing is below
                continue
            if stat.S_ISDIR(status.st_mode):
                if verdict.taken or verdict.entered:
                    yield self._directory(way, into, here, name, status, verdict)
            elif verdict.taken:
                self._open_parents(into)
                self._file(way.fileno(), name, status, into)

    def _directory(  # noqa: PLR0917
        self, way: Descent, into: _Target, path: bytes, name: bytes, status: os.stat_result, verdict: Verdict
    ) -> Generator[Any, None, None]:
        way.enter(name)
        into.waiting.append(name)
        if verdict.taken:
            self._open_parents(into)
        if verdict.entered:
            yield self._below(way, into, path + b"/", verdict.below)
        if into.is_waiting():
            into.waiting.pop()
        else:  # below the source's top, a directory that was there looks like the source's, too
            self._dress_directory(way.fileno(), into.fileno(), status)
            into.leave()
        way.leave()

    def _open_parents(self, into: _Target) -> None:
        """Make the directories on the way that were put off until something in them is taken."""
        while into.waiting:
            name, there = into.waiting.pop(0), into.fileno()
            try:
                os.mkdir(name, 0o700, dir_fd=there)
            except FileExistsError:
                found = os.stat(name, dir_fd=there, follow_symlinks=False)
                into.enter(name, is_new=self._make_directory(there, name, into.at(name), found))
            else:
                into.enter(name, is_new=True)

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

    def _file(self, here: int, name: bytes, status: os.stat_result | None, into: _Target) -> None:
        """Copy a file of a directory into the same one of the target.

        :param status: None: it is a regular file, as its directory says.
        """
        there = into.fileno()
        try:
            try:
                self._make(here, name, status, there, name, into)
            except FileExistsError:
                found = os.stat(name, dir_fd=there, follow_symlinks=False)
                self._clear(there, name, into.at(name), is_directory=stat.S_ISDIR(found.st_mode))
                self._make(here, name, status, there, name, into)
        except OSError as error:
            raise translated(error, "copy", into.at(name)) from error

    def _clear(self, there: int, name: bytes, path: bytes, *, is_directory: bool) -> None:
        """Remove what is in the place of a file."""
        if not is_directory:
            os.unlink(name, dir_fd=there)
        elif self._replace:
            trees.remove(name, dir_fd=there)
        else:
            raise InvalidInput(f"cannot replace to directory {shown(path)} with file")

    def _make(  # noqa: PLR0917
        self, here: int, name: bytes, status: os.stat_result | None, there: int, new: bytes, into: _Target | None
    ) -> None:
        """Make a copy of a file that is no directory, where nothing is.

        :param status: None: it is a regular file.
        :param into: the tree that it goes to; None: it is copied alone.
        """
        if status is None or stat.S_ISREG(status.st_mode):
            self._copy_file(here, name, there, new, into)
            return
        if status.st_nlink > 1 and into is not None and self._link(status, there, new, into):
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=here), new, dir_fd=there)
            self._dress(here, name, status, there, new)
        else:
            self._make_node(here, name, status, there, new)

    def _link(self, status: os.stat_result, there: int, new: bytes, into: _Target) -> bool:
        """Make a file a further name of one that was copied before; False where it is the first."""
        key = (status.st_dev, status.st_ino)
        first = self._links.get(key)
        if first is None:
            if len(self._links) < _MOST_LINKS:
                self._links[key] = into.at(new)
            return False
        directory, _, base = first.rpartition(b"/")
        root = self._upper if into.is_direct and self._upper is not None else self._root
        with walk_down(root, directory) as parent:
            try:
                os.link(base, new, src_dir_fd=parent.fileno(), dst_dir_fd=there, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EMLINK, errno.ENOENT):
                    raise
                self._links[key] = into.at(new)
                return False
        return True

    def _copy_file(self, here: int, name: bytes, there: int, new: bytes, into: _Target | None) -> None:
        source = _open_source(name, here)
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(f"{os.fsdecode(name)!r} was exchanged while it was copied")
            if status.st_nlink > 1 and into is not None and self._link(status, there, new, into):
                return
            owner, mode = self._looks.owner or (status.st_uid, status.st_gid), self._mode(status)
            # Made by root in a directory of root's that hands nothing down, it is root's, and has the mode asked for.
            is_as_made = (
                into is not None and owner == (0, 0) and not mode & (_SPECIAL | self._umask) and into.is_plain()
            )
            target = os.open(new, _NEW, mode if is_as_made else 0o600, dir_fd=there)
            try:
                self._content.copy(source, target, status)
                if not is_as_made:
                    os.fchown(target, *owner)
                    os.fchmod(target, mode)
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


class _Target:
    """A place in the target, and the way back up. Use it in a ``with`` block.

    :param top: a descriptor of where it begins; owned from now on.
    :param path: of that, from the root, without links.
    :param upper: of the overlay's writable directory, where the target is in one.
    :ivar waiting: the names of directories that are further down, and not made yet.
    :ivar went_direct: whether the overlay's writable directory was used itself.
    """

    def __init__(self, top: Fd, path: bytes, upper: int | None) -> None:
        self.waiting: list[bytes] = []
        self.went_direct = False
        self._upper = upper
        self._overlay = Descent(top)
        self._direct: Descent | None = None
        self._direct_from = 0
        self._path = bytearray(path + b"/" if path else b"")
        self._lengths: list[int] = []
        self._plain: bool | None = None

    def fileno(self) -> int:
        """A descriptor of the present directory, good until the next move."""
        return (self._direct or self._overlay).fileno()

    def at(self, name: bytes) -> bytes:
        """The path of a name in the present directory, from the root."""
        return bytes(self._path + name)

    def is_waiting(self) -> bool:
        """Whether the lowest directory of the way is not made yet."""
        return bool(self.waiting)

    def is_empty(self) -> bool:
        """Whether nothing is in the present directory."""
        with os.scandir(self.fileno()) as scan:
            return next(scan, None) is None

    def is_plain(self) -> bool:
        """Whether what is made in the present directory is root's, and has the mode that was asked for."""
        if self._plain is None:
            fd = self.fileno()
            status = os.fstat(fd)
            is_roots = os.geteuid() == 0 and not status.st_mode & stat.S_ISGID
            self._plain = is_roots and _DEFAULT_ACL not in os.listxattr(fd)
        return self._plain

    @property
    def is_direct(self) -> bool:
        """Whether the descriptor is of the overlay's writable directory."""
        return self._direct is not None

    def enter(self, name: bytes, *, is_new: bool) -> None:
        """Go into a directory of the present one.

        :param is_new: whether it was made just now.
        """
        self._plain = None
        self._lengths.append(len(self._path))
        self._path += name + b"/"
        if self._direct is not None:
            self._direct.enter(name)
            return
        self._overlay.enter(name)
        if is_new:
            self.go_direct()

    def leave(self) -> None:
        """Go back to where one came from."""
        self._plain = None
        if self._direct is not None and len(self._lengths) > self._direct_from:
            self._direct.leave()
        else:
            self.go_back()
            self._overlay.leave()
        del self._path[self._lengths.pop() :]

    def go_direct(self) -> None:
        """From here on downwards, use the overlay's writable directory itself, where the overlay has nothing else."""
        if self._upper is None or self._direct is not None:
            return
        with suppress(FileNotFoundError):  # nothing was copied up to there
            fd = walk_down(self._upper, bytes(self._path))
            self._direct = Descent(Fd(os.open(".", DIRECTORY, dir_fd=fd.fileno())))
            self._direct_from = len(self._lengths)
            fd.close()
            if not self.is_empty():  # whiteouts
                self.go_back()
            self.went_direct |= self.is_direct

    def go_back(self) -> None:
        """Use the overlay again."""
        if self._direct is not None:
            self._direct.close()
            self._direct = None

    def __enter__(self) -> _Target:
        return self

    def __exit__(self, *exc: object) -> None:
        self.go_back()
        self._overlay.close()


def _open_source(name: bytes, here: int) -> int:
    try:
        return os.open(name, _READ, dir_fd=here)
    except PermissionError:  # O_NOATIME is for owners
        return os.open(name, _READ & ~os.O_NOATIME, dir_fd=here)


def walk_down(root: int, path: bytes) -> Fd:
    """Open a directory by its path, of any length, following no link."""
    here = Fd(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root))
    for name in path.split(b"/"):
        if name:
            with here:
                here = Fd(os.open(name, _LINKED | os.O_DIRECTORY, dir_fd=here.fileno()))
    return here


def _umask() -> int:
    """The process's mask of permissions; asking by umask(2) would change it for a moment."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o777
