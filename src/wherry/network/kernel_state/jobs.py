"""The jobs of the helper thread, each one whole: what the facade asks for and does not wait to see done in parts."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from wherry.errors import SystemCallError
from wherry.linux import rtnetlink
from wherry.network.drivers.table import driver_of
from wherry.network.kernel_state import endpoints, ip_forward, sync
from wherry.network.kernel_state.publish import publish, unpublish
from wherry.network.kernel_state.sync import Attachment, Failures

if TYPE_CHECKING:
    from wherry.linux.fd import Fd
    from wherry.network.firewall.elements import PairRule
    from wherry.network.kernel_state.ip_forward import Forwarding
    from wherry.network.kernel_thread import Kernel
    from wherry.network.model import Endpoint, Gateways, Network
    from wherry.network.sandbox import Sandbox

__all__ = ["Jobs"]

_log: Final = logging.getLogger(__name__)


class Jobs:
    """What the helper thread does for the reconciler; `queue_release` may be called in any thread."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._released: SimpleQueue[tuple[Sandbox, Sequence[tuple[Network, Endpoint]], frozenset[PairRule]]] = (
            SimpleQueue()
        )

    # --- networks

    def create_network(self, network: Network) -> None:
        """Make a network and let the firewall know."""
        driver = driver_of(network)
        driver.create(self._kernel, network)
        rules = driver.network_rules(network)
        if rules is not None and not self._kernel.has_no_firewall:
            self._kernel.firewall.add_bridge(rules)

    def remove_network(self, network: Network) -> None:
        """Let the firewall forget a network, and give an interface of the host's back; what is gone is no error."""
        driver = driver_of(network)
        rules = driver.network_rules(network)
        if rules is not None and not self._kernel.has_no_firewall:
            self._kernel.firewall.remove_bridge(rules)
        link = driver.remove(self._kernel, network) if network.borrowed else None
        if link is not None:
            self._kernel.route.request(rtnetlink.delete_link(link))

    # --- sandboxes and endpoints

    def create_namespace(self) -> Fd:
        """Make a network namespace."""
        return endpoints.create_namespace(self._kernel)

    def create_spare(self, network: Network, endpoint: Endpoint, gateways: Gateways) -> Fd:
        """Make a network namespace with an endpoint in it."""
        namespace = endpoints.create_namespace(self._kernel)
        try:
            endpoints.create(self._kernel, network, endpoint, namespace.fileno(), gateways)
        except BaseException:
            namespace.close()
            raise
        return namespace

    def create_endpoint(self, network: Network, endpoint: Endpoint, namespace: int, gateways: Gateways) -> Endpoint:
        """Make an endpoint's interface, with all that belongs to it."""
        return endpoints.create(self._kernel, network, endpoint, namespace, gateways)

    def publish(self, network: Network, before: Endpoint, after: Endpoint) -> None:
        """Publish other ports than before."""
        if before.published:
            unpublish(self._kernel, [(network, before)])
        publish(self._kernel, network, after)

    def change_pair_rules(self, gone: Iterable[PairRule], new: Iterable[PairRule]) -> None:
        """Change the firewall's rules between two endpoints."""
        if not self._kernel.has_no_firewall:
            self._kernel.firewall.change_pair_rules(gone, new)

    def remove_endpoint(self, network: Network, endpoint: Endpoint, namespace: int, gateways: Gateways | None) -> None:
        """Take an endpoint's interface away.

        :param gateways: where the default routes lead from now on; None: they stay.
        """
        try:
            endpoints.remove(self._kernel, network, endpoint, namespace)
        finally:
            if gateways is not None:
                endpoints.set_gateways(self._kernel, namespace, gateways)

    def complete(self, namespace: int, left: Sequence[str], gateways: Gateways) -> None:
        """Remove interfaces inside a sandbox, and let its default routes lead elsewhere."""
        with self._kernel.inside(namespace) as conversation:
            for name in left:
                endpoints.delete_link(conversation, name)
        endpoints.set_gateways(self._kernel, namespace, gateways)

    def queue_release(
        self, sandbox: Sandbox, left: Sequence[tuple[Network, Endpoint]], gone: frozenset[PairRule]
    ) -> None:
        """Add a released sandbox to those that `flush_released` works on; in any thread."""
        self._released.put((sandbox, left, gone))

    def flush_released(self) -> None:
        """Remove all released endpoints from the firewall, in one transaction, and close their namespaces.

        Removing a veth takes tens of milliseconds; with its namespace the kernel removes it in the background.
        """
        sandboxes: list[Sandbox] = []
        left: list[tuple[Network, Endpoint]] = []
        pair_rules: set[PairRule] = set()
        while True:
            try:
                sandbox, mine, gone = self._released.get_nowait()
            except Empty:
                break
            sandboxes.append(sandbox)
            left += mine
            pair_rules |= gone
        try:
            unpublish(self._kernel, left)
            if pair_rules:
                self.change_pair_rules(pair_rules, ())
        except SystemCallError as exc:
            _log.warning("cannot remove endpoints from the firewall error=%s", exc)
        for sandbox in sandboxes:
            sandbox.close()

    def delete_links(self, names: Sequence[str]) -> None:
        """Remove links that are still there, because another process holds their namespace."""
        for name in names:
            with suppress(OSError):  # nearly all are gone, which this call finds out without a conversation
                socket.if_nametoindex(name)
                endpoints.delete_link(self._kernel.route, name)

    # --- everything

    def set_proxy6_port(self, port: int) -> None:
        """Have the firewall redirect packets to [::1] to the proxy; before `sync_kernel`.

        :param port: where the proxy listens; 0: nowhere.
        """
        self._kernel.firewall.proxy6_port = port

    def sync_kernel(
        self,
        networks: Sequence[Network],
        found: Sequence[Attachment],
        pair_rules: Sequence[PairRule],
        wanted: Forwarding,
        *,
        rebuild: bool,
        closed: bool,
    ) -> Failures:
        """Make the kernel equal to the tables.

        :param pair_rules: rules between two endpoints.
        :param wanted: what the host is to forward.
        :param closed: what wherry has the host forward, it forwards for networks of wherry's only.
        """
        if not self._kernel.has_no_firewall:
            self._kernel.firewall.forward_blocks = wanted.blocks if closed else ()
        return sync.sync_kernel(self._kernel, networks, found, pair_rules, wanted, rebuild=rebuild)

    def examine_forwarding(self, stored: str | None, wanted: Collection[int]) -> Forwarding:
        """Look what has to be switched on; see `wherry.network.kernel_state.ip_forward`."""
        return ip_forward.examine(self._kernel, stored, wanted)

    def remove_everything(self, networks: Sequence[Network], forwarded: Forwarding) -> tuple[str, ...]:
        """Remove all interfaces and tables of this engine's; see `sync`."""
        return sync.remove_everything(self._kernel, networks, forwarded)
