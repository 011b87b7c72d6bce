"""The daemon itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from wherry.client.client import Client

__all__ = ["System"]


class System:
    """The daemon: who it is, what it has, what happens in it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ping(self, *, timeout: float | None = None) -> str:
        """Ask whether somebody is there. :returns: the newest API version that the daemon speaks."""
        response = self._client.call("GET", "/_ping", timeout=timeout)
        response.read()
        return response.headers.get("api-version", "")

    def version(self) -> dict[str, Any]:
        """Versions of the daemon and its parts."""
        return dict(self._client.json("GET", "/version"))

    def info(self) -> dict[str, Any]:
        """The machine, the daemon's settings, how many containers and images there are."""
        return dict(self._client.json("GET", "/info"))

    def disk_usage(self, *, types: Iterable[str] = ()) -> dict[str, Any]:
        """What images, containers and volumes take up."""
        return dict(self._client.json("GET", "/system/df", {"type": list(types)}))

    def events(
        self, *, since: str = "", until: str = "", filters: Mapping[str, Iterable[str]] | None = None
    ) -> Iterator[dict[str, Any]]:
        """What happens, from now on or from ``since``, until the caller stops or ``until``.

        :param since, until: seconds since the epoch, with a fraction.
        """
        query = {"since": since or None, "until": until or None, "filters": filters}
        return self._client.call("GET", "/events", query).json_values()

    def login(self, auth: Mapping[str, str]) -> dict[str, Any]:
        """Try credentials at a registry. :raises wherry.errors.Unauthenticated: it does not take them."""
        return dict(self._client.json("POST", "/auth", json=dict(auth)))

    def shutdown(self, *, kill: bool = False) -> list[str]:
        """End the daemon (wherry's own addition to the API).

        :param kill: and every container with it.
        :returns: what it had to leave on the machine, and why, in sentences.
        """
        answer = self._client.json("POST", "/wherry/shutdown", {"kill": kill})
        return list(answer["Warnings"]) if answer else []
