"""The three operations on files of containers: look, take out, put in."""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from wherry.content.thread_stream import pieces_of
from wherry.content.threads import finished
from wherry.engine.archive.pack import pack
from wherry.engine.archive.unpack import unpack
from wherry.engine.archive.view import View, absolute
from wherry.engine.archive.views import Views
from wherry.engine.container.container import Container
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.mount_point import volume_targets
from wherry.engine.container.store import ContainerStore
from wherry.engine.lifecycle.copies import Copy
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import InvalidInput

__all__ = ["Archives", "PathStatus"]

T = TypeVar("T")

_PATIENCE: Final = 30.0  # seconds for a look; a server of files that is slow is no attack
_READ_ONLY_ROOT: Final = "container rootfs is marked read-only"
_READ_ONLY_MOUNT: Final = "mounted volume is marked read-only"


@dataclass(frozen=True, slots=True)
class PathStatus:
    """What is at a path of a container.

    :param mode: of stat(2), with the type.
    :param modified: nanoseconds since the epoch.
    :param link_target: of a link: the path that it leads to in the end, or as far as there is something.
    """

    name: str
    size: int
    mode: int
    modified: int
    link_target: str = ""


class Body(Protocol):
    """The bytes of an archive that a client sends, for another thread."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""

    def abandon(self) -> None:
        """Let nobody read on: a read that waits for the client ends. From the event loop."""


class Archives:
    """Files in and out of containers. A `ref` is an ID, the beginning of one, or a name."""

    def __init__(self, containers: ContainerStore, events: ContainerEvents, views: Views) -> None:
        self._containers = containers
        self._events = events
        self._views = views

    async def look(self, ref: str, path: str) -> PathStatus:
        """What is at a path; a link at its end is not followed.

        :raises NotFound: there is no such container, or nothing at the path.
        """
        async with self._views.open(self._containers.get(ref), ref) as (view, _):
            return await _looked(view, path)

    @asynccontextmanager
    async def taking(self, ref: str, path: str) -> AsyncIterator[tuple[PathStatus, AsyncGenerator[bytes, None]]]:
        """What is at a path, and its archive in pieces, which is made while it is read.

        :raises NotFound: there is no such container, or nothing at the path.
        """
        container = self._containers.get(ref)
        async with self._views.open(container, ref) as (view, copy):
            status = await _looked(view, path)
            self._events.publish(container, "archive-path")
            async with aclosing(_counted(pieces_of(lambda write: pack(view, path, write)), copy)) as pieces:
                yield status, pieces

    async def put(self, ref: str, path: str, body: Body, *, copy_owner: bool, keep_kinds: bool) -> None:
        """Unpack an archive, compressed or not, into a directory.

        :param copy_owner: the files are to belong to the container's user, if it has one.
        :param keep_kinds: a directory is not replaced by something else, nor the other way round.
        :raises NotFound: there is no such container, or nothing at the path.
        :raises InvalidInput: it is no directory, or read-only, or the archive is wrong.
        :raises OutOfSpace: the disk is full.
        """
        container = self._containers.get(ref)
        user = (container.config.user or None) if copy_owner else None
        check = partial(_check_writable, container)
        async with self._views.open(container, ref) as (view, copy):
            counted = _CountedBody(body, copy)
            await _in_thread(
                lambda: unpack(view, path, counted, check=check, user=user, keep_kinds=keep_kinds), body.abandon
            )
        self._events.publish(container, "extract-to-dir")


async def _looked(view: View, path: str) -> PathStatus:
    return await call_bounded(f"look at {path} in {view.ref}", lambda: _status(view, path), _PATIENCE)


def _status(view: View, path: str) -> PathStatus:
    whole = absolute(path)
    with view.open(whole, shown=path) as found:
        status = os.fstat(found.fileno())
    target = view.followed(whole) if stat.S_ISLNK(status.st_mode) else ""
    name = posixpath.basename(whole.rstrip("/")) or "/"
    return PathStatus(name, status.st_size, status.st_mode, status.st_mtime_ns, target)


def _check_writable(container: Container, path: str) -> None:
    """Raise where a directory is on something read-only, in Docker's words.

    :param path: without links.
    """
    alive = container.state.is_alive
    points = [point for point in container.definition.mounts if alive or point.kind != "tmpfs"]
    over = [point for point in points if f"{path}/".startswith(f"{point.target.rstrip('/')}/")]
    if over:
        if not max(over, key=lambda point: len(point.target)).writable:
            raise InvalidInput(_READ_ONLY_MOUNT)
        return
    own = (*volume_targets(container.config), *(("/dev",) if alive else ()))
    if container.host.readonly_rootfs and not any(f"{path}/".startswith(f"{target}/") for target in own):
        raise InvalidInput(_READ_ONLY_ROOT)


async def _counted(pieces: AsyncGenerator[bytes, None], copy: Copy) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            copy.moved += len(piece)
            yield piece


class _CountedBody:
    """A body that says how much of it was read."""

    def __init__(self, body: Body, copy: Copy) -> None:
        self._body = body
        self._copy = copy

    def read(self, size: int, /) -> bytes:
        piece = self._body.read(size)
        self._copy.moved += len(piece)
        return piece


async def _in_thread(work: Callable[[], T], abandon: Callable[[], None]) -> T:
    """Run something in a thread of its own, and wait for its end in any case; it lasts as long as its client wants.

    :param abandon: ends it early, when this is cancelled.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="unpack")
    task = asyncio.get_running_loop().run_in_executor(pool, work)
    pool.shutdown(wait=False)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        abandon()
        await finished(task)
        raise
