"""Interfaces of removed networks go in the background, some at once.

To remove a bridge takes the kernel 40 milliseconds, most of them with its lock of all links held, in which it waits
until no processor looks at the bridge any more; each one more in the same request takes half of that. A client that
removes networks one after the other does not wait for it: what he sees of a network is gone before. Who makes one waits
for those that are going, as their names and addresses are still taken. A daemon that is killed meanwhile removes what
is left when it starts, as interfaces that belong to nothing.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from wherry.errors import SystemCallError
from wherry.linux import rtnetlink
from wherry.network.drivers.table import driver_of
from wherry.network.kernel_thread import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.network.model import Network

__all__ = ["Removals"]

_log: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 8  # between two requests others get the kernel's lock
_GROUP: Final = 0x77686772  #: of links, and of nobody else's; what is in it, of whichever daemon, is to be removed


class Removals:
    """The networks whose interfaces are going.

    :param alias: the ifalias of our interfaces.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._waiting: list[Network] = []
        self._task: asyncio.Task[None] | None = None
        self._begun = self._ended = 0  # networks
        self._progress = asyncio.Event()  # set when some have ended; another one follows it

    def begin(self, network: Network) -> None:
        """Have a network's interface removed, unless it is the host's; what the firewall knew of it is gone."""
        if network.borrowed:
            return
        self._waiting.append(network)
        self._begun += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def finished(self) -> None:
        """Wait until all that have begun by now are removed, or have failed to be."""
        last = self._begun
        while self._ended < last:
            await self._progress.wait()

    async def _run(self) -> None:
        kernel = Kernel(self._alias)  # a thread and a socket of its own: other jobs do not wait
        try:
            while self._waiting:
                networks, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                try:
                    await kernel.run(_remove, kernel, networks)
                except Exception as exc:  # whoever waits must hear that it is over: there may be no thread
                    _log.warning("cannot remove interfaces networks=%s error=%s", [one.id for one in networks], exc)
                finally:
                    self._ended += len(networks)
                    self._progress.set()
                    self._progress = asyncio.Event()
        finally:
            self._task = None
            with suppress(RuntimeError):  # it never had a thread
                await kernel.close()


def _remove(kernel: Kernel, networks: Sequence[Network]) -> None:
    numbers = []
    for network in networks:
        with _logged(network.bridge):
            number = driver_of(network).remove(kernel, network)
            if number is not None:
                numbers.append(number)
    with _logged(", ".join(map(str, numbers))):
        if len(numbers) == 1:
            kernel.route.request(rtnetlink.delete_link(*numbers))
        elif numbers:
            _remove_together(kernel, numbers)


def _remove_together(kernel: Kernel, numbers: Sequence[int]) -> None:
    for number in numbers:
        with _logged(str(number)):
            kernel.route.request(rtnetlink.set_link(number, group=_GROUP))
    kernel.route.request(rtnetlink.delete_group(_GROUP))


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log what the kernel refuses; that something is gone already is no error."""
    try:
        yield
    except SystemCallError as exc:
        if exc.errno != errno.ENODEV:
            _log.warning("cannot remove an interface interface=%s error=%s", what, exc)
