"""What a driver of volumes is. The words are those of Docker's volume plugin protocol, so that plugins can dock here.

driver
    Makes volumes and says where they are. ``local`` is one; others are programs of their own, behind a socket.
path
    The directory of the host at which a volume's files are while it is mounted; empty when there is none.
user
    An ID of whoever has a volume mounted: each `VolumeDriver.mount` has its `VolumeDriver.unmount` of the same user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from wherry.linux.fd import Fd
from wherry.volumes.model import Volume

__all__ = ["DriverVolume", "Mounted", "VolumeDriver"]


class DriverVolume(NamedTuple):
    """A volume as its driver knows it.

    :param path: where it is on the host; empty if the driver does not say.
    :param created: RFC 3339, or empty.
    :param status: what else the driver says.
    """

    name: str
    path: str = ""
    created: str = ""
    status: Mapping[str, Any] | None = None


class Mounted(NamedTuple):
    """A volume that can be attached in a container.

    :param path: the directory of the host that is to be bound; with `take` only a name.
    :param take: returns a detached mount of the volume, or of a path in it, which is attached itself. To be called in
        a thread that ends afterwards: it is in other namespaces then. Raises ``SystemCallError`` where the path is not
        there, or leads out of the volume.
    """

    path: str
    take: Callable[[str], Fd] | None = None


class VolumeDriver(Protocol):
    """Makes volumes. Methods are called on the event loop, and whatever they wait for is bounded by the driver.

    All of them raise ``WherryError``: ``NotFound`` when there is no such volume, ``Unavailable`` when the driver does
    not answer.
    """

    @property
    def name(self) -> str:
        """The name by which it is chosen."""

    async def scope(self) -> str:
        """Return ``local`` or ``global``: its capabilities."""

    def check(self, volume: Volume) -> None:
        """Check name and options of a new volume, as far as that needs no waiting."""

    async def create(self, volume: Volume) -> None:
        """Make a volume; one that is there already stays as it is."""

    async def remove(self, volume: Volume) -> None:
        """Remove a volume with all its files."""

    async def get(self, name: str) -> DriverVolume:
        """Look one up."""

    async def list(self) -> Sequence[DriverVolume]:
        """Return all that the driver has."""

    async def path(self, volume: Volume) -> str:
        """Return where it is on the host; empty when it is not mounted."""

    async def mount(self, volume: Volume, user: str) -> Mounted:
        """Make it ready for a container."""

    async def unmount(self, volume: Volume, user: str) -> None:
        """Take note that a user does not need it any more."""
