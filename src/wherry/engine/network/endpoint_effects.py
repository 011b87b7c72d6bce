"""What depends on the endpoints of one container: its names in DNS, its files in /etc, its links, network events.

`wherry.network` knows networks and the owners of endpoints. This file knows that an owner is a container.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.docker.network_mode import HOST, NONE, is_user_defined, parse_links
from wherry.engine.container import etc_files
from wherry.engine.network.dns_directory import DnsDirectory, DnsEntry
from wherry.engine.network.etc_texts import EtcTexts, has_resolver
from wherry.engine.network.links import Links, link_environment
from wherry.engine.network.views import dns_names
from wherry.errors import NotFound, WherryError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from wherry.docker.container_requests import HostConfig
    from wherry.engine.container.container import Container
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.events import EventBus
    from wherry.network.controller import Controller
    from wherry.network.dns.directory import Upstream
    from wherry.network.dns.server import DnsServer
    from wherry.network.model import Address, Network, NetworkOptions, Prefix
    from wherry.network.sandbox import Sandbox

__all__ = ["EndpointEffects"]

_log: Final = logging.getLogger(__name__)


class EndpointEffects:
    """Updates names, files, links and events when the endpoints of a container change."""

    def __init__(
        self, controller: Controller, containers: ContainerStore, events: EventBus, options: NetworkOptions
    ) -> None:
        self._controller = controller
        self._containers = containers
        self._events = events
        self.links = Links(containers)
        self._files = EtcTexts(options, self._gateways)
        self.directory = DnsDirectory(self._upstreams, self._subnets)
        self._dns: DnsServer | None = None  # made with the first network that has names
        self._rewriting: set[asyncio.Task[None]] = set()  # of others' files in /etc
        self._without_endpoint: dict[str, Network] = {}  # of running containers on ``host`` or ``none``
        self._guests: dict[str, Container] = {}  # those that are in no table: steps of builds

    def check(self, host: HostConfig) -> None:
        """Check what a new container requests of its files in /etc. See `EtcTexts.check` for the errors."""
        self._files.check(host)

    # --- guests -----------------------------------------------------------------------------------

    def admit(self, guest: Container) -> None:
        """A container that is in no table will have endpoints: it gets DNS, but no names, and nothing is published."""
        self._guests[guest.id] = guest

    def dismiss(self, guest: Container) -> None:
        """It has no endpoints any more."""
        self._guests.pop(guest.id, None)

    # --- names and events -------------------------------------------------------------------------

    def enter(self, container: Container, network: Network) -> None:
        """A container has got an endpoint on a network: register its names, publish the event."""
        self.register(container, network)
        self.publish(container, network, "connect")

    def register(self, container: Container, network: Network) -> None:
        """Let the names of a container resolve on a network, where that has names."""
        if is_user_defined(network.name):
            self.directory.joined(container.id, self._dns_entry(container, network))

    def unregister(self, container: Container, network_id: str) -> None:
        """The names of a container no longer resolve on a network."""
        self.directory.left(container.id, network_id)

    def has_names(self, container: Container) -> bool:
        """Whether a container is on any network with name resolution."""
        return self.directory.is_present(container.id)

    def publish(self, container: Container, network: Network, action: str) -> None:
        """Publish a network event about a container: ``connect`` or ``disconnect``."""
        if container.id in self._guests:
            return
        attributes = {"container": container.id, "name": network.name, "type": network.driver}
        self._events.publish("network", action, network.id, attributes)

    def _dns_entry(self, container: Container, network: Network) -> DnsEntry:
        settings, endpoint = container.definition.networks[network.name], container.endpoints[network.name]
        links = tuple((alias, self._name_of(name)) for name, alias in parse_links(settings.links or []))
        names = () if container.id in self._guests else tuple(dns_names(container, settings))
        return DnsEntry(network, endpoint.addresses, names, links)

    def _name_of(self, ref: str) -> str:
        """The name of the container that a link refers to by name or ID."""
        try:
            return self._containers.get(ref).name
        except WherryError:
            return ref  # not there (yet): then the link does not resolve

    def renamed(self, container: Container) -> None:
        """A container has a new name: it resolves on the container's networks, and the old one does not."""
        if container.endpoints:
            self._controller.rename(container.id, container.name)
        for name, endpoint in container.endpoints.items():
            if is_user_defined(name):
                self.register(container, self._controller.get(endpoint.network_id))

    def withdraw(self, container: Container) -> None:
        """All endpoints of a container are about to go: publish that, forget its names, answer no more queries."""
        for endpoint in container.endpoints.values():
            self.publish(container, self._controller.get(endpoint.network_id), "disconnect")
        self.leave_without_endpoint(container)
        container.set_link_env([])
        if self._dns is not None:
            self._dns.stop(container.id)
        self.directory.left(container.id)

    # --- the networks host and none, which have no endpoints ------------------------------------

    def note_without_endpoint(self, container: Container) -> Network | None:
        """Remember that a container is on ``host`` or ``none``, to publish the event when it leaves."""
        name = next((name for name in (NONE, HOST) if name in container.definition.networks), None)
        if name is not None:
            self._without_endpoint[container.id] = self._controller.get(name)
        return self._without_endpoint.get(container.id)

    def enter_without_endpoint(self, container: Container) -> None:
        """A container starts on ``host`` or ``none``."""
        network = self.note_without_endpoint(container)
        if network is not None:
            self.publish(container, network, "connect")

    def leave_without_endpoint(self, container: Container) -> None:
        """A container ends, or leaves ``none``."""
        network = self._without_endpoint.pop(container.id, None)
        if network is not None:
            self.publish(container, network, "disconnect")

    # --- the DNS server ---------------------------------------------------------------------------

    async def serve_dns(self, container: Container, sandbox: Sandbox) -> None:
        """Answer queries at 127.0.0.11 in a container on networks with names."""
        if not has_resolver(container) or not self.has_names(container):
            sandbox.close_dns()
            return
        try:
            udp, tcp = await sandbox.dns_sockets()
        except WherryError as exc:
            _log.warning("no name resolution in a container container=%s error=%s", container.id, exc)
            return
        self._server().serve(container.id, udp, tcp)

    def stop_dns(self, container: Container) -> None:
        """Answer no more queries of a container that has left its last network with names."""
        if self._dns is not None and not self.has_names(container):
            self._dns.stop(container.id)

    def _server(self) -> DnsServer:
        if self._dns is None:
            from wherry.network.dns.server import DnsServer  # noqa: PLC0415 - a start without networks needs none

            self._dns = DnsServer(self.directory)
        return self._dns

    def networks_changed(self) -> None:
        """A network was created or removed: reverse look-ups of its addresses are answered differently."""
        self.directory.changed()
        if self._dns is not None:
            self._dns.forget_cache()

    def close(self) -> None:
        """Answer no more queries."""
        if self._dns is not None:
            self._dns.close()

    # --- links and files --------------------------------------------------------------------------

    def follow_links(self, container: Container) -> list[Container]:
        """Update a container's environment variables about links; returns the containers that it links to."""
        linked = self.links.of(container)
        container.set_link_env(link_environment(container, linked))
        return [other for _, other in linked]

    def texts(self, container: Container) -> dict[str, str]:
        """The contents of a container's files in /etc, by name."""
        return self._files.texts(container, self.links.of(container))

    async def refresh(self, container: Container) -> None:
        """Rewrite the files in /etc of a running container, in place."""
        await etc_files.rewrite(container, lambda: self.texts(container))

    async def refresh_linking(self, container: Container) -> None:
        """A container has started, perhaps with another address: update the containers that link to it."""
        linking = self.links.to(container)
        for one in linking:
            self.follow_links(one)
        await etc_files.rewrite_all(linking, self.texts, self._rewriting)

    def restore(self, container: Container) -> None:
        """After a restart of the daemon: what a container's links are, and what was written into its files."""
        self.follow_links(container)
        with suppress(WherryError):  # the host's address is gone, for one: then our lines are not known
            container.set_hosts_written(self._files.hosts(container, self.links.of(container)))

    def host_gateway(self) -> str:
        """The address by which containers on the default bridge reach the host; empty: there is none."""
        return self._files.host_gateway()

    # --- what the parts ask -----------------------------------------------------------------------

    def _gateways(self) -> Sequence[Address]:
        try:
            bridge = self._controller.get("bridge")
        except NotFound:
            return []
        return [subnet.gateway for subnet in (bridge.subnet4, bridge.subnet6) if subnet and subnet.gateway]

    def _subnets(self) -> list[Prefix]:
        return [subnet.network for network in self._controller.list() for subnet in network.subnets]

    def _upstreams(self, owner: str) -> tuple[tuple[Upstream, ...], bool]:
        container = self._guests.get(owner) or self._containers.find(owner)
        return self._files.upstreams(container.host) if container is not None else ((), False)
