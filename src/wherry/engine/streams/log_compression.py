"""The option ``compress`` of logs: segments that have a successor are exchanged for compressed ones.

The keeper has no time for that, so the daemon does it, beside its work, and some seconds after the rotation. A segment
is exchanged in one step, and only while it has its name: what the keeper rotates away meanwhile stays away.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.content.threads import finished
from wherry.engine.log_drivers.config import effective_of
from wherry.engine.log_drivers.options import is_true
from wherry.engine.log_drivers.table import driver_of
from wherry.errors import SystemCallError
from wherry.keeper.log_writer import segments_of
from wherry.keeper.records import SEGMENT_HEADER, segment_name, time_of_segment
from wherry.keeper.segment_file import compress
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, renameat2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wherry.engine.container.container import Container

__all__ = ["LogCompression", "compress_segments", "is_wanted"]

_log: Final = logging.getLogger(__name__)
_INTERVAL: Final = 5.0  # seconds
_DRAFT: Final = ".compressed"
_WORTH: Final = 0.9  # of its size, at most: else a segment stays as it is


def is_wanted(container: Container) -> bool:
    """Whether a container's segments are to be compressed."""
    options = effective_of(container.host.log_config)
    is_spool = driver_of(container.host.log_config).is_spool
    return not is_spool and any(is_true(options, name) for name in ("compress", "cache-compress"))


class LogCompression:
    """Looks after the logs of the containers that want it; as long as there are none, nothing is done.

    :param interval: seconds between two looks.
    """

    def __init__(self, interval: float = _INTERVAL) -> None:
        self._interval = interval
        self._containers: dict[str, Container] = {}
        self._seen: dict[str, int] = {}  # up to which segment all is done
        self._task: asyncio.Task[None] | None = None

    def watch(self, container: Container) -> None:
        """A container is about to run, or runs."""
        if not is_wanted(container):
            return
        self._containers[container.id] = container
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="compress logs")

    def resume(self, containers: Iterable[Container]) -> None:
        """A daemon begins: look after those that run."""
        for container in containers:
            if container.state.is_alive:
                self.watch(container)

    async def close(self) -> None:
        """End; what is under way is brought to its end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _work(self) -> None:
        while self._containers:
            await asyncio.sleep(self._interval)
            for container in list(self._containers.values()):
                if not container.state.is_alive:  # this look is the last one
                    del self._containers[container.id]
                await self._look_after(container)

    async def _look_after(self, container: Container) -> None:
        work = asyncio.ensure_future(
            asyncio.to_thread(compress_segments, container.log_directory, self._seen.get(container.id, 0))
        )
        try:
            done = await asyncio.shield(work)
        except asyncio.CancelledError:
            await finished(work)
            raise
        except OSError as error:
            _log.warning("a log is not compressed container=%s error=%s", container.name, error)
            return
        if container.id in self._containers:
            self._seen[container.id] = done
        else:
            self._seen.pop(container.id, None)


def compress_segments(directory: Path, after: int = 0) -> int:
    """Compress all segments of a log that are finished. To be called in a thread, one at a time.

    :param after: those up to this one are done.
    :returns: the last one that is finished.
    :raises OSError: the disk is full, for one: the segment stays as it is.
    """
    finished = segments_of(directory)[:-1]
    for number in finished:
        if number > after:
            _compress(directory, number)
    return max(finished, default=after)


def _compress(directory: Path, number: int) -> None:
    draft, path = directory / _DRAFT, directory / segment_name(number)
    with suppress(FileNotFoundError):
        draft.unlink()  # an earlier daemon's
    try:
        source = Fd(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except FileNotFoundError:
        return
    with source:
        size = os.fstat(source.fileno()).st_size
        begun = time_of_segment(os.pread(source.fileno(), SEGMENT_HEADER.size, 0))
        if begun is None:  # it is compressed already, or no segment of ours
            return
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with Fd(os.open(draft, flags, 0o600)) as target:
                packed = compress(source.fileno(), target.fileno(), size, begun)
                os.fsync(target.fileno())
            if packed <= size * _WORTH:
                _exchange(draft, path)
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()


def _exchange(draft: Path, path: Path) -> None:
    """Exchange, not replace: a name that is gone by now must not come back."""
    with Fd(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
        try:
            renameat2(directory, draft.name, directory, path.name, RENAME.EXCHANGE)
        except SystemCallError as error:
            if error.errno != errno.ENOENT:
                raise OSError(error.errno, os.strerror(error.errno)) from error
