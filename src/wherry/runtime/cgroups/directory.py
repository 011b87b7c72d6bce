"""The cgroup file system: make and remove directories, read and write small files.

:class:`Files` is all that the backends do to it, so that tests can put a recording fake in its place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn, Protocol

from wherry.errors import InvalidInput, NotFound, SystemCallError, Unsupported
from wherry.linux.fd import Fd

__all__ = ["Directory", "Files", "KernelFiles", "Limit"]

# What a kernel answers for a cgroup, or one of its files, that is not there or has just gone.
_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV})
_REJECTED: Final = frozenset({errno.EINVAL, errno.ERANGE, errno.ENODEV, errno.EOVERFLOW, errno.ENXIO})
_CHUNK: Final = 1 << 12  # bytes; most files have a few, and a larger buffer would have to be found and cut for each


class Files(Protocol):
    """What backends do to the cgroup file system. Everything raises OSError as the functions of ``os`` do."""

    def make(self, path: str) -> None:
        """Make a directory."""

    def remove(self, path: str) -> None:
        """Remove an empty cgroup's directory."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory."""

    def children(self, path: str) -> list[str]:
        """Return the names of the directories in a directory."""

    def read(self, path: str) -> str:
        """Return a file's content."""

    def write(self, path: str, values: Iterable[str]) -> None:
        """Open a file once and write the values, each with one write(2): the kernel takes each as one command."""

    def open(self, path: str, flags: int) -> Fd:
        """Open a file or directory, close-on-exec."""


class KernelFiles:
    """The real one."""

    make = staticmethod(os.mkdir)
    remove = staticmethod(os.rmdir)
    exists = staticmethod(os.path.exists)

    def children(self, path: str) -> list[str]:
        """Return the names of the directories in a directory."""
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]

    def read(self, path: str) -> str:
        """Return a file's content, without the buffers and guesses of :func:`open`."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = b""
            while chunk := os.read(fd, _CHUNK):
                content += chunk
            return content.decode(errors="replace")
        finally:
            os.close(fd)

    def write(self, path: str, values: Iterable[str]) -> None:
        """Write each value with one write(2)."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, value.encode())
        finally:
            os.close(fd)

    def open(self, path: str, flags: int) -> Fd:
        """Open a file or directory."""
        return Fd(os.open(path, flags | os.O_CLOEXEC))


class Limit(NamedTuple):
    """One value to be written.

    :ivar controller: whose file it is.
    :ivar name: the file, ``"memory.max"``.
    :ivar value: what to write.
    :ivar optional: whether it may be left out where the kernel has no such file.
    """

    controller: str
    name: str
    value: str
    optional: bool = False


class Directory:
    """One directory of a cgroup, and its files.

    :param path: absolute.
    """

    __slots__ = ("files", "path")

    def __init__(self, files: Files, path: str) -> None:
        self.files = files
        self.path = path

    def __truediv__(self, name: str) -> Directory:
        return Directory(self.files, f"{self.path}/{name}")

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.files.exists(f"{self.path}/{name}")

    def exists(self) -> bool:
        """Whether the directory is there."""
        return self.files.exists(self.path)

    def make(self) -> bool:
        """Make it; returns whether it was not there before.

        :raises FileNotFoundError: its parent is missing.
        """
        try:
            self.files.make(self.path)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except OSError as error:
            hint = "the limit cgroup.max.descendants or cgroup.max.depth" if error.errno == errno.EAGAIN else None
            raise SystemCallError("mkdir", repr(self.path), error.errno or errno.EIO, hint=hint) from error
        return True

    def read(self, name: str) -> str:
        """Return a file's content, stripped.

        :raises NotFound: the cgroup is gone, or the file was never there.
        """
        try:
            return self.files.read(f"{self.path}/{name}").strip()
        except OSError as error:
            self._fail("read", repr(f"{self.path}/{name}"), error)

    def read_or(self, name: str, default: str) -> str:
        """Return a file's content, or ``default`` if there is no such file."""
        try:
            return self.files.read(f"{self.path}/{name}").strip()
        except OSError as error:
            if error.errno in _GONE or error.errno == errno.EOPNOTSUPP:
                return default
            self._fail("read", repr(f"{self.path}/{name}"), error)

    def number(self, name: str) -> int | None:
        """Return the number in a file; None for "max" and for a missing file."""
        text = self.read_or(name, "max")
        return int(text) if text.lstrip("-").isdigit() else None

    def table(self, name: str) -> dict[str, int]:
        """Return the lines ``name number`` of a file; nothing if there is no such file."""
        text = self.read_or(name, "")
        words = text.split()
        if len(words) == 2 * (text.count("\n") + 1):
            with suppress(ValueError):  # each second one is a number, as a rule
                return dict(zip(words[::2], map(int, words[1::2]), strict=True))
        pairs = (line.split() for line in text.splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdigit()}

    def write(self, name: str, *values: str) -> None:
        """Write into a file, each value with one write(2).

        :raises NotFound: the cgroup is gone.
        """
        try:
            self.files.write(f"{self.path}/{name}", values)
        except OSError as error:
            self._fail("write", f"{values[0]!r} to {self.path}/{name}", error)

    def set(self, name: str, value: str) -> None:
        """Write a limit.

        :raises InvalidInput: the kernel rejects the value.
        :raises Unsupported: the kernel has no such limit.
        """
        try:
            self.files.write(f"{self.path}/{name}", (value,))
        except OSError as error:
            self._reject(name, value, error)

    def _reject(self, name: str, value: str, error: OSError) -> NoReturn:
        code = error.errno or errno.EIO
        if code in _GONE and not self.exists():
            raise NotFound(f"there is no cgroup {self.path!r}") from error
        if code == errno.ENOENT:
            raise Unsupported(f"this kernel has no limit {name!r}", cause=f"there is no {self.path}/{name}") from error
        if code in _REJECTED:
            raise InvalidInput(f"cannot set {name} to {value!r}", cause=os.strerror(code).lower()) from error
        hint = "more is in use already" if code == errno.EBUSY else None
        raise SystemCallError("write", f"{value!r} to {self.path}/{name}", code, hint=hint) from error

    def _fail(self, call: str, operands: str, error: OSError) -> NoReturn:
        if error.errno in _GONE and not self.exists():
            raise NotFound(f"there is no cgroup {self.path!r}") from error
        raise SystemCallError(call, operands, error.errno or errno.EIO) from error

    def descendants(self) -> list[Directory]:
        """Return all directories below, each before the one that it is in; those that disappear meanwhile are left out.

        How deep they are, a container may decide: nothing recurses here.
        """
        found: list[Directory] = []
        todo = [self]
        while todo:
            here = todo.pop()
            try:
                below = [here / name for name in self.files.children(here.path)]
            except OSError as error:
                if error.errno in _GONE:
                    continue
                here._fail("scandir", repr(here.path), error)
            found += below
            todo += below
        found.reverse()
        return found

    def pids(self, *, recursive: bool) -> list[int]:
        """Return the processes in it, and below."""
        found = [int(pid) for pid in self.read("cgroup.procs").split()]
        for below in self.descendants() if recursive else ():
            found += [int(pid) for pid in below.read_or("cgroup.procs", "").split()]
        return found
