"""The drivers ``host`` and ``null``, of the networks ``host`` and ``none``: containers on them have no endpoint."""

from __future__ import annotations

from wherry.network.drivers.contract import Driver

__all__ = ["HostDriver", "NullDriver"]


class HostDriver(Driver):
    """Containers are in the network namespace of the host."""

    single = True
    joinable = False


class NullDriver(Driver):
    """Containers have a network namespace with loopback only."""

    single = True
    joinable = False
