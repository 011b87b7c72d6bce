"""Execs, as the Engine API has them: commands inside running containers."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wherry.client.requests import Requests
    from wherry.client.transport import Stream

__all__ = ["Execs"]


class Execs:
    """The execs of a daemon."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def create(self, container: str, body: Mapping[str, Any]) -> str:
        """Create an exec. :param body: ``Cmd``, ``Env``, ``User``, ``Tty`` ... :returns: its ID."""
        return str(self._requests.json("POST", f"/containers/{escape(container)}/exec", json=body)["Id"])

    def start(self, exec_id: str, *, tty: bool = False, size: tuple[int, int] | None = None) -> Stream:
        """Start an exec, attached to its standard streams.

        :param size: height and width of the terminal, in characters.
        """
        body: dict[str, Any] = {"Detach": False, "Tty": tty}
        if size:
            body["ConsoleSize"] = list(size)
        return self._requests.hijack(f"/exec/{exec_id}/start", json=body)

    def start_detached(self, exec_id: str, *, tty: bool = False) -> None:
        """Start an exec, detached."""
        self._requests.do("POST", f"/exec/{exec_id}/start", json={"Detach": True, "Tty": tty})

    def inspect(self, exec_id: str) -> dict[str, Any]:
        """Inspect an exec: ``{"Running": ..., "ExitCode": ..., "Pid": ...}``."""
        return dict(self._requests.json("GET", f"/exec/{exec_id}/json"))

    def resize(self, exec_id: str, height: int, width: int) -> None:
        """Resize the exec's terminal; sizes in characters."""
        self._requests.do("POST", f"/exec/{exec_id}/resize", {"h": height, "w": width})
