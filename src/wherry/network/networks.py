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

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wherry.network.model import Endpoint, Network, NetworkRequest, NetworkSettings, Wishes
    from wherry.network.sandbox import Sandbox

__all__ = ["Networks"]


class Networks(Protocol):
    """The signatures of `Networks`, until it is there."""

    warning: str | None
    """Why there is no default bridge here (no nf_tables, bridge or veth), as one sentence; None when all is well."""

    @classmethod
    def open(cls, settings: NetworkSettings) -> Networks:
        """Read the tables.

        :raises CorruptData: the database is damaged.
        :raises InvalidInput: an option makes no sense (``bip``, ``default-address-pools`` ...).
        """

    def adopt(self, owner: str, owner_name: str, pid: int) -> Sandbox:
        """Take over the sandbox of an owner that was running before this daemon was; before `start`.

        :param pid: any process of its.
        :raises SystemCallError: there is no such process.
        """

    def start(self) -> None:
        """Begin, in the background, to make the kernel equal to the tables.

        Endpoints whose owner was not adopted are released.
        """

    async def ready(self) -> None:
        """Wait until that has happened once."""

    # --- networks

    async def create(self, request: NetworkRequest) -> Network:
        """Make a network.

        :raises InvalidInput: malformed (400).
        :raises Conflict: the name is taken: ``network with name X already exists`` (409).
        :raises Forbidden: pools overlap or are exhausted, or the name is a built-in one's (403).
        :raises NotFound: no such driver (404).
        """

    def get(self, reference: str) -> Network:
        """Find a network by ID, by name or by a unique beginning of its ID, in this order.

        :raises NotFound: ``network X not found``.
        :raises InvalidInput: ``network X is ambiguous (2 matches found on ID prefix)``.
        """

    def list(self) -> Sequence[Network]:
        """All networks, in the order in which they were made; ``bridge``, ``host`` and ``none`` among them."""

    async def remove(self, reference: str) -> Network:
        """Remove a network.

        :raises NotFound: there is none.
        :raises Forbidden: it is built in, or has active endpoints.
        """

    def endpoints(self, network_id: str) -> Sequence[Endpoint]:
        """The endpoints on a network."""

    def endpoints_of(self, owner: str) -> Sequence[Endpoint]:
        """The endpoints of an owner, the one with the default route first."""

    # --- owners

    async def take(self, owner: str, owner_name: str, first: Network | None = None) -> Sandbox:
        """Hand out a sandbox: a network namespace with loopback up and nothing else to see.

        :param first: the network that will be connected first: for the default bridge some are ready to be claimed.
        :returns: its ``path`` is what the runtime joins.
        """

    def sandbox(self, owner: str) -> Sandbox | None:
        """The sandbox that an owner has."""

    async def connect(self, sandbox: Sandbox, network: Network, wishes: Wishes) -> Endpoint:
        """Give an owner a place on a network, also while it runs.

        :raises Forbidden: no address is free, or the one wished for is taken (``Address already in use``), or it is
            on that network already.
        :raises InvalidInput: a wish that this network cannot fulfil.
        :raises SystemFault: a port is taken; the sentence names the holder.
        """

    async def disconnect(self, sandbox: Sandbox, network_id: str, *, force: bool = False) -> Endpoint:
        """Take an owner's place on a network away; the default route moves to the next.

        :param force: carry on when the kernel refuses; the place is gone afterwards in any case.
        :raises NotFound: it has none there.
        """

    async def release(self, owner: str) -> None:
        """The owner's process is gone: addresses, ports, links and the sandbox go back; again, it has no effect."""

    def rename(self, owner: str, owner_name: str) -> None:
        """The owner has another name now, which messages and endpoints show."""

    # --- the end

    async def close(self) -> None:
        """Let go; what runs goes on, and keeps its network."""

    async def shutdown(self) -> None:
        """Remove every bridge, link and table of this engine's from the kernel; definitions stay."""
