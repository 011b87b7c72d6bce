"""The API's composition root: each object's routes get the part of the engine that they need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from wherry.api.buildkit.doors import Doors
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.routing import Route, Router
from wherry.api.http.server import Api
from wherry.api.routes.archive import ArchiveRoutes
from wherry.api.routes.attach import AttachRoutes
from wherry.api.routes.build_door import BuildDoor
from wherry.api.routes.build_history import BuildHistoryRoutes
from wherry.api.routes.checkpoints import CheckpointRoutes
from wherry.api.routes.commit import CommitRoutes
from wherry.api.routes.containers import ContainerRoutes
from wherry.api.routes.distribution import DistributionRoutes
from wherry.api.routes.events import EventRoutes
from wherry.api.routes.exec import ExecRoutes
from wherry.api.routes.grpc import GrpcRoutes
from wherry.api.routes.images import ImageRoutes
from wherry.api.routes.logs import LogRoutes
from wherry.api.routes.networks import NetworkRoutes
from wherry.api.routes.stats import StatsRoutes
from wherry.api.routes.storage import StorageRoutes
from wherry.api.routes.system import SystemRoutes
from wherry.api.routes.unsupported import UnsupportedRoutes
from wherry.api.routes.volume_copies import VolumeCopyRoutes
from wherry.api.routes.volumes import VolumeRoutes
from wherry.engine.build.emulation import emulated
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wherry.engine.engine import Engine

_EMULATED: Final = tuple(
    Platform("linux", *name.split("/")) for name in "amd64 arm64 arm/v7 riscv64 ppc64le s390x 386 loong64".split()
)


def make_api(engine: Engine, shut_down: Callable[[bool], Awaitable[Sequence[str]]]) -> Api:
    """Build the API over an engine; needs the running event loop.

    :param shut_down: asks the daemon to end, with every container if told so.
    """
    watch = HangupWatch(asyncio.get_running_loop())
    doors = Doors(engine.builds, _platforms, engine.networks.host_gateway, engine.device_names)
    return Api(Router(all_routes(engine, watch, shut_down, doors)), watch, doors)


def _platforms() -> list[Platform]:
    """What is built for: this machine's platform, and those that it has an emulator for."""
    host = Platform.host()
    return [host, *(one for one in _EMULATED if one != host and emulated(one))]


def all_routes(
    engine: Engine,
    watch: HangupWatch,
    shut_down: Callable[[bool], Awaitable[Sequence[str]]],
    doors: Doors | None = None,
) -> list[Route]:
    """Return every operation of the API, over the parts of an engine."""
    containers = engine.containers
    parts = (
        SystemRoutes(engine, shut_down, buildkit=doors is not None and engine.settings.buildkit),
        CheckpointRoutes(engine.checkpoints, engine.checkpoint_artifacts),
        ContainerRoutes(containers),
        ArchiveRoutes(engine.archives),
        LogRoutes(containers),
        AttachRoutes(containers, watch),
        ExecRoutes(engine.execs, watch),
        StatsRoutes(containers),
        EventRoutes(engine.events),
        DistributionRoutes(engine.distribution),
        ImageRoutes(engine.images, engine.distribution),
        NetworkRoutes(engine.networks),
        VolumeRoutes(engine.volumes),
        VolumeCopyRoutes(engine.volume_copies, engine.volume_artifacts),
        CommitRoutes(engine.commits),
        BuildDoor(engine.builds, engine.settings.data_root / "tmp", engine.networks.host_gateway, watch),
        BuildHistoryRoutes(engine.builds, engine.images.id_of),
        StorageRoutes(engine.storage),
        UnsupportedRoutes(),
    )
    grpc = GrpcRoutes(doors).routes() if doors is not None else []
    return [*grpc, *(route for part in parts for route in part.routes())]
