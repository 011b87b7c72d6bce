"""Paths inside a mount: where they lead, and the directories on the way made.

A path is walked name by name, with the mount's root as ``/``: links are read and taken apart here, and each name is
opened without following one, in a directory that is held open. So nothing leads out, whatever is exchanged meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from wherry.errors import InvalidInput, NotFound
from wherry.linux.fd import Fd, FdLike, number

__all__ = ["DIRECTORY", "MAX_PATH", "Place", "check_length", "file_errors", "locate", "parts", "shown", "translated"]

#: How a directory on the way is opened: for what is in it, by `openat`.
DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: The longest path of a request (PATH_MAX).
MAX_PATH: Final = 4096
# As in BuildKit (containerd/continuity), which allows more than the kernel's 40.
_MAX_LINKS: Final = 255


class Place:
    """Where a path leads: a name in a directory. Use it in a ``with`` block.

    :param directory: a descriptor (``O_PATH``); owned by this.
    :param name: ``.`` for the directory itself.
    :param status: of what is there, of a link itself; None: nothing is.
    :param path: from the root, without links but for the last name.
    """

    def __init__(self, directory: Fd, name: bytes, status: os.stat_result | None, path: bytes) -> None:
        self.directory: Final = directory
        self.name: Final = name
        self.status: Final = status
        self.path: Final = path

    @property
    def is_directory(self) -> bool:
        """Whether there is one."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)

    def open_directory(self) -> Fd:
        """The directory, to be listed.

        :raises OSError: it is none.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return Fd(os.open(self.name, flags, dir_fd=self.directory.fileno()))

    def close(self) -> None:
        """Close the descriptor."""
        self.directory.close()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def shown(path: bytes) -> str:
    """A path inside of a root, for people."""
    return "/" + os.fsdecode(path)[:1000]


def parts(path: bytes) -> list[bytes]:
    """The names of a path, without ``.`` and ``..``; what is above the root is the root."""
    found: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            del found[-1:]
        elif name not in (b"", b"."):
            found.append(name)
    return found


def check_length(path: bytes) -> None:
    """Refuse a path below a source that no program could open, and no image may have.

    Trees may be as deep as a disk has room for, and the paths in them, all together, as long as the square of that.

    :raises InvalidInput: it is longer than the kernel takes.
    """
    if len(path) >= MAX_PATH:
        raise InvalidInput(f"lstat {shown(path)}: file name too long")


class file_errors:
    """Tells errors of the kernel in BuildKit's form: the call, the path inside, the kernel's text."""

    def __init__(self, call: str, path: bytes) -> None:
        self._call = call
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise translated(error, self._call, self._path) from error


_WRONG: Final = (
    errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOTEMPTY,
    errno.EPERM,
)  # fmt: skip


def translated(error: OSError, call: str, path: bytes) -> Exception:
    """An error of the kernel as one of ours; one that is not about the path stays what it is, for `disk_errors`."""
    text = f"{call} {shown(path)}: {(error.strerror or str(error)).lower()}"
    if error.errno == errno.ENOENT:
        return NotFound(text)
    if error.errno in _WRONG:
        return InvalidInput(text)
    return error


def locate(
    root: FdLike,
    path: bytes,
    *,
    follow: bool = True,
    make: Callable[[int, bytes], object] | None = None,
    call: str = "lstat",
) -> Place:
    """Where a path leads, inside of a root.

    :param follow: whether the last name is followed where it is a link.
    :param make: makes a directory on the way that is missing: called with the directory's descriptor and the name.
    :param call: for the message where something is missing or in the way.
    :raises NotFound: a directory on the way is missing; that nothing is at the end is no error.
    :raises InvalidInput: something on the way is no directory; there are too many links.
    """
    if len(path) > MAX_PATH:
        raise InvalidInput(f"{call} {shown(path)}: file name too long")
    with file_errors(call, path):
        return _Walk(number(root), make).run(path, follow=follow)


class _Walk:
    def __init__(self, root: int, make: Callable[[int, bytes], object] | None) -> None:
        self._root = root
        self._make = make
        self._done: list[bytes] = []
        self._links = 0
        self._here = self._top()

    def run(self, path: bytes, *, follow: bool) -> Place:
        todo = _names(path)
        try:
            while todo:
                name = todo.pop()
                if name == b"..":
                    self._up()
                    continue
                status = self._look(name)
                if status is not None and stat.S_ISLNK(status.st_mode) and (todo or follow):
                    todo += self._link(name)
                elif not todo:
                    return Place(self._here, name, status, b"/".join([*self._done, name]))
                else:
                    self._down(name, status)
            return Place(self._here, b".", os.stat(self._here.fileno()), b"/".join(self._done))
        except BaseException:
            self._here.close()
            raise

    def _top(self) -> Fd:
        return Fd(os.open(".", DIRECTORY, dir_fd=self._root))

    def _look(self, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._here.fileno(), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _down(self, name: bytes, status: os.stat_result | None) -> None:
        if status is None:
            if self._make is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._make(self._here.fileno(), name)
        lower = Fd(os.open(name, DIRECTORY, dir_fd=self._here.fileno()))
        self._here.close()
        self._here = lower
        self._done.append(name)

    def _up(self) -> None:
        """Back to where one came from: not by the kernel's ``..``, which somebody may have moved."""
        if not self._done:
            return
        del self._done[-1]
        self._here.close()
        self._here = self._top()
        for name in self._done:
            lower = Fd(os.open(name, DIRECTORY, dir_fd=self._here.fileno()))
            self._here.close()
            self._here = lower

    def _link(self, name: bytes) -> list[bytes]:
        """Take a link apart; returns its names, the last one first."""
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(name, dir_fd=self._here.fileno())
        if target.startswith(b"/"):
            self._done.clear()
            self._here.close()
            self._here = self._top()
        return _names(target)


def _names(path: bytes) -> list[bytes]:
    """The names of a path, the last one first; ``..`` stays, as what it means depends on links."""
    return [name for name in path.split(b"/") if name not in (b"", b".")][::-1]
