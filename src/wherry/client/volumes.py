"""Volumes, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from wherry.client.requests import Requests
    from wherry.client.transport import Response

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

    # --- wherry's additions to the API ------------------------------------------------------------

    def usage(self) -> Iterable[dict[str, Any]]:
        """All volumes, what they take up, who has them, and their snapshots."""
        return list(self._requests.json("GET", "/wherry/volumes/usage"))

    def snapshot(
        self, name: str, snapshot: str = "", labels: Mapping[str, str] | None = None, *, freeze: bool = True
    ) -> dict[str, Any]:
        """Make a snapshot of a volume."""
        body = {"Name": snapshot, "Labels": labels, "Freeze": freeze}
        return dict(self._requests.json("POST", f"/wherry{_path(name)}/snapshot", json=body))

    def snapshots(self, volume: str = "") -> Iterable[dict[str, Any]]:
        """List snapshots, of all volumes or of one."""
        return list(self._requests.json("GET", "/wherry/volumes/snapshots", {"volume": volume or None}))

    def remove_snapshot(self, name: str) -> None:
        """Remove a snapshot, by ``VOLUME@SNAPSHOT``."""
        self._requests.do("DELETE", f"/wherry/volumes/snapshots/{escape(name)}")

    def restore(self, name: str) -> None:
        """Make a volume what it was at a snapshot, ``VOLUME@SNAPSHOT``."""
        self._requests.do("POST", f"/wherry{_path(name)}/restore")

    def clone(
        self, source: str, name: str, labels: Mapping[str, str] | None = None, *, freeze: bool = True
    ) -> dict[str, Any]:
        """Make a new volume of another one, or of a snapshot."""
        body = {"Name": name, "Labels": labels, "Freeze": freeze}
        return dict(self._requests.json("POST", f"/wherry{_path(source)}/clone", json=body))

    def export(self, name: str) -> Response:
        """Export a volume's, or a snapshot's, files; the body is a tar archive."""
        return self._requests.call("GET", f"/wherry{_path(name)}/archive")

    def import_archive(
        self, archive: bytes | Iterable[bytes], name: str, labels: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a new volume of a tar archive."""
        query = {"name": name, "label": [f"{key}={value}" for key, value in (labels or {}).items()]}
        headers = {"Content-Type": "application/x-tar"}
        answer = self._requests.call("POST", "/wherry/volumes/import", query, body=archive, headers=headers)
        return dict(answer.json())

    def push(self, name: str, reference: str, *, headers: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Push a volume's, or a snapshot's, files to a registry; yields progress.

        :param headers: ``X-Registry-Auth``: the credentials.
        """
        query = {"reference": reference}
        return self._requests.call("POST", f"/wherry{_path(name)}/push", query, headers=headers).json_values()

    def pull(
        self,
        reference: str,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Make a new volume of what was pushed to a registry; yields progress."""
        query = {
            "reference": reference, "name": name, "label": [f"{key}={value}" for key, value in (labels or {}).items()],
        }  # fmt: skip
        return self._requests.call("POST", "/wherry/volumes/pull", query, headers=headers).json_values()
