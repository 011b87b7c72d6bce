"""The daemon, as the Engine API has it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from wherry.client.requests import Requests

__all__ = ["System"]


class System:
    """The daemon: version, information, disk usage, events."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def ping(self, *, timeout: float | None = None) -> str:
        """Check that the daemon answers. :returns: its newest API version."""
        response = self._requests.call("GET", "/_ping", timeout=timeout)
        response.read()
        return response.headers.get("api-version", "")

    def version(self) -> dict[str, Any]:
        """Versions of the daemon and its parts."""
        return dict(self._requests.json("GET", "/version"))

    def info(self) -> dict[str, Any]:
        """The machine, the daemon's settings, the number of containers and images."""
        return dict(self._requests.json("GET", "/info"))

    def disk_usage(self, *, types: Iterable[str] = ()) -> dict[str, Any]:
        """Disk usage of images, containers and volumes."""
        return dict(self._requests.json("GET", "/system/df", {"type": list(types)}))

    def events(
        self, *, since: str = "", until: str = "", filters: Mapping[str, Iterable[str]] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Stream events, from now or ``since``, until ``until`` or the caller stops.

        :param since, until: seconds since the epoch, with a fraction.
        """
        query = {"since": since or None, "until": until or None, "filters": filters}
        return self._requests.call("GET", "/events", query).json_values()

    def login(self, auth: Mapping[str, str]) -> dict[str, Any]:
        """Check credentials at a registry. :raises wherry.errors.Unauthenticated: they are rejected."""
        return dict(self._requests.json("POST", "/auth", json=dict(auth)))

    def shutdown(self, *, kill: bool = False) -> list[str]:
        """Stop the daemon (wherry's addition to the API).

        :param kill: kill every container as well.
        :returns: warnings: what it left on the machine, and why.
        """
        answer = self._requests.json("POST", "/wherry/shutdown", {"kill": kill})
        return list(answer["Warnings"]) if answer else []
