"""Storage in a directory of a local file system.

An object is a file. It is written by the recipe of `wherry.content.durable`: temporary name, fsync, rename, fsync of
the directory; so a name always stands for a whole file, whenever the process or the machine dies. An upload is a file
in ``uploads/`` that grows, and becomes an object by a rename.

Small reads are done where they are asked for and not in a thread: handing one over costs ten times what reading
seventy bytes from the page cache does. Everything that waits for a disk goes to a thread.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from wherry.content.durable import disk_errors, sync_directory, temporary_name, write_all
from wherry.errors import Conflict, NotFound
from wherry.registry.storage.contract import CHUNK, Entry, Progress, Stat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["FileContent", "FilesystemStorage"]

_OURS: Final = ("blobs", "catalog", "condemned", "keys", "repositories", "tmp", "uploads")
"""The directories in a registry's."""
_FICLONE: Final = 0x40049409  # ioctl_ficlone(2)
_OTHER_FILE_SYSTEM: Final = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)


class FileContent:
    """A part of a file; see `wherry.registry.storage.contract.Content`."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file: BinaryIO | None = file
        self.start = start
        self.size = size
        self._open = file

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read it in a thread, piece by piece."""
        at, end = self.start, self.start + self.size
        while at < end:
            data = await asyncio.to_thread(os.pread, self._open.fileno(), min(CHUNK, end - at), at)
            if not data:
                return
            at += len(data)
            yield data

    async def close(self) -> None:
        """Close the file."""
        self._open.close()


