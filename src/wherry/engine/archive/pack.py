"""GET: what is at a path of a container becomes an archive, under the name by which it was asked for."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from wherry.content.durable import disk_errors
from wherry.engine.archive.view import View, absolute
from wherry.errors import SystemFault, TooLarge
from wherry.layers.overlay_view import MergedEntry
from wherry.layers.pack import Packer
from wherry.linux.fd import Fd
from wherry.linux.trees import Descent

__all__ = ["pack"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PARENT: Final = os.O_RDONLY | os.O_DIRECTORY
# Names that are held to be sorted, of all directories on the way together; beyond, files come as they come, and
# directories after them.
_SORTED: Final = 65536
_MOST_DIRECTORIES: Final = 2_000_000
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE)


class _ContainerPacker(Packer):
    """Packs files that a container may exchange for others at any moment."""

    def __init__(self, write: Callable[[bytes], object], view: View) -> None:
        super().__init__(self._count)
        self._counted = write
        self._view = view
        self.pieces = 0

    def _count(self, piece: bytes) -> None:
        self.pieces += 1
        self._counted(piece)

    def open_file(self, name: bytes, directory: int) -> Fd:
        """Open a file, if it is one and not the kernel's.

        A device does not open in a view. Somebody may have a lease on a file (fcntl(2)): then it is waited for, as long
        as the kernel lets them keep it; what is known to be a file cannot make anybody wait for longer.
        """
        try:
            found = Fd(os.open(name, _READING, dir_fd=directory))
        except PermissionError as error:
            raise SystemFault(f"{name!r} is no file any more") from error
        except BlockingIOError:
            found = self._wait_for(name, directory)
        status = os.fstat(found.fileno())
        if not stat.S_ISREG(status.st_mode) or self._view.is_kernels(found.fileno(), status.st_dev):
            found.close()
            raise SystemFault(f"{name!r} is no file any more")
        return found

    @staticmethod
    def _wait_for(name: bytes, directory: int) -> Fd:
        with Fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)) as place:
            if not stat.S_ISREG(os.fstat(place.fileno()).st_mode):
                raise SystemFault(f"{name!r} is no file any more") from None
            return Fd(os.open(f"/proc/self/fd/{place.fileno()}", os.O_RDONLY | os.O_CLOEXEC))


def pack(view: View, path: str, write: Callable[[bytes], object]) -> None:
    """Write the archive of what is at a path.

    Its first name is the last one of the path, also where the path ends in a link to a directory: ``/a/link/`` comes as
    ``link/...``, ``/a/.`` as ``./...``, and the root as ``/...``.

    :raises NotFound: nothing is there.
    :raises SystemFault: something cannot be read.
    """
    whole = absolute(path)
    with disk_errors(f"copy from {path}"), view.open(whole, shown=path) as found:
        packer, status = _ContainerPacker(write, view), os.fstat(found.fileno())
        name = posixpath.basename(whole.rstrip("/")) or "/"
        if not stat.S_ISDIR(status.st_mode):
            _pack_one(packer, view, whole, os.fsencode(name))
        else:
            with view.open(whole, _DIRECTORY, path) as top:
                prefix = b"" if name == "/" else os.fsencode(name)
                packer.add_open_directory(prefix or b"/", top.fileno())
                if not view.is_kernels(top.fileno()):
                    _pack_below(packer, view, top.duplicate(), prefix)
    packer.finish()


def _pack_one(packer: Packer, view: View, path: str, name: bytes) -> None:
    """Pack something that is no directory, by its name in its directory: it must not be opened before it is known."""
    with view.open(posixpath.dirname(path), _PARENT, path) as parent:
        base = os.fsencode(posixpath.basename(path))
        try:
            status = os.stat(base, dir_fd=parent.fileno(), follow_symlinks=False)
        except FileNotFoundError:
            raise view.missing(path) from None
        if stat.S_ISDIR(status.st_mode):
            raise SystemFault(f"{path} was replaced while it was copied")
        packer.add(name, MergedEntry(base, 0, status), parent.fileno())


def _pack_below(packer: _ContainerPacker, view: View, top: Fd, prefix: bytes) -> None:
    """Pack what is in a directory. Nothing here recurses: how deep it goes is the container's choice."""
    root = os.fstat(view.root.fileno())
    at_root = os.path.samestat(os.fstat(top.fileno()), root)
    way, held = [prefix], _Held()
    with Descent(top) as descent:
        levels = [_entries(descent.fileno(), held)]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                if levels:
                    way.pop()
                    descent.leave()
                continue
            name, status = found
            before = packer.pieces
            try:
                packer.add(_path(way, name), MergedEntry(name, 0, status), descent.fileno())
            except (OSError, SystemFault) as error:
                if packer.pieces > before or not _passes_over(error):
                    raise
                continue
            is_dev = at_root and len(way) == 1 and name == b"dev"
            if stat.S_ISDIR(status.st_mode) and not is_dev and _enter(descent, view, name):
                way.append(name)
                levels.append(_entries(descent.fileno(), held))


def _enter(descent: Descent, view: View, name: bytes) -> bool:
    """Go into a directory, if it is still there; one that the kernel's files are mounted on stays empty."""
    try:
        descent.enter(name)
    except OSError:
        return False
    if view.is_kernels(descent.fileno()):
        descent.leave()
        return False
    return True


def _path(way: list[bytes], name: bytes) -> bytes:
    return b"/".join([*way, name])


def _passes_over(error: Exception) -> bool:
    """Whether a file is left out: it is gone, or is another one, before anything of it was written."""
    if isinstance(error, OSError):
        return error.errno in _GONE
    return type(error) is SystemFault


_Found = tuple[bytes, os.stat_result]


class _Held:
    """What is held in memory of the directories on the way: how wide each of them is, is the container's choice."""

    def __init__(self) -> None:
        self.names = 0
        self.folders = 0


def _entries(directory: int, held: _Held) -> Iterator[_Found]:
    """The names in a directory with their status, sorted unless there are very many."""
    room = max(_SORTED - held.names, 0)
    with os.scandir(directory) as scan:
        part = list(islice(scan, room + 1))
    return _sorted(_stated(part), held) if len(part) <= room else _many(directory, held)


def _sorted(found: list[_Found], held: _Held) -> Iterator[_Found]:
    found.sort(key=lambda one: one[0], reverse=True)
    held.names += len(found)
    while found:
        held.names -= 1
        yield found.pop()


def _many(directory: int, held: _Held) -> Iterator[_Found]:
    """Files as they come, a part at a time; the directories at the end."""
    folders: list[bytes] = []
    with Fd(os.open(".", _PARENT | os.O_CLOEXEC, dir_fd=directory)) as again, os.scandir(again.fileno()) as scan:
        while part := list(islice(scan, _SORTED)):
            for name, status in _stated(part):
                if not stat.S_ISDIR(status.st_mode):
                    yield name, status
                    continue
                folders.append(name)
                held.folders += 1
                if held.folders > _MOST_DIRECTORIES:
                    raise TooLarge("there are too many directories beside each other")
    while folders:
        held.folders -= 1
        name = folders.pop()
        with suppress(FileNotFoundError):
            yield name, os.stat(name, dir_fd=directory, follow_symlinks=False)


def _stated(part: Iterable[os.DirEntry[str]]) -> list[_Found]:
    found = []
    for entry in part:
        try:
            found.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
        except OSError:
            continue
    return found
