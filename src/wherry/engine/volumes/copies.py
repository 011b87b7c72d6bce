"""What Docker's volumes lack: snapshots, clones, archives, and who uses what."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from wherry.content.thread_stream import pieces_of
from wherry.content.threads import Check, Worker, in_thread
from wherry.docker import times
from wherry.docker.volume_copies import SnapshotRequest, SnapshotView, VolumeDisk, VolumeUser
from wherry.engine.container.names import new_id
from wherry.errors import Conflict, InvalidInput, NotFound, Unavailable, Unsupported
from wherry.layers.limits import Limits
from wherry.layers.source import Reader
from wherry.volumes import archive
from wherry.volumes.drafts import begin_draft, fill_draft, split_name, sync_draft
from wherry.volumes.model import LOCAL, Volume
from wherry.volumes.snapshots import Snapshot, Snapshots

if TYPE_CHECKING:
    from wherry.docker.volumes import VolumeView
    from wherry.engine.events import EventBus
    from wherry.engine.volumes.holding import Containers, VolumeHolder
    from wherry.engine.volumes.volumes import Volumes

__all__ = ["Content", "VolumeCopies"]

_COPIES: Final = 4  # at the same time

T = TypeVar("T")
Fill = Callable[[Path, Check], object]


@dataclass(frozen=True, slots=True)
class Content:
    """What a volume's, or a snapshot's, archive is made of.

    :param snapshot: its name, or empty.
    :param created: RFC 3339: when the files were as they are.
    :param archive: gives the archive, while it is made; to be closed. Meanwhile they cannot be removed.
    """

    volume: str
    snapshot: str
    created: str
    archive: Callable[[], AsyncGenerator[bytes, None]]


class VolumeCopies:
    """Copies volumes. Where they are is the built-in driver's affair, so only its own can be copied.

    :param snapshots: those that there are.
    :param holder: keeps a volume as it is meanwhile.
    """

    def __init__(
        self, volumes: Volumes, snapshots: Snapshots, holder: VolumeHolder, containers: Containers, events: EventBus
    ) -> None:
        self._volumes = volumes
        self._local = volumes.drivers.local
        self._snapshots = snapshots
        self._holder = holder
        self._containers = containers
        self._events = events
        self._worker = Worker(_COPIES, "volume-copy")
        self._read = Counter[str]()  # volumes and, by full names, snapshots that are being copied
        self._removed = set[str]()  # of those that are being removed
        self._over = Event()

    async def recover(self) -> None:
        """Finish what an earlier process has begun; to be called when all containers are known."""
        await self._holder.recover()

    def close(self) -> None:
        """Give up what is being done."""
        self._over.set()
        self._worker.close()

    # --- snapshots --------------------------------------------------------------------------------

    async def snapshot(self, name: str, request: SnapshotRequest) -> SnapshotView:
        """Make a snapshot of a volume.

        :raises Conflict: there is one of this name.
        """
        volume = self._ours(name)
        moment = request.name or time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self._snapshots.check_new(name, moment)
        async with self._holder.still(name, freeze=request.freeze) as frozen:
            source, created = self._local.data(name), times.now()
            draft, copied = await self._work(partial(self._snapshots.draft, source), self._snapshots.give_up)
        made = replace(
            copied, volume=name, name=moment, created=created, labels=request.labels or {}, options=volume.options,
            frozen=[container.id for container in frozen],
        )  # fmt: skip
        async with self._volumes.locked(name):  # a removal of the last other one takes its directory along
            await self._work(lambda _check: self._snapshots.publish(draft, made))
        self._publish("snapshot", name, snapshot=moment)
        return self._view(made)

    async def snapshots(self, volume: str = "") -> list[SnapshotView]:
        """All snapshots, or those of one volume."""
        return [self._view(one) for one in await asyncio.to_thread(self._snapshots.all, volume)]

    async def remove_snapshot(self, name: str) -> None:
        """Remove one.

        :raises Conflict: it is being copied: half of it would look like all of it.
        """
        volume, moment = _snapshot_name(name)
        async with self._volumes.locked(volume):
            self._check_not_read(name)
            self._removed.add(name)
            try:
                await in_thread(self._snapshots.remove, volume, moment)
            finally:
                self._removed.discard(name)
        self._publish("snapshot-remove", volume, snapshot=moment)

    async def restore(self, name: str) -> None:
        """Make a volume what it was at a snapshot; what it is now is lost.

        :raises Conflict: a container that runs has it.
        """
        volume, moment = _snapshot_name(name)
        snapshot = await asyncio.to_thread(self._snapshots.get, volume, moment)
        former = self._ours(volume)
        if former.options:
            raise Unsupported(f"volume {volume} has a size, and cannot be restored", hint="clone the snapshot instead")
        async with self._holder.unused(volume):
            pass  # rather told now than after minutes
        with self._being_read(snapshot):
            draft = await self._draft(partial(self._fill, self._snapshots.data(snapshot)), former)
        try:
            async with self._holder.unused(volume):
                self._ours(volume)
                self._check_not_read(volume)
                await in_thread(self._local.exchange, draft, volume)  # not given up before it is over
        finally:
            self._local.give_up(draft)
        self._publish("restore", volume, snapshot=moment)

    # --- copies -----------------------------------------------------------------------------------

    async def clone(self, name: str, request: SnapshotRequest) -> VolumeView:
        """Make a new volume of another one, or of a snapshot, which may be of a volume that is gone.

        :param request: the new one's name and labels.
        :raises Conflict: there is a volume of this name.
        """
        source, moment = split_name(name)
        if moment:
            snapshot = await asyncio.to_thread(self._snapshots.get, source, moment)
            new = self._new(request, snapshot.options)
            with self._being_read(snapshot):
                draft = await self._draft(partial(self._fill, self._snapshots.data(snapshot)), new)
        else:
            new = self._new(request, self._ours(source).options)
            async with self._holder.still(source, freeze=request.freeze):
                draft = await self._draft(partial(self._fill, self._local.data(source)), new)
        await self._adopt(draft, new)
        self._publish("clone", new.name, source=name)
        return await self._volumes.inspect(new.name)

    def export(self, name: str) -> AsyncGenerator[bytes, None]:
        """A volume's files, or a snapshot's, as an archive. Of a volume that is written to, as they are in passing."""
        content = self.content(name)
        self._publish("export", content.volume)
        return content.archive()

    def content(self, name: str) -> Content:
        """Look for a volume's files, or a snapshot's.

        :raises NotFound: there is no such.
        """
        source, moment = split_name(name)
        if moment:
            snapshot = self._snapshots.get(source, moment)
            keep = partial(self._being_read, snapshot)
            packed = partial(self._packed, self._snapshots.data(snapshot), keep)
            return Content(source, moment, snapshot.created, packed)
        self._ours(source)
        packed = partial(self._packed, self._local.data(source), partial(self._in_use, source))
        return Content(source, "", times.now(), packed)

    @staticmethod
    async def _packed(data: str, keep: Callable[[], AbstractContextManager[None]]) -> AsyncGenerator[bytes, None]:
        """What is removed meanwhile would be missing in an archive that looks whole: so it stays."""
        with keep():
            async with aclosing(pieces_of(lambda write: archive.pack(data, write))) as pieces:
                async for piece in pieces:
                    yield piece

    @contextmanager
    def _being_read(self, snapshot: Snapshot) -> Iterator[None]:
        """Keep a snapshot from being removed.

        :raises NotFound: it is.
        """
        if snapshot.full_name in self._removed:
            raise NotFound(f"no such snapshot: {snapshot.full_name}")
        with self._counted(snapshot.full_name):
            yield

    @contextmanager
    def _in_use(self, volume: str) -> Iterator[None]:
        """Keep a volume from being removed or restored."""
        with self._volumes.users.claimed(f"export-{new_id()[:12]}") as claims, self._counted(volume):
            claims.append(volume)
            self._ours(volume)
            yield

    def _check_not_read(self, name: str) -> None:
        if self._read[name]:
            raise Conflict(f"{name} is being copied", hint="wait for that, or cancel it")

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        self._read[name] += 1
        try:
            yield
        finally:
            self._read[name] -= 1
            self._read += Counter()  # without those that are at nought

    def check_new(self, request: SnapshotRequest) -> None:
        """See that there can be a new volume, rather before something long than after it.

        :raises Conflict: there is one of this name.
        """
        self._new(request, {})

    async def import_(
        self, stream: Reader, request: SnapshotRequest, limits: Limits = archive.IMPORT_LIMITS
    ) -> VolumeView:
        """Make a new volume of an archive.

        :param request: its name and labels.
        :param limits: what the archive may become.
        :raises Conflict: there is a volume of this name.
        """
        new = self._new(request, {})
        worker = Worker(1, "volume-import")  # of its own: it lasts as long as the client likes
        try:
            draft = await self._draft(partial(archive.unpack, stream, limits=limits), new, worker)
        finally:
            worker.close()
        await self._adopt(draft, new)
        self._publish("import", new.name)
        return await self._volumes.inspect(new.name)

    # --- who uses what ----------------------------------------------------------------------------

    async def disk(self) -> list[VolumeDisk]:
        """All volumes, and what they take up for whom; also those that only snapshots are left of."""
        snapshots: dict[str, list[SnapshotView]] = {}
        for one in await self.snapshots():
            snapshots.setdefault(one.volume, []).append(one)
        usage = {one.name: one.usage_data for one in await self._volumes.disk_usage()}
        sizes = {name: data.size for name, data in usage.items() if data is not UNSET}
        users = _users(self._containers)
        found = [
            VolumeDisk(
                name=one.name, driver=one.driver, size=sizes.get(one.name, -1),
                users=users.get(one.name, []), snapshots=snapshots.pop(one.name, []),
            )
            for one in self._volumes.store
        ]  # fmt: skip
        gone = [VolumeDisk(name=name, driver="", size=0, users=[], snapshots=rest) for name, rest in snapshots.items()]
        return sorted(found + gone, key=lambda one: one.name)

    # --- how --------------------------------------------------------------------------------------

    def _ours(self, name: str) -> Volume:
        """A volume whose files are in a directory of ours."""
        volume = self._volumes.get(name)
        if volume.driver != LOCAL or volume.options.keys() - {"size"}:
            what = f"its driver is {volume.driver}" if volume.driver != LOCAL else "its files are elsewhere"
            raise Unsupported(f"volume {name} cannot be copied", cause=what)
        return volume

    def _new(self, request: SnapshotRequest, options: dict[str, str]) -> Volume:
        """A volume to be.

        :raises Conflict: there is one of this name.
        """
        if not request.name:
            raise InvalidInput("the new volume needs a name")
        volume = Volume(name=request.name, created=times.now(), labels=request.labels or {}, options=options)
        self._local.check(volume)
        self._check_free(volume.name)
        return volume

    def _check_free(self, name: str) -> None:
        if self._volumes.store.find(name) is not None:
            raise Conflict(f"there is a volume '{name}' already", hint="remove it first, or take another name")

    async def _work(
        self, work: Callable[[Check], T], undo: Callable[[T], object] | None = None, worker: Worker | None = None
    ) -> T:
        """Do something long; it is given up at the daemon's end."""

        def act(check: Check) -> T:
            def both() -> None:
                check()
                if self._over.is_set():
                    raise Unavailable("the daemon is about to end")

            return work(both)

        return await (worker or self._worker).run(act, undo)

    @staticmethod
    def _fill(source: str, draft: Path, check: Check) -> None:
        fill_draft(draft, source, check)

    async def _draft(self, fill: Fill, volume: Volume, worker: Worker | None = None) -> Path:
        """Make the directory of a volume to be, and fill it."""
        draft = self._local.draft()

        def work(check: Check) -> Path:
            begin_draft(draft, partial(self._local.limit, volume))
            fill(draft, check)
            return draft

        try:
            return await self._work(work, worker=worker)
        except BaseException:
            self._give_up(draft, volume)
            raise

    def _give_up(self, draft: Path, volume: Volume) -> None:
        self._local.give_up(draft)
        if self._volumes.store.find(volume.name) is None:
            self._local.forget_limit(volume)

    async def _adopt(self, draft: Path, volume: Volume) -> None:
        """A draft becomes a volume.

        The row comes first: what a crash leaves is then a row without a volume, which is none.
        """
        try:
            await self._work(lambda _check: sync_draft(draft))
            async with self._volumes.locked(volume.name):
                self._check_free(volume.name)
                self._volumes.store.put(volume)
                try:
                    self._local.adopt(draft, volume.name)
                except BaseException:
                    self._volumes.store.forget(volume.name)
                    raise
        except BaseException:
            self._give_up(draft, volume)
            raise
        self._publish("create", volume.name, driver=volume.driver)

    def _view(self, snapshot: Snapshot) -> SnapshotView:
        found = (self._containers.find(identifier) for identifier in snapshot.frozen)
        return SnapshotView(
            name=snapshot.full_name, volume=snapshot.volume, snapshot=snapshot.name, created_at=snapshot.created,
            labels=snapshot.labels, size=snapshot.size, files=snapshot.entries,
            frozen=[one.name if one else identifier for one, identifier in zip(found, snapshot.frozen, strict=True)],
        )  # fmt: skip

    def _publish(self, action: str, name: str, **attributes: str) -> None:
        self._events.publish("volume", action, name, attributes)


def _snapshot_name(text: str) -> tuple[str, str]:
    volume, moment = split_name(text)
    if not moment:
        raise InvalidInput(f"'{text}' is a volume, not a snapshot", hint="as in VOLUME@SNAPSHOT")
    return volume, moment


def _users(containers: Containers) -> dict[str, list[VolumeUser]]:
    found: dict[str, list[VolumeUser]] = {}
    for container in containers:
        targets, writes = dict[str, list[str]](), set[str]()
        for point in container.definition.mounts:
            if point.kind == "volume":
                targets.setdefault(point.name, []).append(point.target)
                writes |= {point.name} if point.writable else set()
        for name, destinations in targets.items():
            found.setdefault(name, []).append(
                VolumeUser(
                    id=container.id, name=container.name, state=str(container.state.status), writable=name in writes,
                    destinations=destinations,
                )
            )  # fmt: skip
    return found
