"""The jobs of the helper thread, each one whole: what the facade asks for and does not wait to see done in parts."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from wherry.errors import SystemCallError
from wherry.network import forwarding, places, restore
from wherry.network.bridge import bridge_rules
from wherry.network.drivers import driver_of
from wherry.network.restore import Place

if TYPE_CHECKING:
    from wherry.linux.fd import Fd
    from wherry.network.forwarding import Forwarding
    from wherry.network.kernel import Kernel
    from wherry.network.model import Endpoint, Gateways, Network
    from wherry.network.sandbox import Sandbox

__all__ = ["Work"]

_log: Final = logging.getLogger(__name__)


class Work:
    """Jobs; all methods are for the helper thread, but `leave_later`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._leaving: SimpleQueue[tuple[Sandbox, Sequence[tuple[Network, Endpoint]]]] = SimpleQueue()

    # --- networks

    def make_network(self, network: Network) -> None:
        """Make a network and let the firewall know."""
        driver_of(network.driver).make(self._kernel, network)
        if network.driver == "bridge" and not self._kernel.has_no_firewall:
            self._kernel.firewall.add_bridge(bridge_rules(network))

    def remove_network(self, network: Network) -> None:
        """Remove a network; what is gone already is no error."""
        if network.driver == "bridge" and not self._kernel.has_no_firewall:
            self._kernel.firewall.remove_bridge(bridge_rules(network))
        driver_of(network.driver).remove(self._kernel, network)

    # --- sandboxes and places

    def make_namespace(self) -> Fd:
        """Make a network namespace."""
        return places.make_namespace(self._kernel)

    def make_spare(self, network: Network, endpoint: Endpoint, gateways: Gateways) -> Fd:
        """Make a network namespace with an endpoint in it."""
        namespace = places.make_namespace(self._kernel)
        try:
            places.establish(self._kernel, network, endpoint, namespace.fileno(), gateways)
        except BaseException:
            namespace.close()
            raise
        return namespace

    def establish(self, network: Network, endpoint: Endpoint, namespace: int, gateways: Gateways) -> Endpoint:
        """Make an endpoint's interface, with all that belongs to it."""
        return places.establish(self._kernel, network, endpoint, namespace, gateways)

    def publish(self, network: Network, before: Endpoint, after: Endpoint) -> None:
        """Publish other ports than before."""
        if before.published:
            places.conceal(self._kernel, [(network, before)])
        places.expose(self._kernel, network, after, after.published)

    def leave(self, network: Network, endpoint: Endpoint, namespace: int, gateways: Gateways | None) -> None:
        """Take an endpoint's interface away.

        :param gateways: where the default routes lead from now on; None: they stay.
        """
        try:
            places.remove(self._kernel, network, endpoint, namespace)
        finally:
            if gateways is not None:
                places.set_gateways(self._kernel, namespace, gateways)

    def complete(self, namespace: int, left: Sequence[str], gateways: Gateways) -> None:
        """Remove interfaces inside a sandbox, and let its default routes lead elsewhere."""
        with self._kernel.inside(namespace) as conversation:
            for name in left:
                places.delete_link(conversation, name)
        places.set_gateways(self._kernel, namespace, gateways)

    def leave_later(self, sandbox: Sandbox, left: Sequence[tuple[Network, Endpoint]]) -> None:
        """Note down who has left, for `let_go`; in any thread."""
        self._leaving.put((sandbox, left))

    def let_go(self) -> None:
        """Forget all who have left, in one transaction; their links vanish with their namespaces, soon.

        Removing a veth waits tens of milliseconds for the kernel; with its namespace it goes in the background.
        """
        sandboxes: list[Sandbox] = []
        left: list[tuple[Network, Endpoint]] = []
        while True:
            try:
                sandbox, mine = self._leaving.get_nowait()
            except Empty:
                break
            sandboxes.append(sandbox)
            left += mine
        try:
            places.conceal(self._kernel, left)
        except SystemCallError as exc:
            _log.warning("cannot take endpoints out of the firewall error=%s", exc)
        for sandbox in sandboxes:
            sandbox.close()

    def sweep(self, names: Sequence[str]) -> None:
        """Remove links that are still there, because somebody else holds their namespace."""
        for name in names:
            places.delete_link(self._kernel.route, name)

    # --- everything

    def forward_localhost6(self, port: int) -> None:
        """Have the firewall lead what is sent to [::1] to the daemon; before `restore`.

        :param port: where the daemon listens; 0: nowhere.
        """
        self._kernel.firewall.localhost6 = port

    def restore(
        self, networks: Sequence[Network], found: Sequence[Place], wanted: Forwarding, *, anew: bool, closed: bool
    ) -> list[str]:
        """Make the kernel equal to the tables.

        :param wanted: what the host is to forward.
        :param closed: what wherry has the host forward, it forwards for networks of wherry's only.
        :returns: what could not be done, in sentences.
        """
        if not self._kernel.has_no_firewall:
            self._kernel.firewall.closings = wanted.closings if closed else ()
        return restore.restore(self._kernel, networks, found, wanted, anew=anew)

    def examine_forwarding(self, word: str | None, wanted: Collection[int]) -> Forwarding:
        """Look what has to be switched on; see `wherry.network.forwarding`."""
        return forwarding.examine(self._kernel, word, wanted)

    def remove_everything(self, networks: Sequence[Network], forwarded: Forwarding) -> tuple[str, ...]:
        """Remove all interfaces and tables of this engine's; see `wherry.network.restore`."""
        return restore.remove_everything(self._kernel, networks, forwarded)
