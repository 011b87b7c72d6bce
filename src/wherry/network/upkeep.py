"""The kernel is kept equal to the tables: from the start, through other programs' doings, to the end."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from wherry.errors import SystemCallError, WherryError
from wherry.network.book import Book, gateways_of
from wherry.network.kernel import Kernel
from wherry.network.sandbox import Sandbox

if TYPE_CHECKING:
    from wherry.network.forwarding import Forwarding
    from wherry.network.localhost6 import Localhost6
    from wherry.network.model import Endpoint, Network
    from wherry.network.restore import Place
    from wherry.network.state import State
    from wherry.network.watch import Watch
    from wherry.network.work import Work

__all__ = ["NOT_IN_KERNEL", "Upkeep"]

_log: Final = logging.getLogger(__name__)
_T = TypeVar("_T")
_START_DELAY: Final = 0.2  # seconds: the daemon answers first
_SWEEP_DELAY: Final = 1.0  # seconds; the kernel takes a tenth of that
_FORWARDING: Final = "forwarding"  # the word in the database

NOT_IN_KERNEL: Final = ("host", "null")
"""Drivers whose networks consist of nothing."""


class Upkeep:
    """Restores, watches, cleans up.

    :param sandboxes: those that have owners, by owner; read only.
    :param spares: gives those that have none.
    :param state: where is written down what was switched on in the host.
    :param forward: switch forwarding on in the host.
    :param closed: and keep it from forwarding for others.
    :ivar work: the jobs of the helper thread; there once `ready` has returned, because it takes time to import.
    :ivar warning: why there are no networks in the kernel, as one sentence; None when all is well.
    """

    work: Work

    def __init__(
        self,
        kernel: Kernel,
        book: Book,
        sandboxes: Mapping[str, Sandbox],
        spares: Callable[[], Iterable[Sandbox]],
        state: State,
        *,
        forward: bool,
        closed: bool,
    ) -> None:
        self.warning: str | None = None
        self._kernel = kernel
        self._book = book
        self._sandboxes = sandboxes
        self._spares = spares
        self._state = state
        self._forward = forward
        self._closed = closed
        self._starting: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._watch: Watch | None = None
        self._forwarder: Localhost6 | None = None
        self._forgotten: dict[str, list[str]] = {}  # interfaces inside, by owner
        self._sweeps: set[asyncio.TimerHandle] = set()

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
        from wherry.network.watch import Watch  # noqa: PLC0415 - the daemon answers before it needs these
        from wherry.network.work import Work  # noqa: PLC0415

        self.work = Work(self._kernel)
        try:
            await self._open_forwarder()
            failures = await self._restore(anew=True)
        except WherryError as exc:
            failures = [str(exc)]
        for failure in failures:
            _log.warning("networks: %s", failure)
        self.warning = failures[0] if failures else None
        self._watch = Watch(self._kernel, lambda: (self._book.links, self._book.gateways), self._repair)
        self._watch.start()
        then()

    async def _open_forwarder(self) -> None:
        """Listen for those who call a published port at [::1], which the kernel cannot translate."""
        from wherry.network.localhost6 import Localhost6  # noqa: PLC0415

        self._forwarder = Localhost6(self._book.target_at_localhost6)
        port = await self._forwarder.open()
        await self._kernel.run(self.work.forward_localhost6, port)

    # --- repair

    async def _repair(self) -> None:
        """Another program has changed something of ours."""
        for failure in await self._restore(anew=False):
            _log.warning("networks: %s", failure)

    async def told(self, job: Awaitable[_T], otherwise: _T) -> _T:
        """Wait until the kernel was told of something that is in the book already.

        Another program may have removed the tables, or a bridge, in this moment. Waiting for the events that tell of it
        would mean that a container does not start; so all that the book has is repaired at once.

        :param otherwise: what to return when that took a repair.
        :raises SystemCallError: the kernel refuses.
        """
        try:
            return await job
        except SystemCallError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            failures = await self._restore(anew=False)
            for failure in failures:
                _log.warning("networks: %s", failure)
            if failures:
                raise
            return otherwise

    async def _restore(self, *, anew: bool) -> Sequence[str]:
        forwarding = await self._note_forwarding(self._networks())
        # Both as the book has them now: what has gone while something was waited for would come back.
        networks, places = self._networks(), self._places()
        failures = await self._kernel.run(
            self.work.restore, networks, places, forwarding, anew=anew, closed=self._closed
        )
        if self._kernel.has_no_firewall:  # then nothing was switched on
            self._state.delete_word(_FORWARDING)
        if anew and not failures:
            for network in networks:
                self._book.network_made(network)
            for place in places:
                self._book.endpoint_made(place.endpoint)
        return failures

    async def _note_forwarding(self, networks: Sequence[Network]) -> Forwarding:
        """Write down what is about to be switched on in the host."""
        from wherry.network.forwarding import versions  # noqa: PLC0415 - the daemon answers before it needs this

        wanted = versions(networks) if self._forward else frozenset[int]()
        word = self._state.word(_FORWARDING)
        found = await self._kernel.run(self.work.examine_forwarding, word, wanted)
        if not found.closings:
            self._state.delete_word(_FORWARDING)
        elif found.word != word:
            self._state.set_word(_FORWARDING, found.word)
        return found

    async def let_forward(self, network: Network) -> None:
        """Have the host forward for a network that was made just now, if it does not yet."""
        from wherry.network.forwarding import is_missing, versions  # noqa: PLC0415

        if self._forward and is_missing(versions([network])):
            try:
                await self._repair()
            except WherryError as exc:
                _log.warning("the host does not forward for a new network network=%s error=%s", network.name, exc)

    def _networks(self) -> Sequence[Network]:
        return [network for network in self._book.networks.values() if network.driver not in NOT_IN_KERNEL]

    def _places(self) -> Sequence[Place]:
        from wherry.network.restore import Place  # noqa: PLC0415 - the daemon answers before it needs this

        found = []
        for owner, sandbox in self._sandboxes.items():
            gateways = self._book.routes_of(owner)
            for each in self._book.of_owner(owner).values():
                found.append(Place(self._book.networks[each.network_id], each, sandbox.fileno(), gateways))
        for spare in (*self._spares(), *self._sandboxes.values()):
            if spare.reserved is not None:
                each = self._book.endpoints[spare.reserved]
                network = self._book.networks[each.network_id]
                found.append(Place(network, each, spare.fileno(), gateways_of([each])))
        return found

    # --- what a kill cut short

    def forget(self, endpoint: Endpoint) -> None:
        """Forget an endpoint before the start, which takes it out of the kernel."""
        self._book.drop(endpoint)
        if not endpoint.host_interface:  # nothing of it is in the host: the start does not see it
            self._forgotten.setdefault(endpoint.owner, []).append(endpoint.interface)

    async def complete(self, sandbox: Sandbox) -> None:
        """Remove what was forgotten from the inside of a sandbox, and let its routes lead where the book says."""
        await self.ready()
        gateways = self._book.routes_of(sandbox.owner)
        left = self._forgotten.pop(sandbox.owner, [])
        await self._kernel.run(self.work.complete, sandbox.fileno(), left, gateways)

    # --- jobs that nobody waits for

    def later(self, job: Callable[[], None]) -> None:
        """Have the helper thread do something that nobody waits for."""
        self._kernel.submit(job).add_done_callback(_report)

    def depart(self, sandbox: Sandbox, left: Sequence[tuple[Network, Endpoint]]) -> None:
        """Have a sandbox and its places taken apart."""
        self.work.leave_later(sandbox, left)
        self.later(self.work.let_go)
        names = [endpoint.host_interface for _, endpoint in left if endpoint.host_interface]
        if names:
            self._sweep_later(names)

    def _sweep_later(self, names: Sequence[str]) -> None:
        """Links go with their namespace, unless somebody else holds that: look again a little later."""

        def sweep() -> None:
            self._sweeps.discard(timer)
            self.later(lambda: self.work.sweep(names))

        timer = asyncio.get_running_loop().call_later(_SWEEP_DELAY, sweep)
        self._sweeps.add(timer)

    # --- the end

    async def stop(self) -> None:
        """Watch no more."""
        await self.ready()
        if self._watch is not None:
            await self._watch.close()
            self._watch = None
        if self._forwarder is not None:
            await self._forwarder.close()
            self._forwarder = None

    async def remove_everything(self) -> Sequence[str]:
        """Remove all interfaces and tables of this engine's, and switch forwarding off again.

        :returns: what stays and why, in sentences.
        """
        forwarding = await self._kernel.run(self.work.examine_forwarding, self._state.word(_FORWARDING), ())
        users = await self._kernel.run(self.work.remove_everything, self._networks(), forwarding)
        if not users:
            self._state.delete_word(_FORWARDING)
            return []
        sentence = (
            f"forwarding stays on, because other programs have made {', '.join(users)} since wherry switched it on; "
            f"so the nftables table inet {self._kernel.mark} stays, too, which keeps the host's other interfaces apart"
        )
        _log.warning("networks: %s", sentence)
        return [sentence]

    async def close(self) -> None:
        """Wait for what was asked for, and let go."""
        for timer in self._sweeps:
            timer.cancel()
        self._sweeps.clear()
        await self._kernel.close()


def _report(future: asyncio.Future[None]) -> None:
    """The end of a job that nobody waits for."""
    if not future.cancelled() and (exc := future.exception()) is not None:
        _log.warning("networks: a job failed", exc_info=exc)
