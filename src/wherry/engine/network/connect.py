"""NetworkConnect and NetworkDisconnect: a container gets or loses one endpoint, at once when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from wherry.docker.network_mode import HOST, NONE, joined_container
from wherry.engine.network.memberships import check_endpoint, check_together
from wherry.engine.network.ports import port_requests
from wherry.engine.network.requests import endpoint_request, linked_ports_of, publishing_network, same_ports
from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, SystemCallError, SystemFault, WherryError

if TYPE_CHECKING:
    from wherry.docker.networks import EndpointSettings
    from wherry.engine.container.container import Container
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.network.endpoint_effects import EndpointEffects
    from wherry.network.controller import Controller
    from wherry.network.model import Network, PublishedPort
    from wherry.network.sandbox import Sandbox

__all__ = ["Connector"]


class Connector:
    """Connects containers to networks, and disconnects them."""

    def __init__(self, controller: Controller, containers: ContainerStore, effects: EndpointEffects) -> None:
        self._controller = controller
        self._containers = containers
        self._effects = effects

    async def connect(self, container: Container, ref: str, settings: EndpointSettings) -> None:
        """Connect a container to a network: at once when it runs, else when it starts.

        :raises NotFound: there is no such network.
        :raises InvalidInput: this cannot go together.
        :raises Forbidden: it is connected already, or the address is taken.
        """
        async with container.lock:
            network = self._controller.get(ref)
            members = container.definition.networks
            if container.state.is_alive and network.name in members:
                raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
            if container.host.network_mode == HOST or joined_container(container.host.network_mode):
                raise InvalidInput(
                    "container sharing network namespace with another container or host cannot be connected to any "
                    "other network"
                )
            check_together([*members, network.name] if network.name not in members else [])
            check_endpoint(network.name, settings)
            settings = replace(settings, network_id=network.id)
            if container.state.is_alive:
                await self._connect_now(container, network, settings)
            elif network.name not in members:
                self._controller.check_request(network, endpoint_request(container.host, settings, ()))
                container.set_membership(network.name, settings)
            self._containers.note_definition(container)

    async def _connect_now(self, container: Container, network: Network, settings: EndpointSettings) -> None:
        sandbox = self._controller.sandbox(container.id) or self._adopted(container)
        endpoint = await self._controller.connect(sandbox, network, endpoint_request(container.host, settings, ()))
        container.set_endpoint(network.name, endpoint)
        container.set_membership(network.name, settings)
        had_names = self._effects.has_names(container)
        self._effects.enter(container, network)
        try:
            await self.move_ports(container, sandbox)
            await self._open_links(container)
        except WherryError:
            await self._disconnect_now(container, network.name, force=True)
            container.drop_membership(network.name)
            raise
        await self._effects.refresh(container)
        if not had_names:
            await self._effects.serve_dns(container, sandbox)

    def _adopted(self, container: Container) -> Sandbox:
        """The sandbox of a container that had none of ours when it started."""
        try:
            return self._controller.adopt(container.id, container.name, container.state.pid)
        except SystemCallError as exc:  # it has just ended
            raise Conflict(f"container {container.id} is not running", cause=str(exc)) from exc

    async def disconnect(self, container: Container, ref: str, *, force: bool) -> None:
        """Disconnect a container from a network.

        :raises NotFound: there is no such network.
        :raises InvalidInput: the network is the host's.
        :raises SystemFault: it is not connected to this network.
        """
        async with container.lock:
            name = self._known_name(container, ref, force=force)
            if name == HOST:
                raise InvalidInput("container cannot be disconnected from host network or connected to host network")
            if name not in container.definition.networks:
                raise SystemFault(f"container {container.id} is not connected to the network {name}")
            if container.state.is_alive:
                await self._disconnect_now(container, name, force=force)
            container.drop_membership(name)
            if container.state.is_alive:
                self._effects.stop_dns(container)
                self._effects.follow_links(container)
                await self._effects.refresh(container)
            self._containers.note_definition(container)

    def _known_name(self, container: Container, ref: str, *, force: bool) -> str:
        try:
            return self._controller.get(ref).name
        except NotFound:
            if not container.state.is_alive or force:  # the network is gone, its name is still in the definition
                return ref
            raise

    async def _disconnect_now(self, container: Container, name: str, *, force: bool) -> None:
        if name == NONE:
            self._effects.leave_without_endpoint(container)
        endpoint = container.endpoints.get(name)
        if endpoint is not None:
            sandbox = self._controller.sandbox(container.id)
            assert sandbox is not None  # it has an endpoint
            network = self._controller.get(endpoint.network_id)  # it may be removed as soon as it has no endpoints
            container.drop_endpoint(name)
            self._effects.unregister(container, endpoint.network_id)
            gone = await self._controller.disconnect(sandbox, endpoint.network_id, force=force)
            self._effects.publish(container, network, "disconnect")
            await self.move_ports(container, sandbox, gone.published)

    async def move_ports(self, container: Container, sandbox: Sandbox, left: tuple[PublishedPort, ...] = ()) -> None:
        """Publish ports through the endpoint with the default route: through another, answers would not find back.

        :param left: what was published through an endpoint that is gone now.
        """
        joined = [self._controller.get(endpoint.network_id) for endpoint in container.endpoints.values()]
        target = publishing_network(joined, container.definition.networks)
        present = next(((name, e) for name, e in container.endpoints.items() if e.published), None)
        if target is None or (present is not None and present[0] == target.name):
            return
        ports = same_ports(left, target) if left else port_requests(container.config, container.host)
        if present is not None:
            name, endpoint = present
            ports = same_ports(endpoint.published, target)
            container.set_endpoint(name, await self._controller.publish(sandbox, endpoint.network_id, ()))
        if ports:
            container.set_endpoint(target.name, await self._controller.publish(sandbox, target.id, ports))

    async def unlinked(self, container: Container) -> None:
        """A running container has lost a link: its files forget the alias, and the other's ports are closed to it."""
        await self._open_links(container)
        await self._effects.refresh(container)

    async def _open_links(self, container: Container) -> None:
        """Open to a running container the ports of those that it links to, and no others."""
        ports = linked_ports_of(self._effects.follow_links(container))
        endpoint, sandbox = container.endpoints.get("bridge"), self._controller.sandbox(container.id)
        if endpoint is None or sandbox is None:
            return
        if ports != endpoint.linked_ports:
            changed = await self._controller.set_linked_ports(sandbox, endpoint.network_id, ports)
            container.set_endpoint("bridge", changed)
