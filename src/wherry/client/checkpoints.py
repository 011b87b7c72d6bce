"""Checkpoints, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterator, Mapping
    from typing import Any

    from wherry.client.requests import Requests

__all__ = ["Checkpoints"]


class Checkpoints:
    """The checkpoints of containers; ``directory`` is another one than the container's own, on the daemon's machine."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def create(self, ref: str, name: str, *, directory: str = "", ends: bool = True) -> None:
        """Write a container into a checkpoint.

        :param ends: whether its processes end then.
        """
        body = {"CheckpointID": name, "CheckpointDir": directory, "Exit": ends}
        self._requests.do("POST", _path(ref), json=body)

    def list(self, ref: str, *, directory: str = "") -> builtins.list[str]:
        """List the names of a container's checkpoints."""
        return [one["Name"] for one in self._requests.json("GET", _path(ref), {"dir": directory or None})]

    def remove(self, ref: str, name: str, *, directory: str = "") -> None:
        """Remove a checkpoint."""
        self._requests.do("DELETE", f"{_path(ref)}/{escape(name)}", {"dir": directory or None})

    def push(
        self, ref: str, name: str, reference: str, *, directory: str = "", headers: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Push a checkpoint to a registry; yields progress.

        :param headers: ``X-Registry-Auth``: the credentials.
        """
        return self._move(ref, name, "push", {"reference": reference, "dir": directory or None}, headers)

    def pull(
        self, reference: str, ref: str, name: str, *, directory: str = "", headers: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Make a checkpoint of what was pushed to a registry; yields progress."""
        return self._move(ref, name, "pull", {"reference": reference, "dir": directory or None}, headers)

    def _move(
        self, ref: str, name: str, verb: str, query: Mapping[str, object], headers: Mapping[str, str] | None
    ) -> Iterator[dict[str, Any]]:
        path = f"/wherry{_path(ref)}/{escape(name)}/{verb}"
        return self._requests.call("POST", path, query, headers=headers).json_values()


def _path(ref: str) -> str:
    return f"/containers/{escape(ref)}/checkpoints"
