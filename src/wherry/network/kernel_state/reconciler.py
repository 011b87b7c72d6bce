"""Keeps the kernel equal to the store: at the start, after each change, and when other programs interfere."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from wherry.errors import SystemCallError, WherryError
from wherry.network.drivers.table import driver_of
from wherry.network.kernel_state.removals import Removals
from wherry.network.kernel_thread import Kernel
from wherry.network.sandbox import Sandbox
from wherry.network.store import NetworkStore, gateways_of

if TYPE_CHECKING:
    from wherry.linux.fd import Fd
    from wherry.network.database import NetworkDatabase
    from wherry.network.firewall.custody import Custody
    from wherry.network.firewall.elements import LinkRule, PairRule
    from wherry.network.kernel_state.ip_forward import Forwarding
    from wherry.network.kernel_state.jobs import Jobs
    from wherry.network.kernel_state.monitor import Monitor
    from wherry.network.kernel_state.sync import Attachment, Failures
    from wherry.network.model import Endpoint, Gateways, Network
    from wherry.network.proxy6 import Proxy6

__all__ = ["Reconciler"]

_log: Final = logging.getLogger(__name__)
_T = TypeVar("_T")
_START_DELAY: Final = 0.2  # seconds: the daemon answers first
_LINK_CHECK_DELAY: Final = 1.0  # seconds; the kernel takes a tenth of that
_LINK_CHECK_PAUSE: Final = 0.5  # seconds at least between two looks
_FORWARDING: Final = "forwarding"  # the name of the value in the database


class Reconciler:
    """Makes changes of the store in the kernel, and repairs what other programs change.

    :param sandboxes: those that have owners, by owner; read only.
    :param spares: gives those that have none.
    :param database: stores what was switched on in the host.
    :param forward: switch forwarding on in the host.
    :param closed: and keep it from forwarding for others.
    :param custody: what holds the firewall's socket while this daemon is away; None: any program can change the tables.
    :ivar warning: why there is no default bridge in the kernel, as one sentence; None when there is.
    """

    _jobs: Jobs

    def __init__(
        self,
        kernel: Kernel,
        store: NetworkStore,
        sandboxes: Mapping[str, Sandbox],
        spares: Callable[[], Iterable[Sandbox]],
        database: NetworkDatabase,
        *,
        forward: bool,
        closed: bool,
        custody: Custody | None,
    ) -> None:
        self.warning: str | None = None
        self._kernel = kernel
        self._store = store
        self._sandboxes = sandboxes
        self._spares = spares
        self._database = database
        self._forward = forward
        self._closed = closed
        self._custody = custody
        self._starting: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._monitor: Monitor | None = None
        self._proxy6: Proxy6 | None = None
        self._link_rules: frozenset[LinkRule] = frozenset()  # as the firewall has them
        self._removals = Removals(kernel.alias)
        self._forgotten: dict[str, list[str]] = {}  # interfaces inside, by owner
        self._released_links: deque[tuple[float, Sequence[str]]] = deque()  # and when to look at each
        self._link_timer: asyncio.TimerHandle | None = None

    # --- the start

    def start(self, then: Callable[[], None]) -> None:
        """Begin, in the background.

        :param then: called when the kernel is equal to the tables.
        """
        self._starting = asyncio.get_running_loop().create_task(self._start(then))

    async def ready(self) -> None:
        """Wait until the kernel was equal to the tables once."""
        self._wanted.set()
        if self._starting is not None and not self._starting.done():
            await asyncio.shield(self._starting)

    async def _start(self, then: Callable[[], None]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), _START_DELAY)
        from wherry.network.kernel_state.jobs import Jobs  # noqa: PLC0415
        from wherry.network.kernel_state.monitor import Monitor  # noqa: PLC0415 - the daemon answers before it needs these

        self._jobs = Jobs(self._kernel)
        try:
            await self._own_firewall()
            await self._open_proxy6()
            self.warning = next(iter((await self._sync(rebuild=True)).general), None)
        except WherryError as exc:
            self.warning = str(exc)
            _log.warning("networks: %s", exc)
        self._monitor = Monitor(self._kernel, lambda: (self._store.links, self._store.gateways), self._repair)
        self._monitor.start()
        then()

    async def _own_firewall(self) -> None:
        """Take the firewall's tables over from the daemon before, and see that they outlive this one."""
        if self._custody is not None:
            held = await self._custody.recall()
            await self._custody.deposit(await self._kernel.run(self._kernel.own_firewall, held))

    async def deposit(self) -> None:
        """Deposit the firewall's socket again, after the process that held it has ended."""
        await self.ready()
        if self._custody is not None:
            await self._custody.deposit(await self._kernel.run(self._kernel.firewall_descriptor))

    async def _open_proxy6(self) -> None:
        """Start the proxy for published ports at [::1], which the kernel cannot translate."""
        from wherry.network.proxy6 import Proxy6  # noqa: PLC0415

        self._proxy6 = Proxy6(self._store.proxy6_target)
        port = await self._proxy6.open()
        self._store.ports.has_proxy6 = port != 0
        await self._kernel.run(self._jobs.set_proxy6_port, port)

    # --- repair

    async def _repair(self) -> None:
        """Another program has changed something of ours."""
        await self._sync(rebuild=False)

    async def _run_or_repair(self, job: Awaitable[_T], otherwise: _T) -> _T:
        """Await a job for something that is in the store already; repair everything if tables or a bridge are missing.

        Another program may have removed them just now. Waiting for the netlink events about that would mean that a
        container does not start; so all that the store has is made again at once.

        :param otherwise: what to return when that took a repair.
        :raises SystemCallError: the kernel refuses.
        """
        try:
            return await job
        except SystemCallError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            if any(await self._sync(rebuild=False)):
                raise
            return otherwise

    async def _sync(self, *, rebuild: bool) -> Failures:
        """Make the kernel equal to the store; what could not be done is logged."""
        await self._removals.finished()
        forwarding = await self._note_forwarding(self._networks())
        # Both as the store has them now: what was removed during the await above would come back.
        networks, attachments, pair_rules = self._networks(), self._attachments(), self._all_pair_rules()
        failures = await self._kernel.run(
            self._jobs.sync_kernel, networks, attachments, pair_rules, forwarding, rebuild=rebuild, closed=self._closed
        )
        if self._kernel.has_no_firewall:  # then nothing was switched on
            self._database.delete_value(_FORWARDING)
        for failure in (*failures.general, *failures.single):
            _log.warning("networks: %s", failure)
        if rebuild and not failures.general:
            for network in networks:
                self._store.network_created(network)
            for attachment in attachments:
                self._store.endpoint_created(attachment.endpoint)
        return failures

    async def _note_forwarding(self, networks: Sequence[Network]) -> Forwarding:
        """Write down what is about to be switched on in the host."""
        from wherry.network.kernel_state.ip_forward import versions  # noqa: PLC0415 - the daemon answers before it needs this

        wanted = versions(networks) if self._forward else frozenset[int]()
        stored = self._database.value(_FORWARDING)
        found = await self._kernel.run(self._jobs.examine_forwarding, stored, wanted)
        if not found.blocks:
            self._database.delete_value(_FORWARDING)
        elif found.encoded != stored:
            self._database.set_value(_FORWARDING, found.encoded)
        return found

    async def _enable_forwarding(self, network: Network) -> None:
        """Have the host forward for a network that was made just now, if it does not yet."""
        from wherry.network.kernel_state.ip_forward import is_missing, versions  # noqa: PLC0415

        if self._forward and is_missing(versions([network])):
            try:
                await self._repair()
            except WherryError as exc:
                _log.warning("the host does not forward for a new network network=%s error=%s", network.name, exc)

    def _networks(self) -> Sequence[Network]:
        return list(self._store.networks.values())

    def _all_pair_rules(self) -> list[PairRule]:
        for owner, sandbox in self._sandboxes.items():
            sandbox.reply_masquerades = self._store.reply_masquerades_of(owner)
        self._link_rules = self._store.link_rules()
        return [*self._link_rules, *(rule for one in self._sandboxes.values() for rule in one.reply_masquerades)]

    async def update_pair_rules(self, sandbox: Sandbox) -> None:
        """Change the firewall's rules between endpoints, after those of an owner, or its ports, have changed.

        :raises SystemCallError: the kernel refuses.
        """
        before: frozenset[PairRule] = sandbox.reply_masquerades | self._link_rules
        sandbox.reply_masquerades = self._store.reply_masquerades_of(sandbox.owner)
        self._link_rules = self._store.link_rules()
        after: frozenset[PairRule] = sandbox.reply_masquerades | self._link_rules
        if before != after:
            await self._run_or_repair(
                self._kernel.run(self._jobs.change_pair_rules, before - after, after - before), None
            )

    def _attachments(self) -> Sequence[Attachment]:
        from wherry.network.kernel_state.sync import Attachment  # noqa: PLC0415 - the daemon answers before it needs this

        found = []
        for owner, sandbox in self._sandboxes.items():
            gateways = self._store.routes_of(owner)
            for each in self._store.of_owner(owner).values():
                found.append(Attachment(self._store.networks[each.network_id], each, sandbox.fileno(), gateways))
        for spare in (*self._spares(), *self._sandboxes.values()):
            if spare.prepared_endpoint is not None:
                each = self._store.endpoints[spare.prepared_endpoint]
                network = self._store.networks[each.network_id]
                found.append(Attachment(network, each, spare.fileno(), gateways_of([each])))
        return found

    # --- changes of the store are made in the kernel

    async def create_network(self, network: Network) -> None:
        """Create what a network consists of.

        :raises InvalidInput: a name or a parent makes it impossible.
        :raises SystemCallError: the kernel refuses.
        """
        await self._run_or_repair(self._kernel.run(self._jobs.create_network, network), None)

    async def network_created(self, network: Network) -> None:
        """Watch over a network from now on, and have the host forward for it."""
        self._store.network_created(network)
        await self._enable_forwarding(network)

    async def remove_network(self, network: Network) -> None:
        """Let the firewall forget a network, and begin to remove what it consists of.

        :raises SystemCallError: the kernel refuses.
        """
        if not self._leaves_interface(network):
            await self._kernel.run(self._jobs.remove_network, network)
            self._removals.begin(network)

    def remove_network_later(self, network: Network) -> None:
        """Remove what a network consists of, in the background."""
        if not self._leaves_interface(network):
            self._run_later(lambda: self._jobs.remove_network(network))
            self._removals.begin(network)

    async def removed(self) -> None:
        """Wait until the interfaces of removed networks are gone, too, and their names and addresses are free."""
        await self._removals.finished()

    def _leaves_interface(self, network: Network) -> bool:
        """Whether all that a removed network consists of goes on to be used by other ones."""
        return driver_of(network).shares_interface and bool(self._store.on_interface(network.bridge))

    async def create_namespace(self) -> Fd:
        """Create an empty network namespace."""
        return await self._kernel.run(self._jobs.create_namespace)

    async def create_spare(self, network: Network, endpoint: Endpoint) -> Fd:
        """Create a network namespace with an endpoint in it."""
        return await self._kernel.run(self._jobs.create_spare, network, endpoint, gateways_of([endpoint]))

    async def create_endpoint(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> Endpoint:
        """Create an endpoint's interface, routes and firewall elements.

        :returns: the endpoint, whose interface may have got another name.
        :raises InvalidInput: the request of an interface's name or a sysctl cannot be granted.
        :raises SystemCallError: the kernel refuses.
        """
        gateways = self._store.routes_of(sandbox.owner)
        job = self._kernel.run(self._jobs.create_endpoint, network, endpoint, sandbox.fileno(), gateways)
        return await self._run_or_repair(job, endpoint)

    async def publish(self, network: Network, before: Endpoint, after: Endpoint) -> None:
        """Publish the ports of an endpoint, in place of those that it had before.

        :raises SystemCallError: the kernel refuses.
        """
        await self._run_or_repair(self._kernel.run(self._jobs.publish, network, before, after), None)

    async def remove_endpoint(
        self, sandbox: Sandbox, network: Network, endpoint: Endpoint, gateways: Gateways | None
    ) -> None:
        """Remove an endpoint's interface and firewall elements.

        :param gateways: the sandbox's default routes from now on; None: they stay.
        :raises SystemCallError: the kernel refuses.
        """
        await self._kernel.run(self._jobs.remove_endpoint, network, endpoint, sandbox.fileno(), gateways)

    def remove_endpoint_later(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> None:
        """Remove an endpoint's interface and firewall elements, in the background."""
        self._run_later(lambda: self._jobs.remove_endpoint(network, endpoint, sandbox.fileno(), None))

    # --- after a kill

    def forget(self, endpoint: Endpoint) -> None:
        """Forget an endpoint before the start, which takes it out of the kernel."""
        self._store.drop(endpoint)
        if not endpoint.host_interface:  # nothing of it is in the host: the start does not see it
            self._forgotten.setdefault(endpoint.owner, []).append(endpoint.interface)

    async def complete(self, sandbox: Sandbox) -> None:
        """Remove forgotten interfaces from the inside of a sandbox, and set its routes as the store has them."""
        await self.ready()
        gateways = self._store.routes_of(sandbox.owner)
        left = self._forgotten.pop(sandbox.owner, [])
        await self._kernel.run(self._jobs.complete, sandbox.fileno(), left, gateways)

    # --- jobs in the background

    def _run_later(self, job: Callable[[], None]) -> None:
        """Run a job in the helper thread, in the background."""
        self._kernel.submit(job).add_done_callback(_report)

    def release_later(self, sandbox: Sandbox, left: Sequence[tuple[Network, Endpoint]]) -> None:
        """Release a sandbox with its endpoints, in the background."""
        if self._starting is None:  # that makes the kernel equal to the store, which does not have them any more
            sandbox.close()
            return
        before, self._link_rules = self._link_rules, self._store.link_rules()
        self._jobs.queue_release(sandbox, left, sandbox.reply_masquerades | (before - self._link_rules))
        self._run_later(self._jobs.flush_released)
        names = [endpoint.host_interface for _, endpoint in left if endpoint.host_interface]
        if names:
            self._delete_links_later(names)

    def _delete_links_later(self, names: Sequence[str]) -> None:
        """Links go with their namespace, unless another process holds that: look again a little later, for many."""
        self._released_links.append((asyncio.get_running_loop().time() + _LINK_CHECK_DELAY, names))
        if self._link_timer is None:
            self._check_links_later()

    def _check_links_later(self) -> None:
        self._link_timer = asyncio.get_running_loop().call_later(
            _LINK_CHECK_DELAY + _LINK_CHECK_PAUSE, self._check_links
        )

    def _check_links(self) -> None:
        now = asyncio.get_running_loop().time()
        due: list[str] = []
        while self._released_links and self._released_links[0][0] <= now:
            due += self._released_links.popleft()[1]
        self._run_later(lambda: self._jobs.delete_links(due))
        self._link_timer = None
        if self._released_links:
            self._check_links_later()

    # --- the end

    async def stop(self) -> None:
        """Stop the monitor and the proxy."""
        await self.ready()
        await self._removals.finished()
        if self._monitor is not None:
            await self._monitor.close()
            self._monitor = None
        if self._proxy6 is not None:
            await self._proxy6.close()
            self._proxy6 = None

    async def remove_everything(self) -> Sequence[str]:
        """Remove all interfaces and tables of this engine's, and switch forwarding off again.

        :returns: what stays and why, in sentences.
        """
        forwarding = await self._kernel.run(self._jobs.examine_forwarding, self._database.value(_FORWARDING), ())
        users = await self._kernel.run(self._jobs.remove_everything, self._networks(), forwarding)
        if not users:
            self._database.delete_value(_FORWARDING)
            return []
        sentence = (
            f"forwarding stays on, because other programs have made {', '.join(users)} since wherry switched it on; "
            f"so the nftables table inet {self._kernel.alias} stays, too, which keeps the host's other interfaces apart"
        )
        _log.warning("networks: %s", sentence)
        return [sentence]

    async def close(self) -> None:
        """Wait for all jobs, and close the sockets."""
        if self._link_timer is not None:
            self._link_timer.cancel()
        await self._kernel.close()


def _report(future: asyncio.Future[None]) -> None:
    """Log the failure of a job in the background."""
    if not future.cancelled() and (exc := future.exception()) is not None:
        _log.warning("networks: background job failed", exc_info=exc)
