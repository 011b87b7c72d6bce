"""Further programs inside running containers."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wherry.client.client import Client
    from wherry.client.transport import Stream

__all__ = ["Execs"]


class Execs:
    """The execs of a daemon."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, container: str, body: Mapping[str, Any]) -> str:
        """Prepare a program. :param body: ``Cmd``, ``Env``, ``User``, ``Tty`` ... :returns: the exec's ID."""
        return str(self._client.json("POST", f"/containers/{escape(container)}/exec", json=body)["Id"])

    def start(self, exec_id: str, *, tty: bool = False, size: tuple[int, int] | None = None) -> Stream:
        """Run it, connected to its standard streams.

        :param size: height and width of the terminal, in characters.
        """
        body: dict[str, Any] = {"Detach": False, "Tty": tty}
        if size:
            body["ConsoleSize"] = list(size)
        return self._client.hijack(f"/exec/{exec_id}/start", json=body)

    def start_detached(self, exec_id: str, *, tty: bool = False) -> None:
        """Run it and leave it alone."""
        self._client.do("POST", f"/exec/{exec_id}/start", json={"Detach": True, "Tty": tty})

    def inspect(self, exec_id: str) -> dict[str, Any]:
        """``{"Running": ..., "ExitCode": ..., "Pid": ...}``"""
        return dict(self._client.json("GET", f"/exec/{exec_id}/json"))

    def resize(self, exec_id: str, height: int, width: int) -> None:
        """Tell its terminal the size of ours, in characters."""
        self._client.do("POST", f"/exec/{exec_id}/resize", {"h": height, "w": width})
