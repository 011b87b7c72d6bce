"""The table of drivers; `wherry.network.drivers.contract` says what a new one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.errors import Forbidden, NotFound
from wherry.network.drivers.bridge import BridgeDriver
from wherry.network.drivers.contract import Driver
from wherry.network.drivers.dummy import DummyDriver
from wherry.network.drivers.ipvlan import IpvlanDriver
from wherry.network.drivers.macvlan import MacvlanDriver
from wherry.network.drivers.predefined import HostDriver, NullDriver

if TYPE_CHECKING:
    from wherry.network.kernel_thread import Kernel
    from wherry.network.model import Network

__all__ = ["DRIVERS", "driver_of", "find_driver"]

DRIVERS: Final[dict[str, Driver]] = {
    "bridge": BridgeDriver(),
    "macvlan": MacvlanDriver(),
    "ipvlan": IpvlanDriver(),
    "dummy": DummyDriver(),
    "host": HostDriver(),
    "null": NullDriver(),
}
_NO_SWARM: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


class _Missing(Driver):
    """Stands for the driver of a network that another version has made: it is kept, and nothing is done with it."""

    joinable = False

    def create(self, kernel: Kernel, network: Network) -> None:
        """Say what is missing."""
        raise _not_found(network.driver)


_MISSING: Final = _Missing()


def driver_of(network: Network) -> Driver:
    """The driver of a network that there is."""
    return DRIVERS.get(network.driver, _MISSING)


def find_driver(name: str) -> Driver:
    """The driver that a request names.

    :raises NotFound: there is none of that name.
    :raises Forbidden: only a swarm has it.
    """
    found = DRIVERS.get(name)
    if name == "overlay":
        raise Forbidden(_NO_SWARM)
    if found is None:
        raise _not_found(name)
    return found


def _not_found(name: str) -> NotFound:
    return NotFound(f'could not find plugin {name} in v1 plugin registry: plugin "{name}" not found')
