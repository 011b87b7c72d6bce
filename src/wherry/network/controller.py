"""The facade, which the engine holds.

Used from the event loop's thread only; one helper thread changes the kernel, in the order of the calls.

The life of an engine's networks::

    networks = Controller.open(settings)          # reads the tables; the kernel is not changed
    networks.adopt(owner, name, pid)              # for each owner that runs, after a restart
    networks.start()                              # in the background: sync the kernel, monitor it, fill the pool
    sandbox = await networks.take(owner, name, network)
    endpoint = await networks.connect(sandbox, network, EndpointRequest())
    ... the process runs in sandbox.path ...
    await networks.release(owner)                 # it ended
    await networks.close()                        # containers go on; or shutdown(): nothing is left in the kernel

What waits for the kernel (`take`, `connect` ...) waits for `start`'s first part, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, WherryError
from wherry.linux.namespaces import open_namespace
from wherry.network.database import NetworkDatabase
from wherry.network.definition import alias_of, check_settings, configured, define, with_defaults
from wherry.network.drivers.table import DRIVERS, driver_of, find_driver
from wherry.network.ipam.host_networks import HostNetworks, read_host_networks
from wherry.network.ipam.subnets import DEFAULT_POOLS, new_ula, ula_pool
from wherry.network.kernel_state.reconciler import Reconciler
from wherry.network.kernel_thread import Kernel
from wherry.network.model import EndpointRequest
from wherry.network.predefined import ensure_predefined
from wherry.network.sandbox import Sandbox
from wherry.network.store import NetworkStore, check_request
from wherry.network.warm_sandboxes import WarmSandboxes, is_plain

if TYPE_CHECKING:
    from wherry.network.firewall.custody import Custody
    from wherry.network.model import (
        Address,
        Endpoint,
        LinkedPorts,
        Network,
        NetworkRequest,
        NetworkSettings,
        PortRequest,
    )

__all__ = ["Controller"]

_log: Final = logging.getLogger(__name__)


class Controller:
    """The networks of one engine. To be made by `Controller.open`."""

    def __init__(self, settings: NetworkSettings, custody: Custody | None, database: NetworkDatabase | None) -> None:
        self._settings = settings
        self._database = database or NetworkDatabase(settings.data_root / "wherry.db")
        self._store = NetworkStore(self._database)
        self.addresses = self._store.addresses
        self._kernel = Kernel(alias_of(settings))
        self._sandboxes: dict[str, Sandbox] = {}
        self._reconciler = Reconciler(
            self._kernel,
            self._store,
            self._sandboxes,
            lambda: self._pool.spares,
            self._database,
            forward=settings.ip_forward,
            closed=not settings.ip_forward_no_drop,
            custody=custody,
        )
        self._pool = WarmSandboxes(self._kernel, self._store, self._reconciler, settings.warm)
        self._closed = False

    @classmethod
    def open(
        cls, settings: NetworkSettings, custody: Custody | None = None, database: NetworkDatabase | None = None
    ) -> Controller:
        """Read the tables; a `database` that is given is open already, and is closed by `close`.

        :param custody: what holds the firewall's socket while this process is not running.
        :raises CorruptData: the database is damaged.
        :raises InvalidInput: an option makes no sense (``bip``, ``default-address-pools`` ...).
        """
        check_settings(settings)
        networks = cls(settings, custody, database)
        ensure_predefined(networks._store, settings, networks._host_networks)
        return networks

    def adopt(self, owner: str, owner_name: str, pid: int) -> Sandbox:
        """Take over the sandbox of an owner that was running before this daemon was; before `start`.

        Also for one that started without a sandbox, and is to be connected to a network now.

        :param pid: any of its processes.
        :raises SystemCallError: there is no such process.
        """
        sandbox = Sandbox(self._kernel, open_namespace(pid, "net"), owner, owner_name)
        self._sandboxes[owner] = sandbox
        return sandbox

    def start(self) -> None:
        """Make the kernel equal to the tables, in the background.

        Endpoints whose owner was not adopted are released.
        """
        for owner in self._store.owners() - set(self._sandboxes):
            for endpoint in tuple(self._store.of_owner(owner).values()):
                self._store.drop(endpoint)
        self._reconciler.start(self._warm_up)

    def _warm_up(self) -> None:
        if self.has_default:
            self._pool.refill()

    async def ready(self) -> None:
        """Wait until that has happened once."""
        await self._reconciler.ready()

    async def deposit_firewall(self) -> None:
        """Deposit the firewall's socket again, after the process that held it has ended."""
        await self._reconciler.deposit()

    @property
    def warning(self) -> str | None:
        """Why there is no default bridge here (no nf_tables, bridge or veth), in one sentence; None if all is well."""
        return self._reconciler.warning

    # --- networks ---------------------------------------------------------------------------------

    @property
    def has_default(self) -> bool:
        """Whether there is a default bridge to join."""
        return self.warning is None and any(n.is_default_bridge for n in self._store.networks.values())

    async def create(self, request: NetworkRequest) -> Network:
        """Make a network.

        :raises InvalidInput: malformed (400).
        :raises Conflict: the name is taken: ``network with name X already exists`` (409).
        :raises Forbidden: pools overlap or are exhausted, or the name is a built-in one's (403).
        :raises NotFound: no such driver or configuration (404).
        """
        await self.ready()
        await self._reconciler.removed()
        request = configured(request, self._store.configuration)
        driver = (
            None if request.config_only else DRIVERS.get(request.driver)
        )  # `define` reports an unknown driver, after its other checks
        existing = driver.existing_interface(request, self._kernel.alias) if driver is not None else None
        if existing is not None:
            request = existing.with_subnets(with_defaults(request, self._settings))
        network = define(request, self._host_networks(None), self._settings)
        if existing is not None:
            network = existing.borrow(network)
        self._store.check_interface(network)
        self._store.add_network(network)
        try:
            await self._reconciler.create_network(network)
        except BaseException:
            self._store.remove_network(network)
            self._reconciler.remove_network_later(network)
            raise
        await self._reconciler.network_created(network)
        return network

    def get(self, reference: str) -> Network:
        """Find a network by ID, by name or by a unique beginning of its ID, in this order.

        :raises NotFound: ``network X not found``.
        :raises InvalidInput: ``network X is ambiguous (2 matches found based on ID prefix)``.
        """
        return self._store.find(reference)

    def list(self) -> Sequence[Network]:
        """All networks, in the order in which they were made; ``bridge``, ``host`` and ``none`` among them."""
        return tuple(self._store.networks.values())

    async def remove(self, reference: str) -> Network:
        """Remove a network. Its interface goes in the background.

        :raises NotFound: there is none.
        :raises Forbidden: it is built in, or has active endpoints.
        """
        await self._pool.drop(self._store.find(reference).id)
        network = self._store.find(reference)
        if network.is_builtin:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        if network.config_only and any(other.config_from == network.name for other in self.list()):
            raise Forbidden(f'error while removing network: configuration network "{network.name}" is in use')
        active = self.endpoints(network.id)
        if active:
            first = f'name:"{active[0].owner_name}" id:"{active[0].id[:12]}"'
            raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({first})")
        waiting = {endpoint.id for endpoint in self._store.on_network(network.id)}
        for sandbox in self._sandboxes.values() if waiting else ():
            if sandbox.prepared_endpoint in waiting:  # its owner is about to join, and will hear that it is gone
                self._give_up_prepared(sandbox)
        self._store.remove_network(network)
        await self.ready()
        await self._reconciler.remove_network(network)
        return network

    def endpoints(self, network_id: str) -> Sequence[Endpoint]:
        """The endpoints on a network."""
        return tuple(endpoint for endpoint in self._store.on_network(network_id) if endpoint.owner)

    def endpoints_of(self, owner: str) -> Sequence[Endpoint]:
        """The endpoints of an owner, the one with the default route first."""
        found = self._store.of_owner(owner).values()
        return tuple(sorted(found, key=lambda e: (-e.priority, self._store.networks[e.network_id].name)))

    def forget(self, endpoint: Endpoint) -> None:
        """Drop an endpoint that was never acknowledged. Call before `start`; `complete` removes its interface."""
        self._reconciler.forget(endpoint)

    async def complete(self, sandbox: Sandbox) -> None:
        """Make the inside of a sandbox equal to the store, after its endpoints changed in the store only (`forget`).

        :raises SystemCallError: the kernel refuses.
        """
        await self._reconciler.complete(sandbox)

    # --- owners -----------------------------------------------------------------------------------

    async def take(
        self, owner: str, owner_name: str, first: Network | None = None, request: EndpointRequest | None = None
    ) -> Sandbox:
        """Give an owner a sandbox: a network namespace with nothing but loopback, which is up.

        :param first: the network that will be connected first, with this request: there may be one that is prepared.
        :returns: its ``path`` is what the runtime joins.
        """
        await self.ready()
        spare = self._pool.take(first, request)
        sandbox = (spare or await self._pool.make_empty()).given_to(owner, owner_name)
        if owner in self._sandboxes:  # it is started a second time before it was released
            await self.release(owner)
        self._sandboxes[owner] = sandbox
        return sandbox

    def sandbox(self, owner: str) -> Sandbox | None:
        """The sandbox that an owner has."""
        return self._sandboxes.get(owner)

    check_request = staticmethod(check_request)  # for an owner that will connect later

    async def connect(self, sandbox: Sandbox, network: Network, request: EndpointRequest) -> Endpoint:
        """Connect an owner to a network, also while it runs.

        :raises Forbidden: no address is free, or the requested one is taken (``Address already in use``), or it is
            on that network already.
        :raises InvalidInput: a request that this network cannot grant.
        :raises SystemFault: a port is taken; the sentence names the holder.
        """
        await self.ready()
        self._check_connect(sandbox, network)
        prepared = self._prepared(sandbox, network, request)
        if prepared is not None:
            return await self._assign_prepared(sandbox, network, prepared, request)
        endpoint = await self._draft(sandbox, network, request)
        try:
            endpoint = self._store.publish(endpoint, request.publish, self._host_address(network))
            self._store.add(endpoint)
        except BaseException:
            self._store.release_draft(endpoint)
            raise
        return await self._create_endpoint(sandbox, network, endpoint)

    async def _draft(self, sandbox: Sandbox, network: Network, request: EndpointRequest) -> Endpoint:
        """An endpoint with addresses; those that only wait for the next start have to give theirs up for it."""
        try:
            return self._store.draft(network, sandbox.owner, sandbox.owner_name, request)
        except Forbidden:
            await self._pool.drop(network.id)
            self._check_connect(sandbox, network)
            return self._store.draft(network, sandbox.owner, sandbox.owner_name, request)

    def _check_connect(self, sandbox: Sandbox, network: Network) -> None:
        if network.id not in self._store.networks:
            raise NotFound(f"network {network.name} not found")
        if network.config_only:
            raise Forbidden("cannot create endpoint on configuration-only network")
        if not find_driver(network.driver).joinable:
            raise InvalidInput(f"a sandbox cannot join the network {network.name}")
        if self._sandboxes.get(sandbox.owner) is not sandbox:
            raise Conflict(f"container {sandbox.owner} is not running")
        if network.id in self._store.of_owner(sandbox.owner):
            raise Forbidden(f"endpoint with name {sandbox.owner_name} already exists in network {network.name}")

    def _prepared(self, sandbox: Sandbox, network: Network, request: EndpointRequest) -> Endpoint | None:
        """The endpoint that waits in a warm sandbox, if it fits the request; if not, it is removed."""
        if sandbox.prepared_endpoint is None:
            return None
        prepared = self._store.endpoints[sandbox.prepared_endpoint]
        if prepared.network_id == network.id and is_plain(request):
            sandbox.prepared_endpoint = None
            return prepared
        self._give_up_prepared(sandbox)
        return None

    def _give_up_prepared(self, sandbox: Sandbox) -> None:
        """Remove the endpoint that waits in a warm sandbox, which has an owner already."""
        assert sandbox.prepared_endpoint is not None
        prepared = self._store.endpoints[sandbox.prepared_endpoint]
        sandbox.prepared_endpoint = None
        self._store.drop(prepared)
        self._reconciler.remove_endpoint_later(sandbox, self._store.networks[prepared.network_id], prepared)

    async def _assign_prepared(
        self, sandbox: Sandbox, network: Network, prepared: Endpoint, request: EndpointRequest
    ) -> Endpoint:
        """Make a prepared endpoint its owner's: nothing is asked of the kernel, unless ports are to be open."""
        endpoint = replace(
            prepared, owner=sandbox.owner, owner_name=sandbox.owner_name, aliases=request.aliases,
            links=request.links, linked_ports=request.linked_ports, priority=request.priority,
        )  # fmt: skip
        try:
            endpoint = self._store.publish(endpoint, request.publish, self._host_address(network))
            self._store.add(endpoint)
        except BaseException:
            self._store.drop(prepared)
            self._reconciler.remove_endpoint_later(sandbox, network, prepared)
            raise
        try:
            if endpoint.published:
                await self._reconciler.publish(network, prepared, endpoint)
            await self._reconciler.update_pair_rules(sandbox)
        except BaseException:
            self._store.drop(endpoint)
            self._reconciler.remove_endpoint_later(sandbox, network, endpoint)
            raise
        return self._still_there(endpoint)

    async def _create_endpoint(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> Endpoint:
        try:
            made = await self._reconciler.create_endpoint(sandbox, network, endpoint)
            self._still_there(endpoint)
            if made != endpoint:
                self._store.add(made)
            await self._reconciler.update_pair_rules(sandbox)
        except BaseException:
            if self._store.drop(endpoint):
                self._reconciler.remove_endpoint_later(sandbox, network, endpoint)
            raise
        self._store.endpoint_created(made)
        return made

    def _still_there(self, endpoint: Endpoint) -> Endpoint:
        """Check that the owner was not released during an await.

        :raises Conflict: it was.
        """
        if endpoint.id not in self._store.endpoints:
            raise Conflict(f"container {endpoint.owner} is not running")
        return endpoint

    async def disconnect(self, sandbox: Sandbox, network_id: str, *, force: bool = False) -> Endpoint:
        """Disconnect an owner from a network; the default route moves to the next.

        :param force: carry on when the kernel refuses; the endpoint is gone in any case.
        :raises NotFound: it has none there.
        """
        await self.ready()
        endpoint, network = self._store.endpoint_of(sandbox.owner, network_id), self._store.networks[network_id]
        before = self._store.routes_of(sandbox.owner)
        self._store.drop(endpoint)
        after = self._store.routes_of(sandbox.owner)
        moved = after if after != before else None
        try:
            await self._reconciler.remove_endpoint(sandbox, network, endpoint, moved)
        except WherryError as exc:
            if not force:
                raise
            _log.warning("cannot remove an interface interface=%s error=%s", endpoint.host_interface, exc)
        await self._reconciler.update_pair_rules(sandbox)
        return endpoint

    async def publish(self, sandbox: Sandbox, network_id: str, requests: Iterable[PortRequest]) -> Endpoint:
        """Publish ports through an endpoint instead of those that it publishes now; none: publish no more.

        For an owner whose default route has moved: replies leave by that route.

        :raises NotFound: it is not on that network.
        :raises SystemFault: a port is taken.
        """
        endpoint, network = self._store.endpoint_of(sandbox.owner, network_id), self._store.networks[network_id]
        bare = replace(endpoint, published=())
        self._store.ports.release(endpoint.id, endpoint.published)
        try:
            changed = self._store.publish(bare, requests, self._host_address(network))
        except BaseException:
            self._store.ports.restore(endpoint)
            raise
        self._store.add(changed)
        await self._reconciler.publish(network, endpoint, changed)
        await self._reconciler.update_pair_rules(sandbox)
        return changed

    async def set_linked_ports(self, sandbox: Sandbox, network_id: str, ports: tuple[LinkedPorts, ...]) -> Endpoint:
        """Let an owner's endpoint reach these ports of others on a network without ICC, in place of those so far.

        :raises NotFound: it is not on that network.
        """
        await self.ready()
        changed = replace(self._store.endpoint_of(sandbox.owner, network_id), linked_ports=ports)
        self._store.add(changed)
        await self._reconciler.update_pair_rules(sandbox)
        return changed

    async def release(self, owner: str) -> None:
        """Release the addresses, ports, links and sandbox of an owner that has ended; again, it has no effect.

        In the kernel that happens a moment later, and before anything that is asked for afterwards.
        """
        sandbox = self._sandboxes.pop(owner, None)
        if sandbox is None:
            return
        mine = [(self._store.networks[e.network_id], e) for e in tuple(self._store.of_owner(owner).values())]
        if sandbox.prepared_endpoint is not None:
            prepared = self._store.endpoints[sandbox.prepared_endpoint]
            mine.append((self._store.networks[prepared.network_id], prepared))
            sandbox.prepared_endpoint = None
        for _, endpoint in mine:
            self._store.drop(endpoint)
        await self.ready()
        self._reconciler.release_later(sandbox, mine)

    def rename(self, owner: str, owner_name: str) -> None:
        """The owner has another name now, which messages and endpoints show."""
        if owner in self._sandboxes:
            self._sandboxes[owner].owner_name = owner_name
        for endpoint in tuple(self._store.of_owner(owner).values()):
            self._store.ports.release(endpoint.id, endpoint.published)
            renamed = replace(endpoint, owner_name=owner_name)
            self._store.add(renamed)
            self._store.ports.restore(renamed)

    # --- the host ---------------------------------------------------------------------------------

    def _host_networks(self, besides: Network | None) -> HostNetworks:
        """The networks that a new one must not overlap; `besides` is one that it replaces."""
        others = [network for network in self._store.networks.values() if network != besides]
        used = [subnet.network for network in others for subnet in network.subnets]
        own6 = ula_pool(self._database.value_made_once("ula", new_ula))
        return read_host_networks(used, (*(self._settings.pools or DEFAULT_POOLS), own6))

    def _host_address(self, network: Network) -> Address | None:
        """Where ports are published that name no address; None: everywhere."""
        address = driver_of(network).publish_address(network) or ip_address(self._settings.host_address)
        return None if address == IPv4Address("0.0.0.0") else address

    # --- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close sockets and tables; containers keep their networks. Again, it has no effect."""
        if not self._closed:
            await self._stop()
            await self._finish()

    async def shutdown(self) -> Sequence[str]:
        """Remove every bridge, link and table of this engine's from the kernel; definitions stay.

        :returns: what stays in the kernel, too, and why, in sentences.
        """
        await self._stop()
        for owner in tuple(self._sandboxes):
            await self.release(owner)
        left = await self._reconciler.remove_everything()
        await self._finish()
        return left

    async def _stop(self) -> None:
        self._closed = True
        await self._reconciler.stop()
        await self._pool.close()

    async def _finish(self) -> None:
        await self._reconciler.close()
        for sandbox in self._sandboxes.values():
            sandbox.close()
        self._database.close()
