"""``--storage-opt size=``: containers whose writable layers have a limit; by project quotas, where there are any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from wherry.docker.units import parse_size
from wherry.errors import SystemFault, Unsupported

if TYPE_CHECKING:
    from wherry.docker.container_requests import HostConfig
    from wherry.engine.container.container import Container
    from wherry.layers.overlay_paths import OverlayMount
    from wherry.layers.projects import Projects

__all__ = ["WritableLayers", "size_in"]

_KIND = "container:"


def size_in(options: Mapping[str, str], prefix: str = "") -> int:
    """The size among storage options, in bytes; 0 for none.

    :param prefix: how options may begin: those of the daemon have their driver's name.
    :raises SystemFault: there is no such option, or that is no size; in Docker's words, and with its status.
    """
    found = 0
    for name, value in options.items():
        if name.lower().removeprefix(prefix) != "size":
            raise SystemFault(f"Unknown option {name}")
        try:
            found = parse_size(value)
        except ValueError as exc:
            raise SystemFault(f"invalid size: '{value}'") from exc
    return found


class WritableLayers:
    """Makes the writable layers of containers.

    :param overlay: the overlay mounts that are a container's root; makes their directories.
    :param default: bytes, for containers that say nothing; 0 for no limit.
    """

    def __init__(self, projects: Projects, overlay: Callable[[Container], list[OverlayMount]], default: int) -> None:
        self._projects = projects
        self._overlay = overlay
        self._default = default

    def check_default(self) -> None:
        """See that the default can be kept.

        :raises Unsupported: it cannot; a daemon that began all the same would promise what nobody keeps.
        """
        reason = self._projects.why_not() if self._default else None
        if reason is not None:
            raise Unsupported(
                "Storage option overlay2.size not supported. Filesystem does not support Project Quota", cause=reason
            )

    def resolved(self, host: HostConfig) -> HostConfig:
        """A host configuration that says which limit holds.

        :raises SystemFault: it cannot be kept; Docker's words, and its status.
        """
        size = size_in(host.storage_opt or {}) or self._default
        if not size:
            return host
        reason = self._projects.why_not()
        if reason is not None:
            raise SystemFault(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option", cause=reason
            )
        return replace(host, storage_opt=host.storage_opt or {"size": str(size)})

    def prepare(self, container: Container) -> None:
        """Make the writable layer of a new container, with its limit."""
        mounts = self._overlay(container)
        size = size_in(container.host.storage_opt or {})
        if size:
            directories = [Path(path) for mount in mounts for path in (mount.upper, mount.work)]
            self._projects.limit(_KIND + container.id, directories, size)

    def removed(self, container: Container) -> None:
        """A container is gone: so is its limit."""
        if container.host.storage_opt:
            self._projects.lift(_KIND + container.id)

    def sweep(self, exists: Callable[[str], bool]) -> None:
        """At the start of an engine: lift the limits of containers that a crash has removed half-way.

        :param exists: whether there is a container with an ID.
        """
        self._projects.sweep(_KIND, lambda owner: exists(owner.removeprefix(_KIND)))
