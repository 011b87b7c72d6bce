"""The client: one daemon, its objects in groups."""

from __future__ import annotations

from wherry.client.transport import Response, Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from wherry.client.address import Address
    from wherry.client.containers import Containers
    from wherry.client.execs import Execs
    from wherry.client.images import Images
    from wherry.client.networks import Networks
    from wherry.client.system import System
    from wherry.client.transport import Stream

__all__ = ["Client"]

_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


class Client:
    """Speaks to one daemon. Not for several threads at once: give each its own.

    :param host: ``unix:///path``, ``tcp://host:port`` or an :class:`~wherry.client.address.Address`; None is wherry's
        default socket.
    """

    def __init__(self, host: str | Address | None = None) -> None:
        from wherry.client.address import DEFAULT_HOST, parse_host

        address = parse_host(host or DEFAULT_HOST) if host is None or isinstance(host, str) else host
        self.transport = Transport(address)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self.transport.close()

    @property
    def containers(self) -> Containers:
        """Containers: create, start, list, remove, attach ..."""
        from wherry.client.containers import Containers

        return Containers(self)

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
        """Further programs inside running containers."""
        from wherry.client.execs import Execs

        return Execs(self)

    @property
    def system(self) -> System:
        """The daemon itself: version, info, events, disk usage."""
        from wherry.client.system import System

        return System(self)

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        json: object = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send any request.

        :param path: ``"/containers/json"``, escaped; without a version: the daemon's own is meant.
        :param query: see :func:`wherry.client.transport.query_string`.
        :param json: a body to send as JSON.
        :param body: a body as it is, or in pieces.
        :param timeout: seconds to wait for each part of the answer.
        :raises wherry.errors.WherryError: the daemon refused; the kind follows from the status code.
        :raises OSError: nobody answers.
        """
        if json is not None:
            from wherry.client.codec import encode

            body, headers = encode(json), {"Content-Type": "application/json", **(headers or {})}
        response = self.transport.request(method, path, query, body=body, headers=headers, timeout=timeout)
        if response.status >= 400 or response.status == 304:
            from wherry.client.answers import failure

            raise failure(response.status, response.reason, response.read())
        return response

    def json(self, method: str, path: str, query: Mapping[str, object] | None = None, *, json: object = None) -> Any:
        """Send any request and read the answer as JSON."""
        return self.call(method, path, query, json=json).json()

    def do(self, method: str, path: str, query: Mapping[str, object] | None = None, *, json: object = None) -> None:
        """Send any request whose answer has nothing to say."""
        self.call(method, path, query, json=json).read()

    def hijack(self, path: str, query: Mapping[str, object] | None = None, *, json: object = None) -> Stream:
        """POST, and take the connection over as a raw stream."""
        return self.call("POST", path, query, json=json, headers=_UPGRADE).hijack()
