"""What a runtime specification needs and a container's own configuration does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wherry.engine.container.container import Container
from wherry.engine.settings import Settings
from wherry.engine.spec.devices import HostDevices

if TYPE_CHECKING:
    from wherry.engine.volumes.container_volumes import Source
    from wherry.layers.overlay_paths import OverlayMount

__all__ = ["SpecContext", "cgroup_path"]


@dataclass(frozen=True)
class SpecContext:
    """The machine and the engine around a container that is about to start.

    :param overlay: the overlay mounts that are its root, from its image.
    :param join: looks up another container for ``container:NAME`` modes, given the kind of namespace (``pid``, ``ipc``,
        ``network``) and the name; raises unless it runs.
    :param network: the network namespace that was prepared for it; None: a new, empty one.
    :param devices: what was found at the paths of the devices that it names.
    :param has_limited_volumes: whether a volume of the container has a limit on its size.
    :param image_layers: the directories of an image that is mounted, top first, by its ID.
    :param volatile: its root need not be on the disk when it ends: whoever keeps what it wrote sees to that.
    :param shared_memory: where the runtime finds the /dev/shm of the container whose IPC namespace it joins, a detached
        mount: ``/proc/<this process>/fd/<n>``.
    :param volumes: what is bound in place of its volumes, by target.
    """

    settings: Settings
    overlay: list[OverlayMount]
    join: Callable[[str, str], Container]
    network: str | None = None
    devices: HostDevices = field(default_factory=HostDevices)
    shared_memory: str | None = None
    volatile: bool = False
    volumes: Mapping[str, Source] = field(default_factory=dict)
    has_limited_volumes: bool = False
    image_layers: Callable[[str], tuple[str, ...]] = lambda _: ()


def cgroup_path(container: Container, settings: Settings) -> str:
    """The container's path in the cgroup hierarchies: ``/<parent>/<id>``."""
    parent = container.host.cgroup_parent or settings.cgroup_parent or "/wherry"
    return f"/{parent.strip('/')}/{container.id}"
