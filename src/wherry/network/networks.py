"""The facade: what the engine asks of networks.

Used from the event loop's thread only; work in the kernel is done by one helper thread, in the order of asking.

The life of an engine's networks::

    networks = Networks.open(settings)            # reads the tables; touches no kernel
    networks.adopt(owner, name, pid)              # for each owner that runs, after a restart
    networks.start()                              # in the background: kernel = tables; strangers go; repair; warm pool
    sandbox = await networks.take(owner, name, network)
    endpoint = await networks.connect(sandbox, network, Wishes())
    ... the process runs in sandbox.path ...
    await networks.release(owner)                 # it ended
    await networks.close()                        # containers go on; or shutdown(): nothing is left in the kernel

What waits for the kernel (`take`, `connect` ...) waits for `start`'s first part, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, WherryError
from wherry.linux.namespaces import open_namespace
from wherry.network import host_bridge
from wherry.network.book import Book, check_wishes, gateways_of
from wherry.network.definition import built_in, check_settings, default_bridge, define, mark_of
from wherry.network.kernel import Kernel
from wherry.network.model import DEFAULT_BRIDGE, Wishes
from wherry.network.pool import Pool
from wherry.network.pools import DEFAULT_POOLS, new_ula, ula_pool
from wherry.network.sandbox import Sandbox
from wherry.network.state import State
from wherry.network.surroundings import Surroundings, look_around
from wherry.network.upkeep import NOT_IN_KERNEL, Upkeep

if TYPE_CHECKING:
    from wherry.network.model import Address, Endpoint, Network, NetworkRequest, NetworkSettings, PortRequest

__all__ = ["Networks"]

_log: Final = logging.getLogger(__name__)


class Networks:
    """The networks of one engine. To be made by `Networks.open`."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._state = State(settings.data_root / "wherry.db")
        self._book = Book(self._state)
        self._kernel = Kernel(mark_of(settings))
        self._sandboxes: dict[str, Sandbox] = {}
        self._pool = Pool(self._make_spare, settings.warm)
        self._upkeep = Upkeep(
            self._kernel,
            self._book,
            self._sandboxes,
            lambda: self._pool.spares,
            self._state,
            forward=settings.ip_forward,
            closed=not settings.ip_forward_no_drop,
        )
        self._closed = False

    @classmethod
    def open(cls, settings: NetworkSettings) -> Networks:
        """Read the tables.

        :raises CorruptData: the database is damaged.
        :raises InvalidInput: an option makes no sense (``bip``, ``default-address-pools`` ...).
        """
        check_settings(settings)
        networks = cls(settings)
        networks._define_built_in()
        return networks

    def _define_built_in(self) -> None:
        """See that ``bridge``, ``host`` and ``none`` are there, the first one as the options want it."""
        known = {network.name: network for network in self._book.networks.values()}
        old = known.get(DEFAULT_BRIDGE)
        if self._settings.bridge != "none":
            settings = self._settings
            if settings.bridge:
                settings = host_bridge.default_on(settings)
            network = default_bridge(settings, self._surroundings(old), old)
            if network != old:
                self._book.put_network(network)
        elif old is not None:
            self._book.remove_network(old)
        for name, driver in (("host", "host"), ("none", "null")):
            if name not in known:
                self._book.put_network(built_in(name, driver))

    def adopt(self, owner: str, owner_name: str, pid: int) -> Sandbox:
        """Take over the sandbox of an owner that was running before this daemon was; before `start`.

        Also for one that started without a sandbox of ours, and wants to join a network now.

        :param pid: any process of its.
        :raises SystemCallError: there is no such process.
        """
        sandbox = Sandbox(self._kernel, open_namespace(pid, "net"), owner, owner_name)
        self._sandboxes[owner] = sandbox
        return sandbox

    def start(self) -> None:
        """Begin, in the background, to make the kernel equal to the tables.

        Endpoints whose owner was not adopted are released.
        """
        for owner in self._book.owners() - set(self._sandboxes):
            for endpoint in tuple(self._book.of_owner(owner).values()):
                self._book.drop(endpoint)
        self._upkeep.start(self._warm_up)

    def _warm_up(self) -> None:
        if self.has_default:
            self._pool.refill()

    async def ready(self) -> None:
        """Wait until that has happened once."""
        await self._upkeep.ready()

    @property
    def warning(self) -> str | None:
        """Why there is no default bridge here (no nf_tables, bridge or veth), in one sentence; None if all is well."""
        return self._upkeep.warning

    # --- networks ---------------------------------------------------------------------------------

    @property
    def has_default(self) -> bool:
        """Whether there is a default bridge to join."""
        return self.warning is None and any(n.is_default_bridge for n in self._book.networks.values())

    async def create(self, request: NetworkRequest) -> Network:
        """Make a network.

        :raises InvalidInput: malformed (400).
        :raises Conflict: the name is taken: ``network with name X already exists`` (409).
        :raises Forbidden: pools overlap or are exhausted, or the name is a built-in one's (403).
        :raises NotFound: no such driver (404).
        """
        await self.ready()
        bridge = host_bridge.wanted(request, self._kernel.mark)
        if bridge is not None:
            request = bridge.place(request)
        network = define(request, self._surroundings(None), self._settings)
        if bridge is not None:
            network = bridge.borrow(network)
        taken = {
            other.bridge for other in self._book.networks.values() if other.driver == "bridge" or not other.borrowed
        }
        if network.bridge and network.bridge in taken:
            raise Conflict(f"bridge name already in use: {network.bridge}")
        self._book.add_network(network)
        try:
            await self._upkeep.told(self._kernel.run(self._upkeep.work.make_network, network), None)
        except BaseException:
            self._book.remove_network(network)
            self._upkeep.later(lambda: self._upkeep.work.remove_network(network))
            raise
        self._book.network_made(network)
        await self._upkeep.let_forward(network)
        return network

    def get(self, reference: str) -> Network:
        """Find a network by ID, by name or by a unique beginning of its ID, in this order.

        :raises NotFound: ``network X not found``.
        :raises InvalidInput: ``network X is ambiguous (2 matches found based on ID prefix)``.
        """
        return self._book.find(reference)

    def list(self) -> Sequence[Network]:
        """All networks, in the order in which they were made; ``bridge``, ``host`` and ``none`` among them."""
        return tuple(self._book.networks.values())

    async def remove(self, reference: str) -> Network:
        """Remove a network.

        :raises NotFound: there is none.
        :raises Forbidden: it is built in, or has active endpoints.
        """
        network = self._book.find(reference)
        if network.is_builtin:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        active = self.endpoints(network.id)
        if active:
            first = f'name:"{active[0].owner_name}" id:"{active[0].id[:12]}"'
            raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({first})")
        self._book.remove_network(network)
        await self.ready()
        await self._kernel.run(self._upkeep.work.remove_network, network)
        return network

    def endpoints(self, network_id: str) -> Sequence[Endpoint]:
        """The endpoints on a network."""
        return tuple(endpoint for endpoint in self._book.on_network(network_id) if endpoint.owner)

    def endpoints_of(self, owner: str) -> Sequence[Endpoint]:
        """The endpoints of an owner, the one with the default route first."""
        found = self._book.of_owner(owner).values()
        return tuple(sorted(found, key=lambda e: (-e.priority, self._book.networks[e.network_id].name)))

    def forget(self, endpoint: Endpoint) -> None:
        """Forget an endpoint that nobody was told of; before `start`. To be followed by `complete`."""
        self._upkeep.forget(endpoint)

    async def complete(self, sandbox: Sandbox) -> None:
        """Make the inside of a sandbox as the book says, whose endpoints have changed without the kernel's knowing.

        :raises SystemCallError: the kernel refuses.
        """
        await self._upkeep.complete(sandbox)

    # --- owners -----------------------------------------------------------------------------------

    async def take(self, owner: str, owner_name: str, first: Network | None = None) -> Sandbox:
        """Hand out a sandbox: a network namespace with loopback up and nothing else to see.

        :param first: the network that will be connected first: for the default bridge some are ready to be claimed.
        :returns: its ``path`` is what the runtime joins.
        """
        await self.ready()
        spare = self._pool.take() if first is not None and first.is_default_bridge else None
        if spare is not None:
            sandbox = spare.given_to(owner, owner_name)
        else:
            sandbox = Sandbox(self._kernel, await self._kernel.run(self._upkeep.work.make_namespace), owner, owner_name)
        if owner in self._sandboxes:  # it is started a second time before it was released
            await self.release(owner)
        self._sandboxes[owner] = sandbox
        return sandbox

    def sandbox(self, owner: str) -> Sandbox | None:
        """The sandbox that an owner has."""
        return self._sandboxes.get(owner)

    def check_wishes(self, network: Network, wishes: Wishes) -> None:
        """See whether a network could fulfil wishes, for an owner that will connect later.

        :raises InvalidInput: it cannot.
        """
        check_wishes(network, wishes)

    async def connect(self, sandbox: Sandbox, network: Network, wishes: Wishes) -> Endpoint:
        """Give an owner a place on a network, also while it runs.

        :raises Forbidden: no address is free, or the one wished for is taken (``Address already in use``), or it is
            on that network already.
        :raises InvalidInput: a wish that this network cannot fulfil.
        :raises SystemFault: a port is taken; the sentence names the holder.
        """
        await self.ready()
        self._check_connect(sandbox, network)
        prepared = self._prepared(sandbox, network, wishes)
        if prepared is not None:
            return await self._claim(sandbox, network, prepared, wishes)
        endpoint = self._book.draft(network, sandbox.owner, sandbox.owner_name, wishes)
        try:
            endpoint = self._book.publish(endpoint, wishes.publish, self._host_address(network))
            self._book.add(endpoint)
        except BaseException:
            self._book.abandon(endpoint)
            raise
        return await self._establish(sandbox, network, endpoint)

    def _check_connect(self, sandbox: Sandbox, network: Network) -> None:
        if network.id not in self._book.networks:
            raise NotFound(f"network {network.name} not found")
        if network.driver in NOT_IN_KERNEL:
            raise InvalidInput(f"a sandbox cannot join the network {network.name}")
        if self._sandboxes.get(sandbox.owner) is not sandbox:
            raise Conflict(f"container {sandbox.owner} is not running")
        if network.id in self._book.of_owner(sandbox.owner):
            raise Forbidden(f"endpoint with name {sandbox.owner_name} already exists in network {network.name}")

    def _prepared(self, sandbox: Sandbox, network: Network, wishes: Wishes) -> Endpoint | None:
        """The endpoint that waits in a warm sandbox, if it is as wished; if not, it goes."""
        if sandbox.reserved is None:
            return None
        prepared = self._book.endpoints[sandbox.reserved]
        sandbox.reserved = None
        plain = not (wishes.ipv4 or wishes.ipv6 or wishes.link_local or wishes.mac or wishes.driver_options)
        if prepared.network_id == network.id and plain:
            return prepared
        self._book.drop(prepared)
        self._undo(sandbox, network, prepared)
        return None

    async def _claim(self, sandbox: Sandbox, network: Network, prepared: Endpoint, wishes: Wishes) -> Endpoint:
        """Make a prepared endpoint its owner's: nothing is asked of the kernel, unless ports are to be published."""
        endpoint = replace(
            prepared,
            owner=sandbox.owner,
            owner_name=sandbox.owner_name,
            aliases=wishes.aliases,
            links=wishes.links,
            priority=wishes.priority,
        )
        try:
            endpoint = self._book.publish(endpoint, wishes.publish, self._host_address(network))
            self._book.add(endpoint)
        except BaseException:
            self._book.drop(prepared)
            self._undo(sandbox, network, prepared)
            raise
        if endpoint.published:
            try:
                await self._upkeep.told(self._kernel.run(self._upkeep.work.publish, network, prepared, endpoint), None)
            except BaseException:
                self._book.drop(endpoint)
                self._undo(sandbox, network, endpoint)
                raise
        return self._still_there(endpoint)

    async def _establish(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> Endpoint:
        gateways = self._book.routes_of(sandbox.owner)
        try:
            work = self._kernel.run(self._upkeep.work.establish, network, endpoint, sandbox.fileno(), gateways)
            made = await self._upkeep.told(work, endpoint)
        except BaseException:
            if self._book.drop(endpoint):
                self._undo(sandbox, network, endpoint)
            raise
        self._still_there(endpoint)
        if made != endpoint:
            self._book.add(made)
        self._book.endpoint_made(made)
        return made

    def _still_there(self, endpoint: Endpoint) -> Endpoint:
        """See that the owner was not released meanwhile.

        :raises Conflict: it was.
        """
        if endpoint.id not in self._book.endpoints:
            raise Conflict(f"container {endpoint.owner} is not running")
        return endpoint

    def _undo(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> None:
        """Have everything of an endpoint removed from the kernel, soon."""
        self._upkeep.later(lambda: self._upkeep.work.leave(network, endpoint, sandbox.fileno(), None))

    async def disconnect(self, sandbox: Sandbox, network_id: str, *, force: bool = False) -> Endpoint:
        """Take an owner's place on a network away; the default route moves to the next.

        :param force: carry on when the kernel refuses; the place is gone afterwards in any case.
        :raises NotFound: it has none there.
        """
        await self.ready()
        endpoint = self._book.of_owner(sandbox.owner).get(network_id)
        if endpoint is None:
            name = self._book.networks[network_id].name if network_id in self._book.networks else network_id
            raise NotFound(f"container {sandbox.owner} is not connected to network {name}")
        network = self._book.networks[network_id]
        before = self._book.routes_of(sandbox.owner)
        self._book.drop(endpoint)
        after = self._book.routes_of(sandbox.owner)
        moved = after if after != before else None
        try:
            await self._kernel.run(self._upkeep.work.leave, network, endpoint, sandbox.fileno(), moved)
        except WherryError as exc:
            if not force:
                raise
            _log.warning("cannot take an interface away interface=%s error=%s", endpoint.host_interface, exc)
        return endpoint

    async def publish(self, sandbox: Sandbox, network_id: str, requests: Iterable[PortRequest]) -> Endpoint:
        """Publish ports through an endpoint instead of those that it publishes now; none: publish no more.

        For an owner whose default route has moved: the answers leave by where that leads.

        :raises NotFound: it is not on that network.
        :raises SystemFault: a port is taken.
        """
        endpoint = self._book.of_owner(sandbox.owner).get(network_id)
        if endpoint is None:
            raise NotFound(f"container {sandbox.owner} is not connected to network {network_id}")
        network = self._book.networks[network_id]
        bare = replace(endpoint, published=())
        self._book.ports.release(endpoint.id, endpoint.published)
        try:
            changed = self._book.publish(bare, requests, self._host_address(network))
        except BaseException:
            self._book.ports.restore(endpoint)
            raise
        self._book.add(changed)
        await self._upkeep.told(self._kernel.run(self._upkeep.work.publish, network, endpoint, changed), None)
        return changed

    async def release(self, owner: str) -> None:
        """The owner's process is gone: addresses, ports, links and the sandbox go back; again, it has no effect.

        In the kernel that happens a moment later, and before anything that is asked for afterwards.
        """
        sandbox = self._sandboxes.pop(owner, None)
        if sandbox is None:
            return
        places = [(self._book.networks[e.network_id], e) for e in tuple(self._book.of_owner(owner).values())]
        if sandbox.reserved is not None:
            prepared = self._book.endpoints[sandbox.reserved]
            places.append((self._book.networks[prepared.network_id], prepared))
            sandbox.reserved = None
        for _, endpoint in places:
            self._book.drop(endpoint)
        await self.ready()
        self._upkeep.depart(sandbox, places)

    def rename(self, owner: str, owner_name: str) -> None:
        """The owner has another name now, which messages and endpoints show."""
        if owner in self._sandboxes:
            self._sandboxes[owner].owner_name = owner_name
        for endpoint in tuple(self._book.of_owner(owner).values()):
            self._book.ports.release(endpoint.id, endpoint.published)
            renamed = replace(endpoint, owner_name=owner_name)
            self._book.add(renamed)
            self._book.ports.restore(renamed)

    # --- the warm pool ----------------------------------------------------------------------------

    async def _make_spare(self) -> Sandbox:
        network = self._book.find(DEFAULT_BRIDGE)
        endpoint = self._book.draft(network, "", "", Wishes())
        try:
            namespace = await self._kernel.run(self._upkeep.work.make_spare, network, endpoint, gateways_of([endpoint]))
        except BaseException:
            self._book.abandon(endpoint)
            raise
        sandbox = Sandbox(self._kernel, namespace, "", "")
        self._book.add(endpoint)
        self._book.endpoint_made(endpoint)
        sandbox.reserved = endpoint.id
        return sandbox

    # --- what is around ---------------------------------------------------------------------------

    def _surroundings(self, besides: Network | None) -> Surroundings:
        """What a new network has to fit into; `besides` is a network that it takes the place of."""
        others = [network for network in self._book.networks.values() if network != besides]
        used = [subnet.network for network in others for subnet in network.subnets]
        return look_around(used, (*(self._settings.pools or DEFAULT_POOLS), ula_pool(self._ula())))

    def _ula(self) -> str:
        known = self._state.word("ula")
        if known is None:
            known = new_ula()
            self._state.set_word("ula", known)
        return known

    def _host_address(self, network: Network) -> Address | None:
        """Where ports are published that name no address; None: everywhere."""
        text = network.options.get("com.docker.network.bridge.host_binding_ipv4") or self._settings.host_address
        return None if text == "0.0.0.0" else ip_address(text)

    # --- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let go; what runs goes on, and keeps its network. Again, it has no effect."""
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
        left = await self._upkeep.remove_everything()
        await self._finish()
        return left

    async def _stop(self) -> None:
        self._closed = True
        await self._upkeep.stop()
        for spare in await self._pool.close():
            assert spare.reserved is not None  # it is warm
            prepared = self._book.endpoints[spare.reserved]
            self._book.drop(prepared)
            self._upkeep.depart(spare, [(self._book.networks[prepared.network_id], prepared)])

    async def _finish(self) -> None:
        await self._upkeep.close()
        for sandbox in self._sandboxes.values():
            sandbox.close()
        self._state.close()
