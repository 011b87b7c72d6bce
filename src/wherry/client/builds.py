"""Builds, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from typing import Any

    from wherry.client.requests import Requests
    from wherry.client.transport import Response, Stream

__all__ = ["Builds"]


class Builds:
    """The builder of a daemon."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def build(
        self,
        query: Mapping[str, object],
        context: Iterable[bytes] | None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[dict[str, Any], None, None]:
        """Build an image; yields what happens, in the form that the query's ``version`` asks for. Closing ends it.

        :param context: an archive in chunks, or a Dockerfile; None: the query says where it is.
        :param headers: ``X-Registry-Config``: credentials.
        """
        sent = {"Content-Type": "application/x-tar", **(headers or {})}
        with self._requests.call("POST", "/build", query, body=context, headers=sent) as response:
            yield from response.json_values()

    def answer(self, token: str, body: Iterable[bytes] | None = None) -> Response:
        """Answer what a build asks for (``version=3``); the response's body is the daemon's."""
        return self._requests.call("POST", f"/wherry/build/calls/{escape(token)}", body=body)

    def connect(self, token: str) -> Stream:
        """Answer by a connection that carries bytes both ways."""
        return self._requests.hijack(f"/wherry/build/calls/{escape(token)}")

    def shell(self, token: str, *, tty: bool, size: tuple[int, int] | None) -> Stream:
        """Open the shell in a step that has failed, of which a build has told (``onfailure=shell``).

        :param size: height and width of the terminal, in characters.
        :raises wherry.errors.NotFound: it does not wait any more.
        """
        query: dict[str, object] = {"token": token, "tty": tty}
        if size is not None:
            query |= {"h": size[0], "w": size[1]}
        return self._requests.hijack("/wherry/build/shell", query)

    def resize_shell(self, token: str, height: int, width: int) -> None:
        """Tell the shell's terminal its size, in characters."""
        self._requests.do("POST", "/wherry/build/shell/resize", {"token": token, "h": height, "w": width})

    def prune(self, query: Mapping[str, object]) -> dict[str, Any]:
        """Remove what the builder's cache has and no build uses."""
        return dict(self._requests.json("POST", "/build/prune", query))

    # --- the builds of the past and of now --------------------------------------------------------

    def list(self) -> list[dict[str, Any]]:
        """All builds that are remembered, the last one first (wherry's addition to the API)."""
        return list(self._requests.json("GET", "/wherry/builds"))

    def inspect(self, ref: str) -> dict[str, Any]:
        """One build; `ref` is its own, a unique part of that, an image, or ``^0`` for the last one."""
        return dict(self._requests.json("GET", f"/wherry/builds/{escape(ref)}/json"))

    def logs(self, ref: str, *, follow: bool = False) -> Iterator[dict[str, Any]]:
        """All that happened in a build; with `follow` on until its end."""
        return self._requests.call("GET", f"/wherry/builds/{escape(ref)}/logs", {"follow": follow}).json_values()
