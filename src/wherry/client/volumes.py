"""Volumes, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from wherry.client.requests import Requests

    Filters = Mapping[str, Iterable[str]]

__all__ = ["Volumes"]


def _path(name: str) -> str:
    if not name.strip():
        from wherry.errors import InvalidInput

        raise InvalidInput("invalid volume name: value is empty")
    return f"/volumes/{escape(name)}"


class Volumes:
    """The volumes of a daemon."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a volume, or find the one of this name. :returns: the volume."""
        return dict(self._requests.json("POST", "/volumes/create", json=body))

    def list(self, filters: Filters | None = None) -> dict[str, Any]:
        """List volumes. :returns: ``{"Volumes": [...], "Warnings": [...]}``."""
        return dict(self._requests.json("GET", "/volumes", {"filters": filters}))

    def inspect(self, name: str) -> dict[str, Any]:
        """Inspect a volume."""
        return dict(self._requests.json("GET", _path(name)))

    def update(self, name: str, body: Mapping[str, Any]) -> None:
        """Change a volume of a swarm."""
        version = self.inspect(name).get("ClusterVolume", {}).get("Version", {}).get("Index", 0)
        self._requests.call("PUT", _path(name), {"version": version}, json=body).read()

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume; no container may have it."""
        self._requests.do("DELETE", _path(name), {"force": force or None})

    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove unused volumes: those that nobody has named, with the filter ``all`` the others, too."""
        return dict(self._requests.json("POST", "/volumes/prune", {"filters": filters}))
