"""Networks, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Mapping
    from typing import Any

    from wherry.client.client import Client

    Filters = Mapping[str, Iterable[str]]

__all__ = ["Networks"]


def _path(ref: str, verb: str = "") -> str:
    if not ref.strip():
        from wherry.errors import InvalidInput

        raise InvalidInput("invalid network name or ID: value is empty")
    return f"/networks/{escape(ref)}{verb}"


class Networks:
    """The networks of a daemon. ``ref`` is a name, an ID or the beginning of one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make one. :returns: ``{"Id": ..., "Warning": ...}``."""
        return dict(self._client.json("POST", "/networks/create", json=body))

    def list(self, filters: Filters | None = None) -> builtins.list[dict[str, Any]]:
        """List networks, without who is on them."""
        return list(self._client.json("GET", "/networks", {"filters": filters}))

    def inspect(self, ref: str, *, verbose: bool = False, scope: str = "") -> dict[str, Any]:
        """Everything about one network."""
        return dict(self._client.json("GET", _path(ref), {"verbose": verbose or None, "scope": scope or None}))

    def remove(self, ref: str) -> None:
        """Remove it; nobody may be on it."""
        self._client.do("DELETE", _path(ref))

    def connect(self, ref: str, container: str, endpoint: Mapping[str, Any] | None = None) -> None:
        """Put a container on it.

        :param endpoint: what the container asks of its place, the API's ``EndpointSettings``.
        """
        self._client.do("POST", _path(ref, "/connect"), json={"Container": container, "EndpointConfig": endpoint})

    def disconnect(self, ref: str, container: str, *, force: bool = False) -> None:
        """Take a container off it."""
        self._client.do("POST", _path(ref, "/disconnect"), json={"Container": container, "Force": force})

    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove all that nobody is on."""
        return dict(self._client.json("POST", "/networks/prune", {"filters": filters}))

    def trace(self, source: str, target: str, port: str = "") -> dict[str, Any]:
        """Whether one reaches the other, and what stops it (wherry's own addition to the API)."""
        query = {"from": source, "to": target, "port": port or None}
        return dict(self._client.json("GET", "/wherry/networks/trace", query))

    def audit(self) -> dict[str, Any]:
        """What is reachable from where (wherry's own addition to the API)."""
        return dict(self._client.json("GET", "/wherry/networks/audit"))
