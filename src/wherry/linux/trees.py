"""Directory trees of any depth and any size, walked and removed by descriptor.

How deep its directories are is a container's own choice: deeper than Python recurses, than a process has descriptors,
and than the longest path (PATH_MAX). So nothing here recurses, a bounded number of descriptors is open at any time,
and no path is ever given to the kernel: the way down is openat(2), name by name, and the way up is ``..``. Both cost
the same at any depth.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from wherry.errors import SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2, unlock

__all__ = ["DIRECTORY", "Descent", "Files", "check_not_mounted", "remove", "unrolled"]

#: How to open a directory that may be anything else by now: a link is not followed, a FIFO not waited for.
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Path = str | bytes | os.PathLike[str]

_HELD: Final = 16
_ONE_MOUNT: Final = int(RESOLVE.NO_XDEV | RESOLVE.NO_SYMLINKS)
# Names that are read at once of a directory that is emptied, so that memory does not depend on how many it has.
_BATCH: Final = 65536


class Descent:
    """A place in a directory tree, and the way back up. Use it in a ``with`` block.

    The lowest directories of the way are held open. Those above are opened again through ``..`` when it is their turn,
    and must be the ones that they were: somebody may have moved a directory on the way meanwhile.

    :param top: where to begin; it is owned from now on.
    :param held: how many directories may be open at once.
    :param one_mount: what is mounted in the tree is not entered (``EXDEV``), and not removed.
    """

    def __init__(self, top: Fd, held: int = _HELD, *, one_mount: bool = False) -> None:
        self.one_mount = one_mount
        self._open: deque[Fd] = deque([top])
        self._above = array("Q")  # device and inode number of each directory that is not held open any more
        self._held = held

    @classmethod
    def open(cls, path: Path, held: int = _HELD) -> Descent:
        """Begin at a directory.

        :raises OSError: there is none, or it is a link.
        """
        return cls(Fd(os.open(path, DIRECTORY)), held)

    def fileno(self) -> int:
        """A descriptor of the present directory, good until the next move."""
        return self._open[-1].fileno()

    def enter(self, name: str | bytes, resolve: int = 0) -> None:
        """Go into a directory of the present one.

        :param resolve: what openat2(2) shall make sure of: flags of `RESOLVE`.
        :raises OSError: there is no such, or it is something else; one stays where one is.
        :raises SystemCallError: the same, with `resolve`.
        """
        if resolve:
            self._open.append(openat2(self.fileno(), name, DIRECTORY, resolve=resolve))
        else:
            self._open.append(self._child(name))
        if len(self._open) > self._held:
            with self._open.popleft() as upper:
                status = os.fstat(upper.fileno())
            self._above.extend((status.st_dev, status.st_ino))

    def _child(self, name: str | bytes) -> Fd:
        if not self.one_mount:
            return Fd(os.open(name, DIRECTORY, dir_fd=self.fileno()))
        try:
            return openat2(self.fileno(), name, DIRECTORY, resolve=_ONE_MOUNT)
        except SystemCallError as error:
            raise OSError(error.errno, os.strerror(error.errno)) from error

    def leave(self) -> None:
        """Go back to where one came from.

        :raises OSError: the way back is not there any more (``ESTALE``); the walk is over.
        """
        with self._open.pop() as lower:
            if not self._open:
                self._open.append(self._parent(lower))

    def _parent(self, lower: Fd) -> Fd:
        parent = Fd(os.open("..", DIRECTORY, dir_fd=lower.fileno()))
        inode, device = self._above.pop(), self._above.pop()
        status = os.fstat(parent.fileno())
        if (status.st_dev, status.st_ino) != (device, inode):
            parent.close()
            raise OSError(errno.ESTALE, "a directory was moved while its tree was walked")
        return parent

    def close(self) -> None:
        """Close what is open."""
        for fd in self._open:
            fd.close()

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def unrolled(begin: Generator[Any, None, None]) -> Iterator[Any]:
    """Run a recursive generator without recursion: where it yields another one, that one's values come in its place.

    An error in one of them ends all; those above it are not told.
    """
    stack = [begin]
    while stack:
        for item in stack[-1]:
            if isinstance(item, Generator):
                stack.append(item)
                break
            yield item
        else:
            stack.pop()


class Files:
    """Everything below a directory, in no order, as pairs of name and status; to be iterated over once.

    What is removed or moved meanwhile is passed over, as one passes over it who looks a moment later.

    :param path: the directory; nothing is there when it is missing, or something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._way: list[str] = []

    def path(self, name: str) -> str:
        """Where the file that was given last is, from the directory."""
        return "/".join([*self._way, name])

    def __iter__(self) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with Descent.open(self._path) as descent:
                yield from self._below(descent)
        except OSError:
            return

    def _below(self, descent: Descent) -> Iterator[tuple[str, os.stat_result]]:
        folders: list[str] = []
        yield from _look(descent, folders)
        pending = [folders]
        while pending:
            if not pending[-1]:
                pending.pop()
                if pending:
                    self._way.pop()
                    descent.leave()
                continue
            name = pending[-1].pop()
            try:
                descent.enter(name)
            except OSError:
                continue
            self._way.append(name)
            pending.append(folders := [])
            yield from _look(descent, folders)


