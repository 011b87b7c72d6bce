"""A real engine, put together by its own composition root, on a fake keeper, a fake network and one fake image.

Everything else is real: the database, the files, the lifecycle, restart policies, execs, health checks, reconciliation.
No root is needed, and an engine can be left at any moment, as by ``kill -9``, and opened again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.fake_keeper import FakeConnection, FakeKeeper
from wherry.docker.container_requests import ContainerConfig, CreateRequest, HostConfig
from wherry.docker.networks import EndpointSettings
from wherry.engine import engine as composition
from wherry.engine.container.container import Container
from wherry.engine.engine import Engine
from wherry.engine.events import EventBus
from wherry.engine.network.attachments import Attachment, Resolved
from wherry.engine.network.memberships import resolve
from wherry.engine.settings import Settings
from wherry.errors import NotFound, WherryError
from wherry.images.store import ImageStore
from wherry.layers.overlay_paths import OverlayMount
from wherry.network.database import NetworkDatabase
from wherry.oci.platform import Platform

__all__ = ["EngineHarness", "harness"]

PATIENCE = 20.0
IMAGE = "sha256:" + "1" * 64


@dataclass
class FakeNetwork:
    """What is asked of the networks, in order; nobody has an address."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    refuse: list[WherryError] = field(default_factory=list)  #: what the next attachments raise


class FakeAttachments:
    """In place of `wherry.engine.network.attachments.Attachments`."""

    def __init__(self, network: FakeNetwork) -> None:
        self._network = network

    def resolve(
        self, config: ContainerConfig, host: HostConfig, asked: Mapping[str, EndpointSettings | None]
    ) -> Resolved:
        return Resolved(*resolve(config, host, asked, "bridge"), [])

    async def attach(self, container: Container, before: object = None) -> Attachment:
        self._network.calls.append(("attach", container.name))
        if self._network.refuse:
            raise self._network.refuse.pop(0)
        return Attachment(None, container.config)

    async def release(self, container: Container) -> None:
        self._network.calls.append(("release", container.name))

    def adopt(self, container: Container) -> None:
        self._network.calls.append(("adopt", container.name))

    async def resume(self, containers: list[Container]) -> None:
        self._network.calls += [("resume", container.name) for container in containers]


class FakeEndpointEffects:
    """In place of `wherry.engine.network.endpoint_effects.EndpointEffects`."""

    def __init__(self, network: FakeNetwork) -> None:
        self._network = network

    def texts(self, container: Container) -> dict[str, str]:
        return {"hostname": f"{container.config.hostname}\n", "hosts": "127.0.0.1 localhost\n", "resolv.conf": ""}

    def renamed(self, container: Container) -> None:
        self._network.calls.append(("renamed", container.name))

    def close(self) -> None:
        """Nothing is open."""


class FakeController:
    """In place of `wherry.network.controller.Controller`."""

    warning = None

    def __init__(self, tables: NetworkDatabase) -> None:
        self.tables = tables

    @classmethod
    def open(cls, _settings: object, _custody: object, tables: NetworkDatabase) -> FakeController:
        return cls(tables)

    def start(self) -> None:
        """There is no kernel to tell."""

    async def deposit_firewall(self) -> None:
        """There is none."""

    async def close(self) -> None:
        """Only the tables are open."""
        self.tables.close()


