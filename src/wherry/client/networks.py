"""Networks, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Mapping
    from typing import Any

    from wherry.client.requests import Requests

    Filters = Mapping[str, Iterable[str]]

__all__ = ["Networks"]


def _path(ref: str, verb: str = "") -> str:
    if not ref.strip():
        from wherry.errors import InvalidInput

        raise InvalidInput("invalid network name or ID: value is empty")
    return f"/networks/{escape(ref)}{verb}"


class Networks:
    """The networks of a daemon. ``ref`` is a name, an ID or a prefix of an ID."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a network. :returns: ``{"Id": ..., "Warning": ...}``."""
        return dict(self._requests.json("POST", "/networks/create", json=body))

    def list(self, filters: Filters | None = None) -> builtins.list[dict[str, Any]]:
        """List networks, without their containers."""
        return list(self._requests.json("GET", "/networks", {"filters": filters}))

    def inspect(self, ref: str, *, verbose: bool = False, scope: str = "") -> dict[str, Any]:
        """Inspect a network."""
        return dict(self._requests.json("GET", _path(ref), {"verbose": verbose or None, "scope": scope or None}))

    def remove(self, ref: str) -> None:
        """Remove a network; no container may be connected to it."""
        self._requests.do("DELETE", _path(ref))

    def connect(self, ref: str, container: str, endpoint: Mapping[str, Any] | None = None) -> None:
        """Connect a container to a network.

        :param endpoint: the API's ``EndpointSettings``.
        """
        self._requests.do("POST", _path(ref, "/connect"), json={"Container": container, "EndpointConfig": endpoint})

    def disconnect(self, ref: str, container: str, *, force: bool = False) -> None:
        """Disconnect a container from a network."""
        self._requests.do("POST", _path(ref, "/disconnect"), json={"Container": container, "Force": force})

    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove all unused networks."""
        return dict(self._requests.json("POST", "/networks/prune", {"filters": filters}))

    def trace(self, source: str, target: str, port: str = "") -> dict[str, Any]:
        """Trace a connection, and what stops it (wherry's addition to the API)."""
        query = {"from": source, "to": target, "port": port or None}
        return dict(self._requests.json("GET", "/wherry/networks/trace", query))

    def audit(self) -> dict[str, Any]:
        """Everything that is reachable, and from where (wherry's addition to the API)."""
        return dict(self._requests.json("GET", "/wherry/networks/audit"))