def _look(descent: Descent, folders: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(descent.fileno()) as scan:
        for entry in scan:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(entry.name)
            yield entry.name, status


def check_not_mounted(name: str | bytes, dir_fd: int) -> None:
    """Raise where something is mounted on a name, also when this process is in another mount namespace.

    There the kernel would let it be removed, and take the mount away from everybody who has it.

    :raises OSError: something is (``EBUSY``).
    """
    try:
        openat2(dir_fd, name, os.O_PATH | os.O_NOFOLLOW, resolve=_ONE_MOUNT).close()
    except SystemCallError as error:
        code = errno.EBUSY if error.errno == errno.EXDEV else error.errno
        raise OSError(code, os.strerror(code)) from error


def remove(path: Path, *, dir_fd: int | None = None, one_mount: bool = False) -> None:
    """Remove a tree, or whatever else is there; links are removed, not followed. A missing one is no error.

    Goes past what cannot be removed, so that as little as possible is left.

    :param dir_fd: a descriptor of the directory that a relative path begins at.
    :param one_mount: what is mounted in it keeps its files, and is an error.
    :raises OSError: something could not be removed; the first such error.
    """
    try:
        top = Fd(os.open(path, DIRECTORY, dir_fd=dir_fd))
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(path, dir_fd=dir_fd)
        return
    with Descent(top, one_mount=one_mount) as descent:
        failure = _Emptying(descent).run()
        if failure is not None:
            raise failure
        with suppress(FileNotFoundError):
            try:
                os.rmdir(path, dir_fd=dir_fd)
            except PermissionError:
                if not unlock(descent):
                    raise
                os.rmdir(path, dir_fd=dir_fd)


class _Frame:
    """A directory that is being emptied.

    :ivar folders: directories in it that come next.
    :ivar kept: names that could not be removed.
    :ivar more: whether there is more in it than was read so far.
    """

    __slots__ = ("folders", "kept", "more", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.folders: list[str] = []
        self.kept: set[str] | None = None
        self.more = True

    def keep(self, name: str) -> None:
        self.kept = self.kept or set()
        self.kept.add(name)


class _Emptying:
    """Removes everything in a directory."""

    def __init__(self, descent: Descent) -> None:
        self._descent = descent
        self._failure: OSError | None = None

    def run(self) -> OSError | None:
        """Remove what can be removed.

        :returns: the first error, if there was one.
        """
        frames = [_Frame("")]
        while frames:
            frame = frames[-1]
            if frame.folders:
                self._enter(frames, frame.folders.pop())
            elif frame.more:
                self._clear(frame)
            else:
                frames.pop()
                if frames and not self._leave(frames[-1], frame.name):
                    break
        return self._failure

    def _enter(self, frames: list[_Frame], name: str) -> None:
        try:
            self._descent.enter(name)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed(frames[-1], name, error)
            return
        frames.append(_Frame(name))

    def _leave(self, parent: _Frame, name: str) -> bool:
        """Go up, and remove the directory that is empty now; False where there is no way up."""
        try:
            self._descent.leave()
        except OSError as error:
            self._failure = self._failure or error
            return False
        self._remove(parent, name, is_directory=True)
        return True

    def _clear(self, frame: _Frame) -> None:
        """Remove the files of a directory, or as many as are read at once, and note its directories."""
        kept = frame.kept or ()
        try:
            with os.scandir(self._descent.fileno()) as scan:
                wanted = ((e.name, e.is_dir(follow_symlinks=False)) for e in scan if e.name not in kept)
                found = list(islice(wanted, _BATCH))
        except OSError as error:
            self._failure, frame.more = self._failure or error, False
            return
        frame.more = len(found) == _BATCH
        for name, is_directory in found:
            if not is_directory:
                self._remove(frame, name, is_directory=False)
            elif not self._removed_empty(name):
                frame.folders.append(name)

    def _removed_empty(self, name: str) -> bool:
        """Remove a directory that has nothing in it: going in to see costs ten calls, and this one."""
        try:
            if self._descent.one_mount:
                check_not_mounted(name, self._descent.fileno())
            os.rmdir(name, dir_fd=self._descent.fileno())
        except OSError:
            return False  # that is looked into
        return True

    def _remove(self, frame: _Frame, name: str, *, is_directory: bool) -> None:
        here, act = self._descent.fileno(), os.rmdir if is_directory else os.unlink
        try:
            if self._descent.one_mount:
                check_not_mounted(name, here)
            try:
                act(name, dir_fd=here)
            except PermissionError:  # as root, that is the attribute of chattr(1)
                _unlock_both(here, name)
                act(name, dir_fd=here)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed(frame, name, error)

    def _failed(self, frame: _Frame, name: str, error: OSError) -> None:
        frame.keep(name)
        self._failure = self._failure or error


def _unlock_both(directory: int, name: str) -> None:
    unlock(directory)
    kind = stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with Fd(os.open(name, flags, dir_fd=directory)) as file:
            unlock(file)
