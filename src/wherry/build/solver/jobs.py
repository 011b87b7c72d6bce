"""Work that several builds may wait for: it is done once, and goes on until the last of them has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Protocol

from wherry.build.cache.cache import BuildCache, Held
from wherry.build.cache.threads import Threads
from wherry.build.history.spool import Spool
from wherry.build.model.progress import LogProgress, Progress
from wherry.build.model.session import BuildSession
from wherry.build.solver.leftovers import Leftovers
from wherry.content.durable import temporary_name
from wherry.content.threads import finished
from wherry.errors import Unavailable, WherryError

__all__ = ["Abandoned", "Job", "Jobs", "Member", "Outcome"]

Outcome = dict[int, Held]
"""The outputs, by their numbers, each held once."""


class Abandoned(Exception):
    """Work failed that was begun for another build: with one's own client it may not fail.

    :param error: of work whose client could not be reached, and may have gone; None: the other build has left.
    """

    def __init__(self, error: Unavailable | None = None) -> None:
        super().__init__()
        self.error: Final = error


class Member(Protocol):
    """A vertex of a build that waits for a job."""

    @property
    def session(self) -> BuildSession:
        """Of the build's client."""
        ...

    @property
    def keeps_failed(self) -> bool:
        """Whether it wants what a failed step has left."""
        ...

    def leave(self, leftovers: Leftovers) -> None:
        """Take what a failed step has left, which was held once for it."""

    def show(self, event: Progress) -> None:
        """Take an event; the vertex in it is the job's."""
        ...

    async def room(self) -> None:
        """Wait while there is much that nobody has taken yet."""
        ...


class Job:
    """One piece of work.

    :param leader: for whom it was begun.
    :param spool: for those who join late.
    :ivar is_led: whether its leader waited for it to its end.
    :ivar leftovers: of a step that has failed, where somebody keeps that; held by the job.
    """

    def __init__(self, key: str, leader: Member, work: Callable[[Job], Awaitable[Outcome]], spool: Spool) -> None:
        self.key: Final = key
        self.leader: Final = leader
        self.spool: Final = spool
        self.members: dict[Member, asyncio.Future[None]] = {}
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.is_led = True
        self.leftovers: Leftovers | None = None
        self.left: Final = asyncio.Event()
        self.task: Final = asyncio.get_running_loop().create_task(self._run(work), name="wherry-build-job")

    @property
    def session(self) -> BuildSession:
        """Of a client that waits."""
        return next(iter(self.members), self.leader).session

    @property
    def keeps_failed(self) -> bool:
        """Whether somebody who waits wants what a failed step has left."""
        return any(member.keeps_failed for member in self.members)

    async def _run(self, work: Callable[[Job], Awaitable[Outcome]]) -> None:
        try:
            self.outcome = await work(self)
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception):
                raise

    def show(self, event: Progress) -> None:
        """Show an event to all who wait, and to those who come."""
        self.spool.append(event)
        if self.leader in self.members:
            self.leader.show(event)

    async def output(self, event: LogProgress) -> None:
        """Show output; waits while much of it is not on the disk yet.

        :raises TooLarge: it is more than a build may give.
        """
        self.show(event)
        await self.spool.room()
        if self.leader in self.members:
            await self._room(self.leader)

    async def replay(self, member: Member) -> None:
        """Show one who has joined late all that was and comes."""
        async for event in self.spool.read():
            member.show(event)
            await self._room(member)

    async def _room(self, member: Member) -> None:
        """Wait for one who waits; a build that may say no more fails alone, whoever else needs the same."""
        try:
            await member.room()
        except WherryError as error:
            done = self.members.get(member)
            if done is not None and not done.done():
                done.set_exception(error)


class Jobs:
    """All work that is being done.

    :param directory: for what those who join late have to see.
    """

    def __init__(self, cache: BuildCache, threads: Threads, directory: Path) -> None:
        self._cache = cache
        self._threads = threads
        self._directory = directory
        self._running: dict[str, Job] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._removing: set[asyncio.Task[None]] = set()

    async def do(self, key: str, member: Member, work: Callable[[Job], Awaitable[Outcome]]) -> Outcome:
        """Wait for some work, which is begun unless it is being done. Being cancelled leaves it to the others.

        :param key: by which it is shared.
        :return: what it gave; held for the caller, who releases it.
        :raises Abandoned: it failed, and was begun for another build, which has left, or whose client may have.
        :raises WherryError: it failed.
        """
        job = self._running.get(key)
        replaying = None
        if job is None:
            job = self._begin(key, member, work)
        else:
            replaying = asyncio.get_running_loop().create_task(job.replay(member), name="wherry-build-replay")
        done = job.members[member] = asyncio.get_running_loop().create_future()
        try:
            await done
            if replaying is not None:
                await asyncio.wait([replaying])  # it ends soon, as the job has
        except BaseException:
            was_given = done.done() and not done.cancelled() and done.exception() is None
            if was_given and job.outcome is not None:
                self._later(self._cache.release(job.outcome.values()))
            raise
        finally:
            del job.members[member]
            if not job.members:
                job.left.set()
                if not job.task.done():
                    await self._abandon(job)
            if replaying is not None:
                replaying.cancel()
                await finished(replaying)
        return _result(job, member)

    def _begin(self, key: str, member: Member, work: Callable[[Job], Awaitable[Outcome]]) -> Job:
        spool = Spool(temporary_name(self._directory, "job"), self._threads)
        job = self._running[key] = Job(key, member, work, spool)
        job.task.add_done_callback(lambda _: self._end(job))
        return job

    async def _abandon(self, job: Job) -> None:
        """The last one has left."""
        self._forget(job)
        job.task.cancel()
        await finished(job.task)

    def _forget(self, job: Job) -> None:
        if self._running.get(job.key) is job:
            del self._running[job.key]

    def _end(self, job: Job) -> None:
        """A job is over: each of those who wait gets its outcome, held once for him."""
        self._forget(job)
        job.spool.close()
        job.is_led = job.leader in job.members
        waiting = [done for done in job.members.values() if not done.done()]
        if job.leftovers is not None:
            for member, done in job.members.items():
                if member.keeps_failed and job.is_led and not done.done():
                    member.leave(job.leftovers.hold())
            self._later(job.leftovers.release())
        if job.outcome is not None:
            for held in job.outcome.values():
                for _ in range(len(waiting) - 1):
                    self._cache.hold_again(held)
            if not waiting:
                self._later(self._cache.release(job.outcome.values()))
        for done in waiting:
            done.set_result(None)
        if job.spool.has_file:
            task = asyncio.get_running_loop().create_task(self._remove(job), name="wherry-build-job-end")
            self._removing.add(task)
            task.add_done_callback(self._removing.discard)

    async def _remove(self, job: Job) -> None:
        await job.left.wait()  # some may still read what was
        await job.spool.remove()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="wherry-build-job-end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def drain(self) -> None:
        """Wait until nothing is in use any more of what has ended by now."""
        if self._ending:
            await asyncio.wait(list(self._ending))

    async def close(self) -> None:
        """The same, once no build is left; and nothing is left of what they have shown."""
        await self.drain()
        if self._removing:
            await asyncio.wait(list(self._removing))


def _result(job: Job, member: Member) -> Outcome:
    if job.outcome is not None:
        return dict(job.outcome)
    if not job.is_led:
        raise Abandoned from job.error
    if isinstance(job.error, Unavailable) and member is not job.leader:
        raise Abandoned(job.error)
    if isinstance(job.error, Exception):
        raise job.error
    raise Unavailable("the step was cancelled")
