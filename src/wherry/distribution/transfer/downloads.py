"""Blob jobs: running downloads, each shared by all that need the blob."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Final

from wherry.content.partial import Partial, Partials
from wherry.distribution.client.repository import Repository
from wherry.distribution.client.settings import RegistrySettings
from wherry.distribution.transfer.download import download
from wherry.errors import OutOfSpace
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["BlobJob", "BlobJobs"]

OnStatus = Callable[[str], None]


class BlobJobs:
    """The running downloads, by digest; bounded by `RegistrySettings.max_downloads`."""

    def __init__(self, partials: Partials, settings: RegistrySettings) -> None:
        self.partials: Final = partials
        self.settings: Final = settings
        self.slots: Final = asyncio.Semaphore(settings.max_downloads)
        self._jobs: dict[Digest, BlobJob] = {}

    def join(self, blob: Descriptor, sources: Sequence[Repository], on_status: OnStatus) -> BlobJob:
        """Join the download of a blob, starting it when there is none; `BlobJob.leave` leaves it."""
        job = self._jobs.get(blob.digest)
        if job is None or job.is_lost:
            job = self._jobs[blob.digest] = BlobJob(self, blob, sources)
        job.listeners.append(on_status)
        return job

    def ended(self, job: BlobJob) -> None:
        """Remove a finished or discarded job; the next `join` starts a new one."""
        if self._jobs.get(job.partial.digest) is job:
            del self._jobs[job.partial.digest]

    async def close(self) -> None:
        """Cancel all downloads; partial files stay."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class BlobJob:
    """The download of one blob. Made, joined and left on the event loop.

    :ivar partial: its file, to be read while it grows.
    :ivar was_begun: whether some of it was there before, from a time that nobody can vouch for.
    :ivar is_waiting: whether others are being fetched first.
    """

    def __init__(self, jobs: BlobJobs, blob: Descriptor, sources: Sequence[Repository]) -> None:
        self.partial: Final[Partial] = jobs.partials.open(blob.digest, blob.size)
        self.was_begun: Final = self.partial.received > 0
        self.is_waiting = False
        self.listeners: Final[list[OnStatus]] = []
        self._jobs = jobs
        self._sources = sources
        self.task: Final = asyncio.create_task(self._run())
        self.task.add_done_callback(_look)

    @property
    def is_lost(self) -> bool:
        """Whether it was cancelled or has failed."""
        task = self.task
        return bool(task.cancelling()) or (task.done() and (task.cancelled() or task.exception() is not None))

    def leave(self, on_status: OnStatus) -> None:
        """Leave the job; without listeners it is cancelled."""
        self.listeners.remove(on_status)
        if not self.listeners:
            self.task.cancel()
            self._jobs.ended(self)
            self.partial.abandon(CancelledError())
            self.task.add_done_callback(lambda _: self.partial.close())

    def discard(self) -> None:
        """Remove the partial file: its content has the wrong digest."""
        self._jobs.ended(self)
        self._jobs.partials.remove(self.partial.digest)

    async def _run(self) -> None:
        try:
            if not self.partial.is_complete:
                self.is_waiting = self._jobs.slots.locked()
                async with self._jobs.slots:
                    self.is_waiting = False
                    await download(self.partial, self._sources, self._jobs.settings, self._emit_status)
        except OutOfSpace as exc:
            self._jobs.partials.remove(self.partial.digest)
            self.partial.abandon(exc)
            raise
        except asyncio.CancelledError:
            self.partial.abandon(CancelledError())
            raise
        except Exception as exc:
            self.partial.abandon(exc)
            raise

    def _emit_status(self, text: str) -> None:
        for on_status in self.listeners:
            on_status(text)


def _look(task: asyncio.Task[None]) -> None:
    """Retrieve the exception: the readers of the file raise it, the event loop need not log it."""
    with suppress(asyncio.CancelledError):
        task.exception()
