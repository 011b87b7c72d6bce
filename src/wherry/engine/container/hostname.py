"""The name that a container has in its UTS namespace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.engine.container.names import short

if TYPE_CHECKING:
    from wherry.engine.container.container import Container

__all__ = ["hostname_of"]


def hostname_of(container: Container) -> str:
    """The name that the container has in its UTS namespace."""
    if container.config.hostname:
        return container.config.hostname
    if container.host.network_mode == "host" or container.host.uts_mode == "host":
        return os.uname().nodename
    return short(container.id)
