"""Containers on networks: what happens to their places when they start, end, join and leave.

`wherry.network` knows networks and owners of places; this file knows that an owner is a container, and keeps in step
what depends on its places: its definition, its files in /etc, its names, the events.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.engine.config import EndpointSettings
from wherry.engine.container import Container
from wherry.engine.network_files import HostFiles, has_resolver, link_environment, rewrite, wanted_links
from wherry.engine.network_halves import whole
from wherry.engine.network_modes import (
    HOST,
    NONE,
    check_endpoint,
    check_link_target,
    check_together,
    is_default,
    is_user_defined,
    joined_container,
    memberships,
    parse_links,
    warnings_about,
)
from wherry.engine.network_names import NameDirectory, Place
from wherry.engine.network_ports import port_requests
from wherry.engine.network_shown import dns_names
from wherry.engine.network_wishes import publishing_network, same_ports, wishes_of
from wherry.engine.registry import Registry
from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, SystemCallError, SystemFault, WherryError

if TYPE_CHECKING:
    from wherry.engine.config import ContainerConfig, HostConfig
    from wherry.engine.events import EventBus
    from wherry.engine.settings import NetworkOptions
    from wherry.network.dns.directory import Upstream
    from wherry.network.dns.server import DnsServer
    from wherry.network.model import Address, Network, Prefix, Published
    from wherry.network.networks import Networks
    from wherry.network.sandbox import Sandbox

__all__ = ["Networking"]

_log: Final = logging.getLogger(__name__)


class Networking:
    """Gives containers their places on networks, and takes them back."""

    def __init__(self, networks: Networks, registry: Registry, events: EventBus, options: NetworkOptions) -> None:
        self._networks = networks
        self._registry = registry
        self._events = events
        self._options = options
        self._files = HostFiles(options, self._gateways)
        self._names = NameDirectory(self._upstreams, self._subnets)
        self._dns: DnsServer | None = None  # made with the first network that has names
        self._cut_short: set[str] = set()  # containers whose networks were changed when the last daemon was killed
        self._without_place: dict[str, Network] = {}  # who runs on ``host`` or ``none``, where nobody has an address

    # --- creation ---------------------------------------------------------------------------------

    def settle(
        self, config: ContainerConfig, host: HostConfig, asked: Mapping[str, EndpointSettings | None]
    ) -> tuple[dict[str, EndpointSettings], list[str]]:
        """The memberships of a new container, and warnings; its network mode is settled, too.

        A network that is not there (yet) is looked for when the container starts, as in Docker.

        :raises InvalidInput: what is asked for does not go together.
        """
        self._settle_links(host)
        self._files.check(host)
        by_default = is_default(host.network_mode) and not config.network_disabled
        found: dict[str, EndpointSettings] = {}
        for ref, settings in memberships(config, host, asked, self.default).items():
            found.setdefault(self._known_name(ref, settings), settings)
        return found, warnings_about(host, self._networks.warning, by_default=by_default)

    def _known_name(self, ref: str, settings: EndpointSettings) -> str:
        try:
            network = self._networks.get(ref)
        except NotFound:
            return ref
        settings.network_id = network.id
        return network.name

    @property
    def default(self) -> str:
        """The network of containers that ask for none: ``bridge``, or ``none`` where there is no such thing."""
        return NONE if self._networks.warning or self._options.bridge == NONE else "bridge"

    # --- start and end ----------------------------------------------------------------------------

    async def attach(self, container: Container) -> str | None:
        """Give a container that is about to start its places.

        :returns: the network namespace to join; None where it gets a new one with nothing in it, or shares another's.
        :raises NotFound: a network or a linked container does not exist.
        :raises Conflict: a linked container does not run.
        :raises SystemFault: a port is taken, or the kernel refuses.
        """
        shared = joined_container(container.host.network_mode)
        if shared is not None:
            self._take_host_name(container, shared)
            return None
        members = container.definition.networks
        if NONE in members or HOST in members or not members:
            self._note_without_place(container)
            if container.id in self._without_place:
                self._tell(container, self._without_place[container.id], "connect")
            return None
        await self._networks.ready()  # what the kernel lacks is known from then on
        if self._networks.warning and list(members) == ["bridge"]:
            _log.warning("a container has no network container=%s reason=%s", container.id, self._networks.warning)
            return None
        container.linked = link_environment(container, self._linked(container, strict=True))
        try:
            return await self._join_all(container)
        except WherryError as exc:
            await self.release(container)
            raise _while_starting(exc) from exc
        except BaseException:
            await self.release(container)
            raise

    def _note_without_place(self, container: Container) -> None:
        """Remember that a container is on ``host`` or ``none``, to tell of it when it leaves."""
        name = next((name for name in (NONE, HOST) if name in container.definition.networks), None)
        if name is not None:
            self._without_place[container.id] = self._networks.get(name)

    def _leave_no_place(self, container: Container) -> None:
        """A container ends, or leaves ``none``."""
        network = self._without_place.pop(container.id, None)
        if network is not None:
            self._tell(container, network, "disconnect")

    def _take_host_name(self, container: Container, shared: str) -> None:
        """The host name belongs to the network: who shares one has the other's."""
        other = self._registry.get(shared)
        container.config.hostname, container.config.domainname = other.config.hostname, other.config.domainname

    async def _join_all(self, container: Container) -> str:
        wanted = [(self._networks.get(ref), settings) for ref, settings in container.definition.networks.items()]
        members = container.definition.networks = {network.name: settings for network, settings in wanted}
        joined = [network for network, _ in wanted]
        sandbox = await self._networks.take(container.id, container.name, joined[0])
        publishing = publishing_network(joined, members)
        for network in joined:
            ports = port_requests(container.config, container.host) if network is publishing else ()
            wishes = wishes_of(members[network.name], ports)
            container.endpoints[network.name] = await self._networks.connect(sandbox, network, wishes)
            members[network.name].network_id = network.id
            self._entered(container, network)
        await self._serve_names(container, sandbox)
        self._refresh_linking(container)
        return sandbox.path

    def _entered(self, container: Container, network: Network) -> None:
        if is_user_defined(network.name):
            self._names.joined(container.id, self._place(container, network))
        self._tell(container, network, "connect")

    def _place(self, container: Container, network: Network) -> Place:
        settings, endpoint = container.definition.networks[network.name], container.endpoints[network.name]
        links = tuple((alias, self._name_of(name)) for name, alias in parse_links(settings.links or []))
        return Place(network, endpoint.addresses, tuple(dns_names(container, settings)), links)

    def _name_of(self, ref: str) -> str:
        """The name of a container that a link names, by whatever it names it."""
        try:
            return self._registry.get(ref).name
        except WherryError:
            return ref  # not there (yet): then the link is a name that nobody has

    async def _serve_names(self, container: Container, sandbox: Sandbox) -> None:
        """Answer questions at 127.0.0.11 in a container on networks with names."""
        if not has_resolver(container) or not self._names.is_present(container.id):
            return
        try:
            udp, tcp = await sandbox.dns_sockets()
        except WherryError as exc:
            _log.warning("no name resolution in a container container=%s error=%s", container.id, exc)
            return
        self._server().serve(container.id, udp, tcp)

    def _server(self) -> DnsServer:
        if self._dns is None:
            from wherry.network.dns.server import DnsServer  # noqa: PLC0415 - a start without networks needs none

            self._dns = DnsServer(self._names)
        return self._dns

    async def release(self, container: Container) -> None:
        """Take all places of a container back; nothing happens when it has none."""
        for endpoint in container.endpoints.values():
            self._tell(container, self._networks.get(endpoint.network_id), "disconnect")
        self._leave_no_place(container)
        container.linked.clear()
        if self._dns is not None:
            self._dns.stop(container.id)
        self._names.left(container.id)
        had = bool(container.endpoints)
        container.endpoints.clear()
        if had or self._networks.sandbox(container.id) is not None:
            try:
                await self._networks.release(container.id)
            except WherryError as exc:
                _log.warning("cannot release a container's networks container=%s error=%s", container.id, exc)

    # --- after a restart of the daemon ------------------------------------------------------------

    def adopt(self, container: Container) -> None:
        """Take over the places of a container that ran before this daemon did; before `wherry.network` starts."""
        self._note_without_place(container)
        if container.host.network_mode == HOST or joined_container(container.host.network_mode):
            return
        places, changed = whole(container, self._networks)
        if changed:
            _log.info("a change of networks was cut short container=%s networks=%s", container.id, changed)
            self._registry.save_definition(container)
            self._cut_short.add(container.id)
        if not places or self._networks.sandbox(container.id) is not None:
            return
        try:
            self._networks.adopt(container.id, container.name, container.state.pid)
        except WherryError as exc:
            _log.warning("cannot adopt a container's network container=%s error=%s", container.id, exc)
            return
        for endpoint in places:
            network = self._networks.get(endpoint.network_id)
            container.endpoints[network.name] = endpoint
            if is_user_defined(network.name) and network.name in container.definition.networks:
                self._names.joined(container.id, self._place(container, network))

    async def _complete(self, container: Container) -> None:
        """After a change that was cut short, and when the kernel is as the tables say: routes, ports and files."""
        async with container.lock:
            sandbox = self._networks.sandbox(container.id)
            if sandbox is None or not container.state.is_alive:
                return
            try:
                await self._networks.complete(sandbox)
                await self._settle_ports(container, sandbox)
            except WherryError as exc:
                _log.warning("cannot complete a change of networks container=%s error=%s", container.id, exc)
            container.hosts = ""
            self.refresh(container)

    async def resume(self, containers: Iterable[Container]) -> None:
        """Go on answering the questions of adopted containers."""
        for container in containers:
            linked = self._linked(container, strict=False)
            container.linked = link_environment(container, linked)
            with suppress(WherryError):  # the host's address is gone, for instance: then nobody knows what was ours
                container.hosts = self._files.hosts(container, linked)
            sandbox = self._networks.sandbox(container.id)
            if sandbox is not None:
                await self._serve_names(container, sandbox)
            if container.id in self._cut_short:
                self._cut_short.discard(container.id)
                await self._complete(container)

    # --- join and leave ---------------------------------------------------------------------------

    async def connect(self, container: Container, ref: str, settings: EndpointSettings) -> None:
        """Put a container on a network; at once when it runs, else when it starts.

        :raises NotFound: there is no such network.
        :raises InvalidInput: this cannot go together.
        :raises Forbidden: it is there already, or the address is taken.
        """
        async with container.lock:
            network = self._networks.get(ref)
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
            settings.network_id = network.id
            if container.state.is_alive:
                await self._connect_now(container, network, settings)
            elif network.name not in members:
                self._networks.check_wishes(network, wishes_of(settings, ()))
                members[network.name] = settings
            self._registry.save_definition(container)

    async def _connect_now(self, container: Container, network: Network, settings: EndpointSettings) -> None:
        sandbox = self._networks.sandbox(container.id) or self._adopted(container)
        endpoint = await self._networks.connect(sandbox, network, wishes_of(settings, ()))
        container.endpoints[network.name] = endpoint
        container.definition.networks[network.name] = settings
        had_names = self._names.is_present(container.id)
        self._entered(container, network)
        try:
            await self._settle_ports(container, sandbox)
        except WherryError:
            await self._disconnect_now(container, network.name, force=True)
            del container.definition.networks[network.name]
            raise
        self.refresh(container)
        if not had_names:
            await self._serve_names(container, sandbox)

    def _adopted(self, container: Container) -> Sandbox:
        """The sandbox of a container that had none of ours when it started."""
        try:
            return self._networks.adopt(container.id, container.name, container.state.pid)
        except SystemCallError as exc:  # it has just ended
            raise Conflict(f"container {container.id} is not running", cause=str(exc)) from exc

    async def disconnect(self, container: Container, ref: str, *, force: bool) -> None:
        """Take a container off a network.

        :raises NotFound: there is no such network.
        :raises InvalidInput: the network is the host's.
        :raises SystemFault: it is not on this network.
        """
        async with container.lock:
            name = self._name_known(container, ref, force=force)
            if name == HOST:
                raise InvalidInput("container cannot be disconnected from host network or connected to host network")
            if name not in container.definition.networks:
                raise SystemFault(f"container {container.id} is not connected to the network {name}")
            if container.state.is_alive:
                await self._disconnect_now(container, name, force=force)
            del container.definition.networks[name]
            if container.state.is_alive:
                self._left(container)
            self._registry.save_definition(container)

    def _name_known(self, container: Container, ref: str, *, force: bool) -> str:
        try:
            return self._networks.get(ref).name
        except NotFound:
            if not container.state.is_alive or force:  # the network is gone, its name is still in the definition
                return ref
            raise

    async def _disconnect_now(self, container: Container, name: str, *, force: bool) -> None:
        if name == NONE:
            self._leave_no_place(container)
        endpoint = container.endpoints.get(name)
        if endpoint is not None:
            sandbox = self._networks.sandbox(container.id)
            assert sandbox is not None  # it has an endpoint
            network = self._networks.get(endpoint.network_id)  # it may be removed as soon as nobody is on it
            del container.endpoints[name]
            self._names.left(container.id, endpoint.network_id)
            gone = await self._networks.disconnect(sandbox, endpoint.network_id, force=force)
            self._tell(container, network, "disconnect")
            await self._settle_ports(container, sandbox, gone.published)

    def _left(self, container: Container) -> None:
        if self._dns is not None and not self._names.is_present(container.id):
            self._dns.stop(container.id)
        self.refresh(container)

    async def _settle_ports(self, container: Container, sandbox: Sandbox, left: tuple[Published, ...] = ()) -> None:
        """See that ports are published where the default route is: elsewhere the answers would not find back.

        :param left: what was published through a place that is gone now.
        """
        joined = [self._networks.get(endpoint.network_id) for endpoint in container.endpoints.values()]
        target = publishing_network(joined, container.definition.networks)
        present = next(((name, e) for name, e in container.endpoints.items() if e.published), None)
        if target is None or (present is not None and present[0] == target.name):
            return
        ports = same_ports(left, target) if left else port_requests(container.config, container.host)
        if present is not None:
            name, endpoint = present
            ports = same_ports(endpoint.published, target)
            container.endpoints[name] = await self._networks.publish(sandbox, endpoint.network_id, ())
        if ports:
            container.endpoints[target.name] = await self._networks.publish(sandbox, target.id, ports)

    # --- files and names --------------------------------------------------------------------------

    def texts(self, container: Container) -> dict[str, str]:
        """What stands in a container's files in /etc, by name."""
        return self._files.texts(container, self._linked(container, strict=False))

    def refresh(self, container: Container) -> None:
        """Write a running container's files anew, in place."""
        rewrite(container, self.texts(container))

    def renamed(self, container: Container) -> None:
        """A container has another name; who is on its networks finds it by that from now on."""
        if container.endpoints:
            self._networks.rename(container.id, container.name)
        for name, endpoint in container.endpoints.items():
            if is_user_defined(name):
                self._names.joined(container.id, self._place(container, self._networks.get(endpoint.network_id)))

    def _linked(self, container: Container, *, strict: bool) -> list[tuple[str, Container]]:
        """The containers that a container on the default bridge links to, by alias.

        :param strict: they have to be there and run.
        """
        found = []
        for name, alias in wanted_links(container):
            try:
                other = self._linkable(name)
            except InvalidInput:
                if strict:
                    raise
                continue
            if strict and not other.state.is_alive:
                raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}")
            if strict and "bridge" not in other.endpoints:
                raise Conflict(f"Cannot link to /{other.name}, as it does not belong to the default network")
            found.append((alias, other))
        return found

    def _refresh_linking(self, container: Container) -> None:
        """A container has started, perhaps with another address: those that link to it learn it."""
        for other in self._registry:
            if other.host.links and other.state.is_alive and self._links_to(other, container):
                self.refresh(other)

    def _links_to(self, container: Container, target: Container) -> bool:
        return any(other is target for _, other in self._linked(container, strict=False))

    def _settle_links(self, host: HostConfig) -> None:
        """Check that what a new container links to is there, and has a network of its own; its ID stays in the link.

        On a network with names a link is only one more name, perhaps of a container that is still to come.

        :raises InvalidInput: it is not, or has not.
        """
        if is_user_defined(host.network_mode or "") or not host.links:
            return
        links = [(self._linkable(name), alias) for name, alias in parse_links(host.links)]
        for other, _ in links:
            check_link_target(other.host)
        host.links = [f"{other.id}:{alias}" for other, alias in links]

    def _linkable(self, name: str) -> Container:
        try:
            return self._registry.get(name)
        except NotFound as exc:
            raise InvalidInput(f"could not get container for {name}", cause=str(exc)) from exc

    # --- what the parts ask -----------------------------------------------------------------------

    def _gateways(self) -> Sequence[Address]:
        try:
            bridge = self._networks.get("bridge")
        except NotFound:
            return []
        return [subnet.gateway for subnet in (bridge.subnet4, bridge.subnet6) if subnet and subnet.gateway]

    def _subnets(self) -> list[Prefix]:
        return [subnet.network for network in self._networks.list() for subnet in network.subnets]

    def _upstreams(self, owner: str) -> tuple[tuple[Upstream, ...], bool]:
        container = self._registry.find(owner)
        return self._files.upstreams(container.host) if container is not None else ((), False)

    def networks_changed(self) -> None:
        """A network was made or removed: what was asked elsewhere may now be a question about an address of ours."""
        self._names.changed()
        if self._dns is not None:
            self._dns.forget_cache()

    # --- telling ----------------------------------------------------------------------------------

    def _tell(self, container: Container, network: Network, action: str) -> None:
        attributes = {"container": container.id, "name": network.name, "type": network.driver}
        self._events.publish("network", action, network.id, attributes)

    def close(self) -> None:
        """Answer no more questions."""
        if self._dns is not None:
            self._dns.close()


def _while_starting(error: WherryError) -> WherryError:
    """The same error with the words that dockerd puts before it when a container cannot start for it."""
    kind = SystemFault if isinstance(error, SystemCallError) else type(error)
    return kind(f"failed to set up container networking: {error.message}", cause=error.cause, hint=error.hint)
