"""What a driver of networks does: the contract of `wherry.network.bridge`, `macvlan` and `dummy`.

A driver keeps nothing in memory. Its methods are called in the helper thread (`wherry.network.kernel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from wherry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from wherry.linux.netlink import Message
    from wherry.network.kernel import Kernel
    from wherry.network.model import Endpoint, Network

__all__ = ["DRIVERS", "Driver", "check_interface_name", "driver_of", "is_true"]

DRIVERS = ("bridge", "macvlan", "dummy", "host", "null")
"""All that a network may have; of the last two there is one network each."""


class Driver(Protocol):
    """How the networks of one kind are made of interfaces."""

    def check(self, network: Network) -> Network:
        """Read the options of a network to be made.

        :returns: the network with its interface's name filled in.
        :raises InvalidInput: an option's value makes no sense.
        """

    def make(self, kernel: Kernel, network: Network) -> None:
        """Make what a network consists of, as far as it is missing or was changed.

        :raises InvalidInput: a name or a parent makes it impossible.
        :raises SystemCallError: the kernel refuses.
        """

    def remove(self, kernel: Kernel, network: Network) -> None:
        """Remove what a network consists of; what is gone already is no error."""

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """What to ask the kernel for so that an endpoint's interface appears, down, in a namespace."""


def driver_of(name: str) -> Driver:
    """Find a driver.

    :raises NotFound: there is none of that name.
    """
    from wherry.network import bridge, dummy, macvlan  # noqa: PLC0415 - they know this module

    match name:
        case "bridge":
            return bridge.BridgeDriver()
        case "macvlan":
            return macvlan.MacvlanDriver()
        case "dummy":
            return dummy.DummyDriver()
    raise NotFound(f'could not find plugin {name} in v1 plugin registry: plugin "{name}" not found')


def check_interface_name(name: str) -> None:
    """Check a name for an interface; see dev_valid_name in the kernel.

    :raises InvalidInput: the kernel would not take it.
    """
    if not name or len(name.encode()) > 15 or name in (".", "..") or any(c in "/:%\0" or c.isspace() for c in name):
        hint = "at most 15 bytes, without slash, colon, percent sign and space"
        raise InvalidInput(f"invalid interface name {name!r}", hint=hint)


def is_true(options: Mapping[str, str], name: str, default: bool) -> bool:
    """A switch among the options, in the words that Go's ParseBool knows.

    :raises InvalidInput: another word.
    """
    text = options.get(name, "")
    if not text:
        return default
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise InvalidInput(f"invalid value for driver option {name}: {text!r} is neither true nor false")
