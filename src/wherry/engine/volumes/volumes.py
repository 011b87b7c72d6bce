"""Volumes: the engine's side of the API's volume operations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from msgspec import UNSET

from wherry.docker import times
from wherry.docker.filters import Filters, check_names, has_label
from wherry.docker.volumes import VolumeCreate, VolumeList, VolumesPruned, VolumeUsage, VolumeView
from wherry.engine.container.names import new_id
from wherry.engine.threads.bounded_call import call_bounded
from wherry.engine.volumes.elsewhere import Elsewhere
from wherry.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    StepFailed,
    SystemCallError,
    SystemFault,
    Unavailable,
    WherryError,
)
from wherry.oci.go_patterns import any_of
from wherry.volumes.model import ANONYMOUS_LABEL, Volume

if TYPE_CHECKING:
    from wherry.engine.events import EventBus
    from wherry.engine.volumes.usage import VolumeUsers
    from wherry.volumes.contract import VolumeDriver
    from wherry.volumes.drivers import Drivers
    from wherry.volumes.store import VolumeStore

__all__ = ["Volumes"]

_log: Final = logging.getLogger(__name__)
_LIST_FILTERS: Final = frozenset({"dangling", "driver", "label", "name"})
_PRUNE_FILTERS: Final = frozenset({"all", "label", "label!"})
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # as Go's strconv.ParseBool
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_TRUE_WORDS, _FALSE_WORDS = ("1", "true"), ("0", "false")  # all that a filter of a list takes
#: dockerd's own words when it is not part of a swarm.
_NO_SWARM: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)

_MEASURING: Final = 3600.0  # seconds
_ASKING: Final = 10.0  # seconds for what is only shown

Measure = Callable[[str], int]
Test = Callable[[Volume], bool]
Words = list[str]  # `list` is a method below
Views = list[VolumeView]
Sizes = list[int]


class Volumes:
    """Creates, lists and removes volumes.

    :param users: who uses which.
    :param measure: the bytes of a directory tree; is called in a thread.
    """

    def __init__(
        self, store: VolumeStore, drivers: Drivers, users: VolumeUsers, events: EventBus, measure: Measure
    ) -> None:
        self.store = store
        self.drivers = drivers
        self.users = users
        self._events = events
        self._measure = measure
        self._elsewhere = Elsewhere(drivers)
        self._locks = WeakValueDictionary[str, asyncio.Lock]()
        self._pruning = False

    def open(self) -> None:
        """Bring the rows in step with the directories; to be called once, before anything else."""
        there = self.drivers.local.recover()
        for volume in self.store:
            if volume.driver == self.drivers.local.name and volume.name not in there:
                _log.warning("a volume is gone: its directory is not there volume=%s", volume.name)
                self.store.forget(volume.name)
        for name in there:
            if self.store.find(name) is None and name not in self.store.unreadable:
                self.store.put(Volume(name=name, created=times.now()))

    @asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[None]:
        """One at a time creates, fills, mounts or removes a volume."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            yield

    # --- create -----------------------------------------------------------------------------------

    async def create(self, body: VolumeCreate) -> VolumeView:
        """Make a volume, or find the one that is there; the body of VolumeCreate.

        :raises InvalidInput: name or options are wrong.
        :raises Conflict: another driver has a volume of this name.
        """
        if body.cluster_volume_spec is not None:
            raise Unavailable(_NO_SWARM)
        volume = await self.make(
            body.name or new_id(), body.driver, body.driver_opts or {}, body.labels or {}, anonymous=not body.name
        )
        return await self._view(volume)

    async def make(
        self, name: str, driver: str, options: Mapping[str, str], labels: Mapping[str, str], *, anonymous: bool = False
    ) -> Volume:
        """Make a volume, or find the one that is there.

        :param driver: empty for the built-in one, or whichever has a volume of this name.
        :param anonymous: the name is one that nobody has given.
        """
        with _about("create", name):
            async with self.locked(name):
                found = await self._existing(name, driver)
                if found is None and not anonymous:
                    found = await self._taken_over(name, driver)
                if found is not None:
                    return found
                chosen = await self.drivers.get(driver)
                volume = Volume(
                    name=name, driver=chosen.name, options=dict(options), created=times.now(), anonymous=anonymous,
                    labels={**labels, ANONYMOUS_LABEL: ""} if anonymous else dict(labels),
                    scope=await chosen.scope(),
                )  # fmt: skip
                await self._make(chosen, volume)
        self._publish(volume, "create")
        return volume

    async def _existing(self, name: str, driver: str) -> Volume | None:
        found = self.store.find(name)
        if found is None:
            return None
        if driver and (await self.drivers.get(driver)).name != found.driver:
            raise Conflict(f"driver '{found.driver}' already has volume '{name}'", cause="volume name must be unique")
        return found

    async def _taken_over(self, name: str, driver: str = "") -> Volume | None:
        """A volume that another driver has, and that is known from now on; the caller holds its lock."""
        if driver == self.drivers.local.name:
            return None
        found = (await self._elsewhere.volumes((driver,) if driver else None)).find(name)
        if found is not None:
            self.store.put(found)
        return found

    async def _known(self, name: str) -> Volume:
        """A volume of the engine's, or of another driver.

        :raises NotFound: there is none, in Docker's words.
        """
        found = self.store.find(name) or (await self._elsewhere.volumes()).find(name)
        return found or self.get(name)

    async def _make(self, driver: VolumeDriver, volume: Volume) -> None:
        """The row comes first: what a crash leaves is then a row without a volume, which is none."""
        driver.check(volume)
        self.store.put(volume)
        try:
            await driver.create(volume)
        except BaseException:
            self.store.forget(volume.name)
            raise

    def source(self, volume: Volume) -> str:
        """Where a volume is on the host, for people; empty when only its driver knows."""
        return self.drivers.local.data(volume.name) if volume.driver == self.drivers.local.name else ""

    async def place(self, volume: Volume) -> str:
        """As `source`, but another driver is asked; empty when it does not say."""
        path = self.source(volume)
        if path:
            return path
        try:
            async with asyncio.timeout(_ASKING):
                return await (await self.drivers.get(volume.driver)).path(volume)
        except (WherryError, TimeoutError):
            return ""

    def driver_names(self) -> Words:
        """The names of all drivers, for ``info``."""
        return self.drivers.names()

    def get(self, name: str) -> Volume:
        """A volume.

        :raises NotFound: there is none, in Docker's words.
        """
        with _about("get", name):
            return self.store.get(name)

    # --- look -------------------------------------------------------------------------------------

    async def inspect(self, name: str) -> VolumeView:
        """Everything about a volume; the body of VolumeInspect.

        :raises NotFound: there is none.
        """
        volume = await self._known(name)
        with _about("get", name):
            return await self._view(volume, status=True)

    async def list(self, filters: Filters) -> VolumeList:
        """All volumes that pass; the body of VolumeList.

        :raises InvalidInput: there is no such filter, or it has no such value.
        """
        check_names(filters, _LIST_FILTERS)
        fits = self._filter(filters)
        theirs = await self._elsewhere.volumes(filters.get("driver") or None)
        found = {volume.name: (volume, "") for volume in self.store if volume.driver not in theirs.volumes}
        for volumes in theirs.volumes.values():
            for volume, path in volumes:  # of one that it does not have any more, there is only the row
                known = self.store.find(volume.name) or volume
                if known.driver == volume.driver:
                    found.setdefault(volume.name, (known, path))
        chosen = sorted((one for one in found.values() if fits(one[0])), key=lambda one: one[0].name)
        return VolumeList(
            volumes=[await self._view(volume, path=path) for volume, path in chosen], warnings=theirs.warnings or None
        )

    def _filter(self, filters: Filters) -> Test:
        tests = [_label_test(filters)]
        if drivers := filters.get("driver"):
            tests.append(lambda volume: volume.driver in drivers)
        if names := filters.get("name"):
            named = any_of(names)
            tests.append(lambda volume: named(volume.name))
        if "dangling" in filters:
            dangling, used = _dangling(filters["dangling"]), self.users.all()
            tests.append(lambda volume: (volume.name not in used) == dangling)
        return lambda volume: all(test(volume) for test in tests)

    async def _view(
        self, volume: Volume, *, path: str = "", status: bool = False, usage: VolumeUsage | None = None
    ) -> VolumeView:
        path, more = self.source(volume) or path, None
        if not path and status:
            found = await (await self.drivers.get(volume.driver)).get(volume.name)
            path, more = found.path, found.status
        return VolumeView(
            created_at=_whole_seconds(volume.created), driver=volume.driver, labels=volume.labels or None,
            mountpoint=path, name=volume.name, options=volume.options or None, scope=volume.scope,
            status=dict(more) if more else UNSET, usage_data=usage or UNSET,
        )  # fmt: skip

    async def disk_usage(self) -> Views:
        """Volumes that are directories here, with what they take up, for SystemDataUsage."""
        local, used = self.drivers.local, self.users.all()
        chosen = sorted((one for one in self.store if one.driver == local.name and not one.options), key=_name_of)
        sizes = await self._sizes([local.data(one.name) for one in chosen])
        return [
            await self._view(one, usage=VolumeUsage(size=size, ref_count=len(used.get(one.name, ()))))
            for one, size in zip(chosen, sizes, strict=True)
        ]

    async def _sizes(self, paths: Words) -> Sizes:
        """What is in directories: how long that takes is the containers' affair, so not in the loop's own threads."""
        what = "measure what volumes take up"
        return await call_bounded(what, lambda: [self._measure(path) for path in paths], _MEASURING)

    # --- remove -----------------------------------------------------------------------------------

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume.

        :param force: there may be none, or its driver may not answer.
        :raises NotFound: there is none.
        :raises Conflict: a container uses it.
        """
        try:
            known = await self._known(name)
        except NotFound:
            if force:
                return
            raise
        with _about("remove", name):
            async with self.locked(name):
                ours = known.driver == self.drivers.local.name or self.store.find(name) is not None
                await self._remove(self.store.get(name) if ours else known, force=force)

    async def _remove(self, volume: Volume, *, force: bool = False) -> None:
        """The caller holds its lock."""
        users = self.users.of(volume.name)
        if users:
            raise Conflict(f"volume is in use - [{', '.join(users)}]")
        try:
            await (await self.drivers.get(volume.driver)).remove(volume)
        except WherryError as exc:
            if not force:
                raise
            self.log_failure(volume, "is not removed by its driver", exc)
        self.store.forget(volume.name)
        self._publish(volume, "destroy")

    async def remove_unused(self, names: Words) -> None:
        """Remove volumes that went with a container; those that others use stay."""
        for name in names:
            await asyncio.sleep(0)  # an image may ask for very many
            async with self.locked(name):
                volume = self.store.find(name)
                if volume is None or self.users.of(name):
                    continue
                try:
                    await self._remove(volume)
                except WherryError as exc:
                    self.log_failure(volume, "is not removed", exc)

    async def prune(self, filters: Filters) -> VolumesPruned:
        """Remove local volumes that nobody uses; the body of VolumePrune.

        :param filters: ``all`` for those that somebody has named, too; ``label``, ``label!``.
        :raises Conflict: this is being done already.
        """
        check_names(filters, _PRUNE_FILTERS)
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        try:
            return await self._prune(filters)
        finally:
            self._pruning = False

    async def _prune(self, filters: Filters) -> VolumesPruned:
        everything = _all(filters.get("all") or [])
        fits, used, local = _label_test(filters), self.users.all(), self.drivers.local
        removed, reclaimed = [], 0
        for volume in self.store:
            wanted = everything or ANONYMOUS_LABEL in volume.labels
            if volume.driver != local.name or volume.options or volume.name in used or not (wanted and fits(volume)):
                continue
            [size] = await self._sizes([local.data(volume.name)])
            try:
                await self.remove(volume.name)
            except WherryError as exc:
                self.log_failure(volume, "is not removed", exc)
                continue
            removed.append(volume.name)
            reclaimed += size
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return VolumesPruned(volumes_deleted=removed, space_reclaimed=reclaimed)

    async def update(self, _name: str) -> None:
        """VolumeUpdate is for the volumes of a swarm only."""
        raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")

    @staticmethod
    def log_failure(volume: Volume, what: str, error: WherryError) -> None:
        """Note what has failed, and keeps nobody from going on."""
        _log.warning("a volume %s volume=%s driver=%s error=%s", what, volume.name, volume.driver, error)

    def _publish(self, volume: Volume, action: str) -> None:
        self._events.publish("volume", action, volume.name, {"driver": volume.driver})


@contextmanager
def _about(operation: str, name: str) -> Iterator[None]:
    """Say what was being done with which volume, as Docker does."""
    try:
        yield
    except WherryError as exc:
        if exc.message.startswith((f"get {name}", f"create {name}", f"remove {name}")):
            raise
        kind = SystemFault if isinstance(exc, SystemCallError | StepFailed) else type(exc)
        raise kind(f"{operation} {name}", cause=str(exc)) from exc


def _label_test(filters: Filters) -> Test:
    wanted, unwanted = filters.get("label") or (), filters.get("label!") or ()
    return lambda volume: (
        all(has_label(volume.labels, label) for label in wanted)
        and not (unwanted and all(has_label(volume.labels, label) for label in unwanted))
    )


def _dangling(values: Words) -> bool:
    found = {value in _TRUE_WORDS for value in values if value in _TRUE_WORDS + _FALSE_WORDS}
    if len(found) != 1:
        raise InvalidInput(f"invalid filter 'dangling=[{' '.join(values)}]'")
    return found.pop()


def _all(values: Words) -> bool:
    if len(values) > 1:
        raise InvalidInput(f"invalid filter 'all=[{' '.join(values)}]'", cause="only one value is expected")
    if values and values[0] not in _TRUE | _FALSE:
        raise InvalidInput("invalid filter 'all'", cause=f'strconv.ParseBool: parsing "{values[0]}": invalid syntax')
    return bool(values) and values[0] in _TRUE


def _name_of(volume: Volume) -> str:
    return volume.name


def _whole_seconds(moment: str) -> str:
    head, dot, _ = moment.partition(".")
    return f"{head}Z" if dot else moment