class FakeImages:
    """One image, ``image``, of one layer that is never mounted.

    :param layer: its directory.
    """

    def __init__(self, layer: Path, real: ImageStore) -> None:
        self._layer = layer
        self.store = SimpleNamespace(pin=self._claim, close=real.close)
        self.released: list[str] = []

    @contextmanager
    def _claim(self, name: str) -> Iterator[SimpleNamespace]:
        if name != "image":
            raise NotFound(f"No such image: {name}")
        config = {"Cmd": ["sleep", "1000"]}
        yield SimpleNamespace(id=IMAGE, config=config, platform=Platform.host(), overlay=self._overlay)

    async def for_platform(self, name: str, wanted: Platform | None) -> str:
        return name

    def overlay(self, container: Container) -> list[OverlayMount]:
        return self._overlay(container.directory)

    def _overlay(self, directory: Path) -> list[OverlayMount]:
        return [OverlayMount("/", (str(self._layer),), str(directory / "upper"), str(directory / "work"))]

    def uppers(self, container: Container) -> list[Path]:
        return [container.directory / "upper"]

    def size_of(self, _identifier: str) -> int:
        return 1000

    def layers_to_mount(self, _identifier: str) -> tuple[str, ...]:
        return ("/lower", "/bottom")

    async def release(self, container: Container) -> None:
        self.released.append(container.id)

    def was_tagged(self, identifier: str, name: str) -> None:
        """Nothing is built."""

    async def reconcile(self) -> None:
        """There is nothing to compare."""

    def id_of(self, name: str) -> str:
        return IMAGE

    async def look_up_names(self, identifiers: Iterable[str]) -> None:
        """It knows all names."""

    def names_of(self, identifier: str) -> list[str]:
        return ["image:latest"]


class NotedEvents(EventBus):
    """Remembers all events, of every engine."""

    def __init__(self, noted: list[dict[str, Any]]) -> None:
        super().__init__()
        self._noted = noted

    def publish(self, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        self._noted.append({"kind": kind, "action": action, **attributes})
        super().publish(kind, action, identifier, attributes)


class EngineHarness:
    """Engines over one data root, one after the other; the keeper and the network outlive them."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(data_root=root / "data", exec_root=root / "run", cgroup_parent="/wherry-no-such-group")
        self.keeper, self.network = FakeKeeper(), FakeNetwork()
        self.events: list[dict[str, Any]] = []
        self.layer = root / "layer"
        self.layer.mkdir()
        for name, replacement in (
            ("KeeperConnection", lambda exec_root: FakeConnection(self.keeper, exec_root)),
            ("Controller", FakeController),
            ("Attachments", lambda *_: FakeAttachments(self.network)),
            ("EndpointEffects", lambda *_: FakeEndpointEffects(self.network)),
            ("Connector", lambda *_: SimpleNamespace()),
            ("Networks", lambda *_, **__: SimpleNamespace()),
            ("Images", lambda store, *_: FakeImages(self.layer, store)),
            ("EventBus", lambda: NotedEvents(self.events)),
        ):
            patch.setattr(composition, name, replacement)

    async def open(self) -> Engine:
        """Another engine, which finds what the last one has left."""
        (self.settings.data_root).mkdir(exist_ok=True)
        return await Engine.open(self.settings)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        engine = await self.open()
        try:
            yield engine
        finally:
            await engine.close()

    async def kill(self, engine: Engine) -> None:
        """As by ``kill -9``: whatever is under way stops where it is, and nothing more is written."""
        self.keeper.connection = None
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        engine._watches.close()
        engine._catch_up.close()
        for timer, _ in engine._store._unsaved.values():
            timer.cancel()
        for opened in (engine._database, engine._volume_store, engine._controller.tables, engine.images.store):  # type: ignore[attr-defined]
            opened.close()

    def actions(self, *wanted: str) -> list[str]:
        """The events of containers so far, by their actions; only those wanted if any are named."""
        return [e["action"] for e in self.events if e["kind"] == "container" and (not wanted or e["action"] in wanted)]

    @staticmethod
    def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):  # in the same task, which `kill` spares
                await test()

        asyncio.run(bounded())


async def create(engine: Engine, *argv: str, name: str = "web", config: dict[str, Any] | None = None,
                 **host: Any) -> Container:  # fmt: skip
    """A container of the one image; returns it as the engine holds it."""
    request = CreateRequest(image="image", cmd=list(argv) or None, host_config=HostConfig(**host), **(config or {}))
    identifier, _ = await engine.containers.create(name, request, None)
    return engine.containers.get(identifier)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what has no event of its own."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.005)


async def raises(work: Awaitable[object]) -> WherryError:
    """The error of something that must not work."""
    try:
        await work
    except WherryError as error:
        return error
    raise AssertionError("it worked")


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHarness]:
    made = EngineHarness(tmp_path, monkeypatch)
    yield made
    made.keeper.close()
