"""All services, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.api.buildkit.builds import Bridges
from wherry.api.buildkit.control import Control
from wherry.api.buildkit.gateway import Gateway
from wherry.api.buildkit.grpc import Server
from wherry.api.buildkit.sessions import Sessions
from wherry.api.buildkit.status_errors import as_grpc
from wherry.api.buildkit.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wherry.build.model.service import BuildService
    from wherry.oci.platform import Platform

__all__ = ["Services"]


class Services:
    """What clients can ask for.

    :param platforms: what is built for, this machine's own first.
    :param gateway: the host's address, as steps reach it.
    :param devices: the names of devices that a step may ask for.
    """

    def __init__(
        self,
        builds: BuildService,
        platforms: Callable[[], Sequence[Platform]],
        gateway: Callable[[], str],
        devices: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        bridges = Bridges(builds)
        workers = Workers(platforms, gateway, devices)
        self.sessions = Sessions(builds)
        control = Control(builds, bridges, workers, self.sessions.tunnel)
        self.accept = Server(control.methods() | Gateway(bridges, workers).methods(), as_grpc, builds.ready).accept
