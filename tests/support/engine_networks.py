"""The engine's side of networks, whole, on a network without a kernel: what tests of `wherry.engine.network` share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from support.fake_network import FakeController, fake_controller
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.networks import EndpointSettings, NetworkCreate
from wherry.engine.container import etc_files
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.database import ContainerDatabase
from wherry.engine.container.names import new_id
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.events import EventBus
from wherry.engine.network.attachments import Attachment, Attachments
from wherry.engine.network.connect import Connector
from wherry.engine.network.endpoint_effects import EndpointEffects
from wherry.engine.network.networks import Networks
from wherry.network.model import NetworkOptions

__all__ = ["EngineNetworks"]


async def no_keeper(op: str, **fields: Any) -> None:
    """There is no keeper to ask."""


class EngineNetworks:
    """All parts, put together as the engine does; containers "run" by their state only."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.controller: FakeController = fake_controller(root)
        self.database = ContainerDatabase(root / "wherry.db")
        self.store = ContainerStore(self.database, root, root / "exec", no_keeper)
        self.store.load()
        self.events = EventBus()
        options = NetworkOptions()
        self.effects = EndpointEffects(self.controller, self.store, self.events, options)
        self.connector = Connector(self.controller, self.store, self.effects)
        self.attachments = Attachments(self.controller, self.store, self.effects, self.connector, options)
        self.networks = Networks(
            self.controller, self.connector, self.effects, self.store, self.events, table="wherry-test"
        )

    async def network(self, name: str, **members: Any) -> str:
        identifier, _ = await self.networks.create(NetworkCreate(name=name, **members))
        return identifier

    def container(
        self,
        name: str,
        mode: str = "bridge",
        requested: dict[str, EndpointSettings | None] | None = None,
        *,
        config: ContainerConfig | None = None,
        **host: Any,
    ) -> Container:
        """Create a container with what its request for networks comes to."""
        config = config or ContainerConfig(hostname=name)
        resolved = self.attachments.resolve(config, HostConfig(network_mode=mode, **host), requested or {})
        container = self.store.add(
            name,
            Definition(
                id=new_id(), created="2024-01-01T00:00:00Z", image="i", image_id="sha256:1", argv=["sh"],
                config=config, host=resolved.host, mounts=[], networks=resolved.networks,
            ),
        )  # fmt: skip
        container.directory.mkdir(parents=True)
        return container

    async def start(self, container: Container) -> Attachment:
        """Start a container as far as networks are concerned."""
        attachment = await self.attachments.attach(container)
        container.definition.config = attachment.config
        await etc_files.make(container, self.effects.texts(container))
        container.state.status, container.state.pid = Status.RUNNING, 4711
        return attachment

    async def end(self, container: Container) -> None:
        container.state.status, container.state.pid = Status.EXITED, 0
        await self.attachments.release(container)

    async def running(self, name: str, *arguments: Any, **members: Any) -> Container:
        container = self.container(name, *arguments, **members)
        await self.start(container)
        return container

    async def happened(self) -> list[tuple[str, str, str]]:
        """The events so far: what was done to which network, and the container's name."""
        names = {container.id: container.name for container in self.store}
        return [
            (event.action, event.actor.attributes["name"], names.get(event.actor.attributes.get("container", ""), ""))
            async for event in self.events.subscribe({}, 0, time.time_ns())
        ]  # fmt: skip

    def hosts(self, container: Container) -> str:
        return (container.directory / "hosts").read_text()

    def resolved(self, container: Container, name: str) -> list[str]:
        """The addresses that a container's DNS server has for a name."""
        return [str(address) for address in self.effects.directory.lookup(container.id, name, None) or ()]

    async def close(self) -> None:
        self.effects.close()
        await self.controller.close()
        self.database.close()
