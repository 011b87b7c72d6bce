"""Containers on networks: which ones they join, and what happens when they start, end, and outlive the daemon."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.network_mode import HOST, NONE, is_default, joined_container
from wherry.docker.networks import EndpointSettings
from wherry.engine.network.links import link_environment
from wherry.engine.network.memberships import resolve, warnings_about
from wherry.engine.network.ports import port_requests
from wherry.engine.network.repair import reconcile_memberships
from wherry.engine.network.requests import Addresses, endpoint_request, publishing_network, request_again
from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, SystemCallError, SystemFault, WherryError

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.network.connect import Connector
    from wherry.engine.network.endpoint_effects import EndpointEffects
    from wherry.network.controller import Controller
    from wherry.network.model import Endpoint, EndpointRequest, Network, NetworkOptions
    from wherry.network.sandbox import Sandbox

__all__ = ["Attachment", "Attachments", "Resolved"]

_log: Final = logging.getLogger(__name__)


class Resolved(NamedTuple):
    """What a new container's request for networks comes to."""

    host: HostConfig  #: with the network mode and the links that hold
    networks: dict[str, EndpointSettings]  #: the networks to join, by name
    warnings: list[str]


class Attachment(NamedTuple):
    """What a container that starts has of networks."""

    namespace: str | None  #: the network namespace to join; None for a new empty one, or another container's
    config: ContainerConfig  #: the container's; who shares another's network has the other's host name