class FilesystemStorage:
    """A directory; see `wherry.registry.storage.contract.Storage`.

    :param root: the directory; made when missing.
    :param engine: the content store of an engine on the same machine (``<data-root>/content``), whose blobs
        can be adopted.
    """

    def __init__(self, root: Path, engine: Path | None = None) -> None:
        self.root: Final = root
        self._engine = engine
        self._tmp = root / "tmp"
        self._uploads = root / "uploads"
        with disk_errors("make the registry's directory"):
            for directory in (root, self._tmp, self._uploads):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(root)

    def tighten(self, secret: str) -> list[str]:
        """Remove the permissions that earlier versions gave to other users.

        The directory itself stays as it is, since it may be anybody's.

        :param secret: a key; what others could read is a secret no more, and removed.
        :returns: what was done, in sentences.
        """
        done = []
        with disk_errors("keep the registry's files from others"):
            path = Path(self._path(secret))
            if path.exists() and path.stat().st_mode & 0o077:
                path.unlink()
                done.append(f"'{path}' could be read by others, and is made anew: all have to log in again")
            for directory in sorted(self.root.iterdir()):
                mode = stat.S_IMODE(directory.lstat().st_mode)
                if directory.name in _OURS and directory.is_dir() and not directory.is_symlink() and mode & 0o007:
                    directory.chmod(mode & ~0o007)
                    done.append(f"'{directory}' could be read by everybody on this machine, and cannot any more")
        return done

    def sweep(self, older_than: float) -> None:
        """Remove unfinished files of dead processes.

        :param older_than: seconds; what is younger may be somebody's who writes it now, here or in another process.
        """
        limit = time.time() - older_than
        with disk_errors("empty the temporary directory"):
            for path in self._tmp.iterdir():
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < limit:
                        path.unlink()

    # -- objects ----------------------------------------------------------------------------------------------------

    async def read(self, key: str) -> bytes:
        """See the contract."""
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"no such object: {key}") from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NotFound(f"no such object: {key}")
            with disk_errors("read an object"):
                return _read_whole(fd)
        finally:
            os.close(fd)

    async def stat(self, key: str) -> Stat:
        """See the contract."""
        try:
            found = os.stat(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"no such object: {key}") from None
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(f"no such object: {key}")
        return Stat(found.st_size, found.st_mtime)

    async def open(self, key: str, start: int = 0, length: int | None = None) -> FileContent:
        """See the contract."""
        try:
            file = open(self._path(key), "rb", buffering=0)  # noqa: ASYNC230, SIM115 - no waiting; the caller closes it
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"no such object: {key}") from None
        size = os.fstat(file.fileno()).st_size
        return FileContent(file, start, size - start if length is None else length)

    async def write(self, key: str, data: bytes) -> None:
        """See the contract."""
        await asyncio.to_thread(self._write, key, data)

    async def touch(self, key: str) -> None:
        """See the contract."""
        await self.stat(key)
        try:
            os.utime(self._path(key))
        except FileNotFoundError:
            raise NotFound(f"no such object: {key}") from None

    async def delete(self, key: str) -> None:
        """See the contract."""
        await asyncio.to_thread(self._delete, key)

    async def entries(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        """See the contract."""
        walk = self._walk(self._path(prefix.rstrip("/")), prefix, after)
        while page := await asyncio.to_thread(_page, walk):
            for entry in page:
                yield entry

    async def adopt(self, key: str) -> bool:
        """Link, or clone, a blob of the engine's; nothing is copied."""
        if self._engine is None or not key.startswith("blobs/"):
            return False
        return await asyncio.to_thread(self._adopt, self._engine / key, self._path(key))

    # -- uploads ----------------------------------------------------------------------------------------------------

    async def begin(self, upload: str) -> None:
        """See the contract."""
        with disk_errors("begin an upload"):
            os.close(os.open(self._uploads / upload, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    async def uploaded(self, upload: str) -> Progress:
        """See the contract."""
        try:
            return Progress(os.stat(self._uploads / upload).st_size)
        except FileNotFoundError:
            raise NotFound(f"no such upload: {upload}") from None

    async def append(
        self, upload: str, at: Progress, pieces: AsyncIterator[bytes], tap: Callable[[bytes], object]
    ) -> Progress:
        """See the contract."""
        fd = self._lock(upload, at, os.O_WRONLY)
        waiting: list[bytes] = []
        offset, weight = at.size, 0
        try:
            try:
                async for piece in pieces:
                    waiting.append(piece)
                    weight += len(piece)
                    if weight >= CHUNK:
                        full, waiting, weight = waiting, [], 0  # being cancelled does not write it twice
                        offset = await _to_its_end(_put, fd, offset, full, tap)
            finally:
                if waiting:
                    offset = _put(fd, offset, waiting, tap)
        finally:
            os.close(fd)
        return Progress(offset)

    async def complete(self, upload: str, at: Progress) -> Progress:
        """See the contract; bytes that are there never change, so there is nothing to do."""
        if await self.uploaded(upload) != at:
            raise Conflict(f"the upload has no longer {at.size} bytes")
        return at

    async def contents(self, upload: str, at: Progress) -> AsyncIterator[bytes]:
        """See the contract."""
        try:
            file = open(self._uploads / upload, "rb", buffering=0)  # noqa: ASYNC230, SIM115 - no waiting; closed below
        except FileNotFoundError:
            raise NotFound(f"no such upload: {upload}") from None
        content = FileContent(file, 0, at.size)
        try:
            async for piece in content.chunks():
                yield piece
        finally:
            await content.close()

    async def finish(self, upload: str, key: str, at: Progress) -> None:
        """See the contract."""
        await asyncio.to_thread(self._finish, upload, key, at)

    async def abort(self, upload: str) -> None:
        """See the contract."""
        with disk_errors("remove an upload"):
            (self._uploads / upload).unlink(missing_ok=True)

    async def uploads(self) -> AsyncIterator[tuple[str, float]]:
        """See the contract."""
        for entry in sorted(os.scandir(self._uploads), key=lambda entry: entry.name):
            with suppress(FileNotFoundError):
                yield entry.name, entry.stat().st_mtime

    async def close(self) -> None:
        """Nothing is kept open."""

    # -- in a thread ------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        # keys come from checked names, digests and tags only; this is the second lock on the same door
        if ".." in key.split("/") or key.startswith("/") or "\0" in key:
            raise NotFound(f"no such object: {key!r}")
        return f"{self.root}/{key}"

    def _write(self, key: str, data: bytes) -> None:
        staged = temporary_name(self._tmp, "object")
        with disk_errors("write an object"):
            fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, data)
                os.fsync(fd)
                self._publish(staged, Path(self._path(key)))
            finally:
                os.close(fd)
                staged.unlink(missing_ok=True)

    def _publish(self, staged: Path, final: Path) -> None:
        """Rename, the point of no return; then make every name on the way durable."""
        while True:
            made = _make_directories(final.parent)
            try:
                staged.rename(final)
                break
            except FileNotFoundError:
                if not staged.exists():
                    raise  # else somebody removed the directory that had just become empty: once more
        for directory in (final.parent, *made):
            sync_directory(directory)

    def _delete(self, key: str) -> None:
        path = Path(self._path(key))
        with disk_errors("remove an object"):
            try:
                path.unlink()
                sync_directory(path.parent)
            except (FileNotFoundError, NotADirectoryError):
                return
            for parent in path.parents:
                if parent.parent in (self.root, self.root / "blobs"):
                    return
                try:
                    parent.rmdir()
                except OSError:
                    return  # something else is in it

    def _walk(self, directory: str, prefix: str, after: str) -> Iterator[Entry]:
        try:
            found = [item for item in os.scandir(directory) if _is_behind(prefix + item.name, after)]
        except (FileNotFoundError, NotADirectoryError):
            return
        # "a-b" is before "a/", as it is among whole keys
        for item in sorted(found, key=lambda item: item.name + "/" * item.is_dir(follow_symlinks=False)):
            key = prefix + item.name
            if item.is_dir(follow_symlinks=False):
                yield from self._walk(item.path, key + "/", after)
                continue
            if key <= after:
                continue
            with suppress(FileNotFoundError):
                found_stat = item.stat(follow_symlinks=False)
                yield Entry(key, found_stat.st_size, found_stat.st_mtime)

    def _lock(self, upload: str, at: Progress, how: int) -> int:
        """Open an upload for appending or finishing, alone. Closing it lets go of the lock, as dying does.

        Who opened it a moment before it became an object, or was aborted, and got the lock a moment after, has a file
        that is an upload no more: so its name is looked up again under the lock.
        """
        path = self._uploads / upload
        fd = -1
        try:
            fd = os.open(path, how | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _require_same(fd, path, at)
        except BaseException as error:
            if fd >= 0:
                os.close(fd)
            if isinstance(error, FileNotFoundError):
                raise NotFound(f"no such upload: {upload}") from None
            if isinstance(error, BlockingIOError):
                raise Conflict("somebody else is appending to this upload") from None
            raise
        return fd

    def _finish(self, upload: str, key: str, at: Progress) -> None:
        """Nobody appends from here on: not while the lock is held, and then the name is gone."""
        staged, final = self._uploads / upload, Path(self._path(key))
        fd = self._lock(upload, at, os.O_RDONLY)
        with disk_errors("store an upload"):
            try:
                os.fsync(fd)
                os.utime(fd)
                self._publish(staged, final)
            finally:
                os.close(fd)

    def _adopt(self, source: Path, final: str) -> bool:
        staged = temporary_name(self._tmp, "adopted")
        try:
            if not _share(source, staged):
                return False
            with disk_errors("adopt a blob"):
                self._publish(staged, Path(final))
        finally:
            staged.unlink(missing_ok=True)
        return True


def _require_same(fd: int, path: Path, at: Progress) -> None:
    """See that a file that is open and locked has its name still, and the size that it is said to have.

    :raises FileNotFoundError: it has another name, or none.
    :raises Conflict: it has another size.
    """
    found = os.fstat(fd)
    if not os.path.samestat(found, os.stat(path)):
        raise FileNotFoundError(path)
    if found.st_size != at.size:
        raise Conflict(f"the upload has {found.st_size} bytes, not {at.size}")


def _share(source: Path, staged: Path) -> bool:
    """A second name for a file, or a clone that shares its blocks; False when neither can be had."""
    try:
        os.link(source, staged)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _OTHER_FILE_SYSTEM:
            raise
    else:
        return True
    with source.open("rb") as old, staged.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            return False
        os.fsync(new.fileno())
    return True


async def _to_its_end(work: Callable[..., int], *arguments: object) -> int:
    """Run `work` in a thread, and stay until it has ended even when cancelled: it uses a descriptor of ours."""
    running = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():  # whoever is impatient cancels again
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # it is looked at, so that asyncio does not complain
        raise


def _read_whole(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    data = os.read(fd, size + 1)
    while len(data) < size and (more := os.read(fd, size - len(data) + 1)):
        data += more
    return data


def _put(fd: int, offset: int, pieces: list[bytes], tap: Callable[[bytes], object]) -> int:
    """Write pieces at `offset`, and tell of them. :returns: the offset behind them."""
    with disk_errors("write an upload"):
        if not os.fstat(fd).st_nlink:
            raise NotFound("no such upload: it was cancelled")
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                written = os.pwrite(fd, rest, offset)
                offset += written
                rest = rest[written:]
            tap(piece)
    return offset


def _is_behind(name: str, after: str) -> bool:
    """Whether a file of this name, or something in a directory of it, comes behind a key."""
    return name > after or after.startswith(f"{name}/") or f"{name}/" > after


def _page(walk: Iterator[Entry], size: int = 1000) -> list[Entry]:
    page = []
    for entry in walk:
        page.append(entry)
        if len(page) == size:
            break
    return page


def _make_directories(directory: Path) -> list[Path]:
    """Make a directory and those above it. :returns: those that hold a new name."""
    if directory.is_dir():
        return []
    above = _make_directories(directory.parent)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    return [directory.parent, *above]
