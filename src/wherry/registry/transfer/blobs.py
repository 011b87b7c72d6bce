"""Blobs on their way into their files, each fetched once for all who want it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Final

from wherry.content.partial import Partial, Partials
from wherry.errors import OutOfSpace
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.registry.client.repository import Repository
from wherry.registry.client.settings import RegistrySettings
from wherry.registry.transfer.download import download

__all__ = ["BlobJob", "BlobJobs"]

Said = Callable[[str], None]


class BlobJobs:
    """The blobs that are being fetched, by digest; so many at the same time as settings allow."""

    def __init__(self, partials: Partials, settings: RegistrySettings) -> None:
        self.partials: Final = partials
        self.settings: Final = settings
        self.slots: Final = asyncio.Semaphore(settings.max_downloads)
        self._jobs: dict[Digest, BlobJob] = {}

    def join(self, blob: Descriptor, sources: Sequence[Repository], said: Said) -> BlobJob:
        """Take part in fetching a blob; `BlobJob.leave` ends that."""
        job = self._jobs.get(blob.digest)
        if job is None or job.is_lost:
            job = self._jobs[blob.digest] = BlobJob(self, blob, sources)
        job.listeners.append(said)
        return job

    def ended(self, job: BlobJob) -> None:
        """A job is over, or what it fetched was found to be wrong: the next one begins anew."""
        if self._jobs.get(job.partial.digest) is job:
            del self._jobs[job.partial.digest]

    async def close(self) -> None:
        """Give up all; what they fetched stays for the next time."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class BlobJob:
    """One blob on its way. Made, joined and left on the event loop.

    :ivar partial: its file, to be read while it grows.
    :ivar was_begun: whether some of it was there before, from a time that nobody can vouch for.
    :ivar is_waiting: whether others are being fetched first.
    """

    def __init__(self, jobs: BlobJobs, blob: Descriptor, sources: Sequence[Repository]) -> None:
        self.partial: Final[Partial] = jobs.partials.open(blob.digest, blob.size)
        self.was_begun: Final = self.partial.received > 0
        self.is_waiting = False
        self.listeners: Final[list[Said]] = []
        self._jobs = jobs
        self._sources = sources
        self.task: Final = asyncio.create_task(self._run())
        self.task.add_done_callback(_look)

    @property
    def is_lost(self) -> bool:
        """Whether nothing is to be had of it any more."""
        task = self.task
        return bool(task.cancelling()) or (task.done() and (task.cancelled() or task.exception() is not None))

    def leave(self, said: Said) -> None:
        """Want it no longer; with the last one the job is given up."""
        self.listeners.remove(said)
        if not self.listeners:
            self.task.cancel()
            self._jobs.ended(self)
            self.partial.abandon(CancelledError())
            self.task.add_done_callback(lambda _: self.partial.close())

    def spoil(self) -> None:
        """What it fetched is not what it should be: nobody may use it any more."""
        self._jobs.ended(self)
        self._jobs.partials.remove(self.partial.digest)

    async def _run(self) -> None:
        try:
            if not self.partial.is_complete:
                self.is_waiting = self._jobs.slots.locked()
                async with self._jobs.slots:
                    self.is_waiting = False
                    await download(self.partial, self._sources, self._jobs.settings, self._say)
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

    def _say(self, text: str) -> None:
        for said in self.listeners:
            said(text)


def _look(task: asyncio.Task[None]) -> None:
    """Those who read the file get the error; it is no news to the event loop."""
    with suppress(asyncio.CancelledError):
        task.exception()