class Attachments:
    """Attaches containers to their networks when they start, and detaches them when they end."""

    def __init__(
        self,
        controller: Controller,
        containers: ContainerStore,
        effects: EndpointEffects,
        connector: Connector,
        options: NetworkOptions,
    ) -> None:
        self._controller = controller
        self._containers = containers
        self._effects = effects
        self._connector = connector
        self._options = options
        self._interrupted: set[str] = set()  # containers with half a change from when the last daemon was killed

    # --- creation ---------------------------------------------------------------------------------

    def resolve(
        self, config: ContainerConfig, host: HostConfig, requested: Mapping[str, EndpointSettings | None]
    ) -> Resolved:
        """Decide which networks a new container joins.

        A network that does not exist (yet) is looked for when the container starts, as in Docker.

        :raises InvalidInput: the requests do not go together.
        """
        host = self._effects.links.resolve(host)
        self._effects.check(host)
        by_default = is_default(host.network_mode) and not config.network_disabled and not requested
        host, members = resolve(config, host, requested, self.default)
        found: dict[str, EndpointSettings] = {}
        for ref, settings in members.items():
            name, known = self._identified(ref, settings)
            found.setdefault(name, known)
        return Resolved(host, found, warnings_about(host, self._controller.warning, by_default=by_default))

    def _identified(self, ref: str, settings: EndpointSettings) -> tuple[str, EndpointSettings]:
        try:
            network = self._controller.get(ref)
        except NotFound:
            return ref, settings
        return network.name, replace(settings, network_id=network.id)

    @property
    def default(self) -> str:
        """The network of containers that request none: ``bridge``, or ``none`` where there is no such network."""
        return NONE if self._controller.warning or self._options.bridge == NONE else "bridge"

    # --- start and end ----------------------------------------------------------------------------

    async def attach(self, container: Container, before: Mapping[str, Addresses] = {}) -> Attachment:
        """Create the endpoints of a container that is about to start.

        :param before: addresses that it has had, by network; it gets them again where they are free, and asks for none.
        :raises NotFound: a network or a linked container does not exist.
        :raises Conflict: a linked container does not run.
        :raises SystemFault: a port is taken, or the kernel refuses.
        """
        shared = joined_container(container.host.network_mode)
        if shared is not None:
            return Attachment(None, self._with_host_name_of(shared, container.config))
        return Attachment(await self._attach(container, before), container.config)

    def _with_host_name_of(self, shared: str, config: ContainerConfig) -> ContainerConfig:
        """The host name goes with the network: a container that shares another's network has the other's."""
        other = self._containers.get(shared).config
        return replace(config, hostname=other.hostname, domainname=other.domainname)

    async def _attach(self, container: Container, before: Mapping[str, Addresses]) -> str | None:
        members = container.definition.networks
        if NONE in members or HOST in members or not members:
            self._effects.enter_without_endpoint(container)
            return None
        await self._controller.ready()  # what the kernel lacks is known from then on
        if self._controller.warning and list(members) == ["bridge"]:
            _log.warning("a container has no network container=%s reason=%s", container.id, self._controller.warning)
            return None
        linked = self._effects.links.of(container, strict=True)
        container.set_link_env(link_environment(container, linked))
        try:
            return await self._join_all(container, [other for _, other in linked], before)
        except WherryError as exc:
            await self.release(container)
            raise _while_starting(exc) from exc
        except BaseException:
            await self.release(container)
            raise

    async def _join_all(
        self, container: Container, linked: Sequence[Container], before: Mapping[str, Addresses]
    ) -> str:
        wanted = [(self._controller.get(ref), settings) for ref, settings in container.definition.networks.items()]
        members = {network.name: settings for network, settings in wanted}
        container.set_memberships(members)
        joined = [network for network, _ in wanted]
        publishing = publishing_network(joined, members)
        requests = []
        for network in joined:
            ports = port_requests(container.config, container.host) if network is publishing else ()
            neighbours = linked if network.is_default_bridge else ()
            requests.append(endpoint_request(container.host, members[network.name], ports, neighbours))
        plain = None if joined[0].name in before else requests[0]
        sandbox = await self._controller.take(container.id, container.name, joined[0], plain)
        for network, request in zip(joined, requests, strict=True):
            endpoint = await self._connect(sandbox, network, request, before.get(network.name))
            container.set_endpoint(network.name, endpoint)
            container.set_membership(network.name, replace(members[network.name], network_id=network.id))
            self._effects.enter(container, network)
        await self._effects.serve_dns(container, sandbox)
        await self._effects.refresh_linking(container)
        return sandbox.path

    async def _connect(
        self, sandbox: Sandbox, network: Network, request: EndpointRequest, before: Addresses | None
    ) -> Endpoint:
        if before is not None and request.ipv4 is None and request.ipv6 is None:
            again = request_again(request, before)
            with suppress(Forbidden, Conflict, InvalidInput):  # somebody else has them, or the network is another one
                return await self._controller.connect(sandbox, network, again)
        return await self._controller.connect(sandbox, network, request)

    async def release(self, container: Container) -> None:
        """Remove all endpoints of a container; does nothing when it has none."""
        self._effects.withdraw(container)
        had = bool(container.endpoints)
        container.drop_endpoints()
        if had or self._controller.sandbox(container.id) is not None:
            try:
                await self._controller.release(container.id)
            except WherryError as exc:
                _log.warning("cannot release a container's networks container=%s error=%s", container.id, exc)

    # --- after a restart of the daemon ------------------------------------------------------------

    def adopt(self, container: Container) -> None:
        """Adopt the endpoints of a container that ran before this daemon did; before `wherry.network` starts."""
        self._effects.note_without_endpoint(container)
        if container.host.network_mode == HOST or joined_container(container.host.network_mode):
            return
        endpoints, changed = reconcile_memberships(container, self._controller)
        if changed:
            _log.info("a change of networks was interrupted container=%s networks=%s", container.id, changed)
            self._containers.note_definition(container)
            self._interrupted.add(container.id)
        if not endpoints or self._controller.sandbox(container.id) is not None:
            return
        try:
            self._controller.adopt(container.id, container.name, container.state.pid)
        except WherryError as exc:
            _log.warning("cannot adopt a container's network container=%s error=%s", container.id, exc)
            return
        for endpoint in endpoints:
            network = self._controller.get(endpoint.network_id)
            container.set_endpoint(network.name, endpoint)
            if network.name in container.definition.networks:
                self._effects.register(container, network)

    async def resume(self, containers: Iterable[Container]) -> None:
        """Go on answering the DNS queries of adopted containers; complete the changes that were interrupted."""
        for container in containers:
            self._effects.restore(container)
            sandbox = self._controller.sandbox(container.id)
            if sandbox is not None:
                await self._effects.serve_dns(container, sandbox)
            if container.id in self._interrupted:
                self._interrupted.discard(container.id)
                await self._complete(container)

    async def _complete(self, container: Container) -> None:
        """Complete an interrupted change, now that the kernel is as the tables say: routes, ports and files."""
        async with container.lock:
            sandbox = self._controller.sandbox(container.id)
            if sandbox is None or not container.state.is_alive:
                return
            try:
                await self._controller.complete(sandbox)
                await self._connector.move_ports(container, sandbox)
            except WherryError as exc:
                _log.warning("cannot complete a change of networks container=%s error=%s", container.id, exc)
            container.set_hosts_written("")
            await self._effects.refresh(container)


def _while_starting(error: WherryError) -> WherryError:
    """The same error with the words that dockerd puts before it when a container cannot start for it."""
    kind = SystemFault if isinstance(error, SystemCallError) else type(error)
    return kind(f"failed to set up container networking: {error.message}", cause=error.cause, hint=error.hint)
