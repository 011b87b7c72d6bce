"""A container's hostname, hosts and resolv.conf: where they lie, and how they are written.

A container may write to them, as root even without end. So they lie in its directory under the data root, beside its
writable layer, and use the disk, not the exec-root, whose memory the whole engine depends on. They are touched in a
thread (`wherry.engine.threads.bounded_call`): a container can have a lease on them (fcntl(2)), and then open(2) waits
until the kernel breaks it after 45 seconds.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from wherry.engine.container.container import Container
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import WherryError
from wherry.linux.fd import Fd
from wherry.linux.files import unlock
from wherry.network import etc_files

__all__ = ["NAMES", "make", "path_of", "rewrite", "rewrite_all", "write_new"]

_log: Final = logging.getLogger(__name__)

NAMES: Final = ("hostname", "hosts", "resolv.conf")
_MOST: Final = 1 << 20  # bytes that are read of what somebody inside may have written
_LEASE: Final = 2.0  # seconds for which a lease's holder may take its time
_SOON: Final = 0.5  # seconds
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

Texts = Mapping[str, str]


def path_of(container: Container, name: str) -> Path:
    """The path of one of them on the host."""
    return container.directory / name


async def make(container: Container, texts: Texts) -> None:
    """Make them for a start; new ones each time, whatever became of the last.

    Those of a first start are made at once: nothing has had them yet that could hold anybody up.

    :param texts: what stands in them, by name.
    :raises OSError: the disk is full, for one.
    """
    try:
        for name, text in texts.items():
            _create(container.directory / name, text)
    except FileExistsError:
        await call_bounded(f"make /etc/hosts of {container.name}", lambda: write_new(container.directory, texts))
    container.hosts_written = texts["hosts"]


def write_new(directory: Path, texts: Texts) -> None:
    """Make them in a container's directory, in place of earlier ones: to be called in a thread.

    :raises OSError: the disk is full, for one.
    """
    for name, text in texts.items():
        _discard(directory / name)
        _create(directory / name, text)


def _create(path: Path, text: str) -> None:
    """Make one of them.

    :raises FileExistsError: there is one.
    :raises OSError: the disk is full, for one; the file is incomplete.
    """
    with Fd(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o644)) as file:
        os.fchmod(file.fileno(), 0o644)  # theirs to read whatever their user is, whatever our umask
        _put(file, text.encode(errors="surrogateescape"))


def _discard(path: Path) -> None:
    """Remove the last one; with CAP_LINUX_IMMUTABLE a container could have made it immutable."""
    with suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except PermissionError:
            with Fd(os.open(path, os.O_RDONLY | _OPEN)) as file:
                if not unlock(file):
                    raise
            os.unlink(path)


async def rewrite(container: Container, texts: Callable[[], Texts]) -> None:
    """Rewrite those of a running container in place, as they are bind-mounted.

    What somebody inside has added to hosts is kept, and a resolv.conf that was changed stays as it is. Where that
    cannot be done, the disk is full for one, they stay as they are, and the log says why.

    :param texts: asked when it is this change's turn, so that the last one to be asked is the last to be written.
    """
    async with container.etc:
        new, before = texts(), container.hosts_written
        try:
            await call_bounded(
                f"write /etc/hosts of {container.name}", lambda: _rewrite_hosts(container.directory, new, before)
            )
            container.hosts_written = new["hosts"]
            await call_bounded(
                f"write /etc/resolv.conf of {container.name}", lambda: _rewrite_servers(container.directory, new)
            )
        except (OSError, WherryError) as error:
            _log.warning("cannot write a container's /etc/hosts container=%s error=%s", container.id, error)


async def rewrite_all(
    containers: Iterable[Container], texts: Callable[[Container], Texts], under_way: set[asyncio.Task[None]]
) -> None:
    """The same for several, side by side; who does not let it happen at once is not waited for.

    :param under_way: the caller's, in which tasks are until they are done.
    """
    tasks = [asyncio.create_task(rewrite(one, partial(texts, one))) for one in containers]
    if tasks:
        under_way.update(tasks)
        for task in tasks:
            task.add_done_callback(under_way.discard)
        await asyncio.wait(tasks, timeout=_SOON)


def _rewrite_hosts(directory: Path, texts: Texts, before: str) -> None:
    """:param before: what was written to hosts; empty when that is not known, and nothing can be said to be added."""
    with _opened(directory / "hosts") as file:
        added = etc_files.added_lines(before, _read(file)) if before else ""
        _write(file, texts["hosts"] + added)


def _rewrite_servers(directory: Path, texts: Texts) -> None:
    with _opened(directory / "resolv.conf") as file:
        if etc_files.is_as_written(_read(file)):
            _write(file, texts["resolv.conf"])


def _opened(path: Path) -> Fd:
    """Open one of them; the kernel asks the holder of a lease to give it up, and open(2) waits."""
    deadline = time.monotonic() + _LEASE
    while True:
        try:
            return Fd(os.open(path, os.O_RDWR | _OPEN))
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _read(file: Fd) -> str:
    """All of it: what is not read would be lost when it is written anew.

    :raises OSError: it is longer than anybody needs.
    """
    data = os.pread(file.fileno(), _MOST + 1, 0)
    if len(data) > _MOST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data.decode(errors="surrogateescape")


def _write(file: Fd, text: str) -> None:
    """Replace a file's content: all of it, or on a full disk nothing of it."""
    data = text.encode(errors="surrogateescape")
    size = os.fstat(file.fileno()).st_size
    try:
        os.posix_fallocate(file.fileno(), 0, max(len(data), 1))
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise
    _put(file, data)
    os.ftruncate(file.fileno(), len(data))


def _put(file: Fd, data: bytes) -> None:
    """Write all of it at the file's beginning."""
    written = 0
    while written < len(data):
        written += os.pwrite(file.fileno(), data[written:], written)
