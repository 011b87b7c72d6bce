"""Sandboxes kept warm, complete with an endpoint, for the next starts.

For the default bridge there are always some. For another network there are as many as containers were started on it in
the last seconds, and none any more when there was no start for a while: what waits holds an address. Who asks for just
that address, for the last one, or for the network's removal gets it: then those that wait are taken apart first.

A namespace alone, without an endpoint, waits for starts on networks that have no other yet.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from wherry.errors import SystemCallError
from wherry.network.drivers.table import driver_of
from wherry.network.model import DEFAULT_BRIDGE, EndpointRequest
from wherry.network.sandbox import Sandbox
from wherry.network.sandbox_pool import SandboxPool

if TYPE_CHECKING:
    from wherry.network.kernel_state.reconciler import Reconciler
    from wherry.network.kernel_thread import Kernel
    from wherry.network.model import Network
    from wherry.network.store import NetworkStore

__all__ = ["IDLE", "WarmSandboxes", "is_plain"]

IDLE: Final = 10.0
"""Seconds without a start on a network, other than the default bridge, after which nothing waits for the next one."""
_EMPTY: Final = 1  # without an endpoint
_MOST_NETWORKS: Final = 4  # besides the default bridge


def is_plain(request: EndpointRequest) -> bool:
    """Whether an endpoint that was made in advance is as good as any for a request."""
    special = (
        request.ipv4,
        request.ipv6,
        request.link_local,
        request.mac,
        request.driver_options,
        request.without_ipv6,
    )
    return not any(special)


class WarmSandboxes:
    """Warm sandboxes for every start.

    :param size: how many to keep for a network at most; 0: none at all.
    """

    def __init__(self, kernel: Kernel, store: NetworkStore, reconciler: Reconciler, size: int) -> None:
        self._kernel = kernel
        self._store = store
        self._reconciler = reconciler
        self._size = size
        self._default: Final = SandboxPool(partial(self._make, DEFAULT_BRIDGE), size)
        self._empty: Final = SandboxPool(self.make_empty, min(size, _EMPTY))
        self._others: Final[dict[str, SandboxPool]] = {}
        """By the network's ID, the one that was used last at the end."""
        self._ends: Final[dict[str, asyncio.TimerHandle]] = {}
        self._dropping: Final[set[asyncio.Task[None]]] = set()
        self._closed = False

    @property
    def spares(self) -> tuple[Sandbox, ...]:
        """Those that wait."""
        pools = (self._default, *self._others.values(), self._empty)
        return tuple(sandbox for pool in pools for sandbox in pool.spares)

    def take(self, network: Network | None, request: EndpointRequest | None) -> Sandbox | None:
        """Hand one out, if there is one; another is made in its place.

        :param network: that its owner is going to be connected to first, with this request.
        """
        if network is not None and network.is_default_bridge:
            return self._default.take()
        found = None
        if network is not None and request is not None and self._may_wait(network) and is_plain(request):
            found = self._pool_of(network).take()
        return found or self._empty.take()

    def _may_wait(self, network: Network) -> bool:
        return self._size > 0 and not self._closed and driver_of(network).keeps_warm(network)

    def refill(self) -> None:
        """See that soon there are enough for the default bridge."""
        self._default.refill()

    def _pool_of(self, network: Network) -> SandboxPool:
        """The pool of a network that a container is started on; it becomes larger with each start."""
        pool = self._others.pop(network.id, None) or SandboxPool(partial(self._make, network.id), 0)
        if len(self._others) >= _MOST_NETWORKS:
            self._drop_later(next(iter(self._others)))
        self._others[network.id] = pool
        pool.size = min(pool.size + 1, self._size)
        if network.id in self._ends:
            self._ends[network.id].cancel()
        self._ends[network.id] = asyncio.get_running_loop().call_later(IDLE, self._drop_later, network.id)
        return pool

    def _drop_later(self, network_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self.drop(network_id))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def drop(self, network_id: str) -> None:
        """Take apart what waits for a network other than the default bridge; there is nothing of it when this ends."""
        while (pool := self._others.pop(network_id, None)) is not None:
            self._ends.pop(network_id).cancel()
            self._release(await pool.close())

    async def close(self) -> None:
        """Take all apart, and make no more."""
        self._closed = True
        for network_id in tuple(self._others):
            await self.drop(network_id)
        while self._dropping:
            await asyncio.wait(self._dropping)
        self._release((*await self._default.close(), *await self._empty.close()))

    def _release(self, sandboxes: tuple[Sandbox, ...]) -> None:
        for sandbox in sandboxes:
            if sandbox.prepared_endpoint is None:
                sandbox.close()
                continue
            prepared = self._store.endpoints[sandbox.prepared_endpoint]
            self._store.drop(prepared)
            self._reconciler.release_later(sandbox, [(self._store.networks[prepared.network_id], prepared)])

    async def make_empty(self) -> Sandbox:
        """Make one without an endpoint."""
        return Sandbox(self._kernel, await self._reconciler.create_namespace(), "", "")

    async def _make(self, reference: str) -> Sandbox:
        network = self._store.find(reference)
        endpoint = self._store.draft(network, "", "", EndpointRequest())
        try:
            sandbox = Sandbox(self._kernel, await self._reconciler.create_spare(network, endpoint), "", "")
            if not network.is_default_bridge:  # on which no names are looked up
                with suppress(SystemCallError):  # the start tries it again, and says why not
                    await sandbox.prepare_dns()
        except BaseException:
            self._store.release_draft(endpoint)
            raise
        self._store.add(endpoint)
        self._store.endpoint_created(endpoint)
        sandbox.prepared_endpoint = endpoint.id
        return sandbox
