"""GET: what is at a path of a container becomes an archive, under the name by which it was asked for."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
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
# Names of a directory that are sorted; beyond, files come as they come, and directories after them.
_SORTED: Final = 65536
_MOST_DIRECTORIES: Final = 2_000_000
# Hard links that are remembered; with more, further names of known files are packed as files.
_MOST_LINKS: Final = 500_000
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE)


class _ContainerPacker(Packer):
    """Packs files that a container may exchange for others at any moment."""

    def __init__(self, write: Callable[[bytes], object], view: View) -> None:
        super().__init__(write)
        self._view = view

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


def _pack_below(packer: Packer, view: View, top: Fd, prefix: bytes) -> None:
    """Pack what is in a directory. Nothing here recurses: how deep it goes is the container's choice."""
    root = os.fstat(view.root.fileno())
    at_root = os.path.samestat(os.fstat(top.fileno()), root)
    way = [prefix]
    with Descent(top) as descent:
        levels = [_entries(descent.fileno())]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                if levels:
                    way.pop()
                    descent.leave()
                continue
            name, status = found
            try:
                packer.add(_path(way, name), MergedEntry(name, 0, status), descent.fileno())
            except (OSError, SystemFault) as error:
                if not _passes_over(error):
                    raise
                continue
            packer.forget_links(_MOST_LINKS)
            if stat.S_ISDIR(status.st_mode) and not (at_root and len(way) == 1 and name == b"dev"):
                _enter(descent, view, name, way, levels)


def _enter(descent: Descent, view: View, name: bytes, way: list[bytes], levels: list[Iterator[_Found]]) -> None:
    """Go into a directory that is still there; one that the kernel's files are mounted on stays empty."""
    try:
        descent.enter(name)
    except OSError:
        return
    if view.is_kernels(descent.fileno()):
        descent.leave()
        return
    way.append(name)
    levels.append(_entries(descent.fileno()))


def _path(way: list[bytes], name: bytes) -> bytes:
    return b"/".join([*way, name])


def _passes_over(error: Exception) -> bool:
    """Whether a file is left out: it is gone, or is another one, before anything of it was written."""
    if isinstance(error, OSError):
        return error.errno in _GONE
    return type(error) is SystemFault


_Found = tuple[bytes, os.stat_result]


def _entries(directory: int) -> Iterator[_Found]:
    """The names in a directory with their status, sorted unless there are very many."""
    with os.scandir(directory) as scan:
        found = _stated(islice(scan, _SORTED))
        if len(found) < _SORTED:
            return iter(sorted(found, key=lambda one: one[0]))
    return _many(directory)


def _many(directory: int) -> Iterator[_Found]:
    """Files as they come, a part at a time; the directories at the end."""
    folders: list[bytes] = []
    with Fd(os.open(".", _PARENT | os.O_CLOEXEC, dir_fd=directory)) as again, os.scandir(again.fileno()) as scan:
        while part := list(islice(scan, _SORTED)):
            for name, status in _stated(iter(part)):
                if stat.S_ISDIR(status.st_mode):
                    folders.append(name)
                    if len(folders) > _MOST_DIRECTORIES:
                        raise TooLarge("a directory has too many directories in it")
                else:
                    yield name, status
    for name in folders:
        try:
            yield name, os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue


def _stated(scan: Iterator[os.DirEntry[str]]) -> list[_Found]:
    found = []
    for entry in scan:
        try:
            found.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
        except OSError:
            continue
    return found
