"""The client of one daemon, with its objects in groups."""

from __future__ import annotations

from wherry.client.requests import Requests
from wherry.client.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.address import Address
    from wherry.client.archives import Archives
    from wherry.client.builds import Builds
    from wherry.client.checkpoints import Checkpoints
    from wherry.client.containers import Containers
    from wherry.client.execs import Execs
    from wherry.client.images import Images
    from wherry.client.networks import Networks
    from wherry.client.storage import Storage
    from wherry.client.system import System
    from wherry.client.volumes import Volumes

__all__ = ["Client"]


class Client(Requests):
    """The client of one daemon. Not thread-safe: give each thread its own.

    :param host: ``unix:///path``, ``tcp://host:port`` or an :class:`~wherry.client.address.Address`; None is wherry's
        default socket.
    """

    def __init__(self, host: str | Address | None = None) -> None:
        from wherry.client.address import DEFAULT_HOST, parse_host

        address = parse_host(host or DEFAULT_HOST) if host is None or isinstance(host, str) else host
        super().__init__(Transport(address))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self.transport.close()

    @property
    def archives(self) -> Archives:
        """Files of containers: look, take out, put in."""
        from wherry.client.archives import Archives

        return Archives(self)

    @property
    def builds(self) -> Builds:
        """The builder: build, prune."""
        from wherry.client.builds import Builds

        return Builds(self)

    @property
    def containers(self) -> Containers:
        """Containers: create, start, list, remove, attach ..."""
        from wherry.client.containers import Containers

        return Containers(self)

    @property
    def checkpoints(self) -> Checkpoints:
        """Checkpoints of containers: create, list, remove."""
        from wherry.client.checkpoints import Checkpoints

        return Checkpoints(self)

    @property
    def images(self) -> Images:
        """Images: list, load, save, tag, remove ..."""
        from wherry.client.images import Images

        return Images(self)

    @property
    def networks(self) -> Networks:
        """Networks: create, connect, list, remove ..."""
        from wherry.client.networks import Networks

        return Networks(self)

    @property
    def execs(self) -> Execs:
        """Execs: commands inside running containers."""
        from wherry.client.execs import Execs

        return Execs(self)

    @property
    def storage(self) -> Storage:
        """Layers, image differences, disk checks (wherry's additions to the API)."""
        from wherry.client.storage import Storage

        return Storage(self)

    @property
    def system(self) -> System:
        """The daemon itself: version, info, events, disk usage."""
        from wherry.client.system import System

        return System(self)

    @property
    def volumes(self) -> Volumes:
        """Volumes: create, list, remove ..."""
        from wherry.client.volumes import Volumes

        return Volumes(self)
