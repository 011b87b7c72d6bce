"""Requests to one daemon; the groups of the API's objects are built on them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from wherry.client.transport import Response, Stream, Transport

__all__ = ["Requests"]

_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


class Requests:
    """Sends requests, and raises an exception for each error response.

    :ivar transport: the connection to the daemon.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        json: object = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send a request.

        :param path: ``"/containers/json"``, escaped; without a version it means the daemon's newest.
        :param query: see :func:`wherry.client.transport.query_string`.
        :param json: a body to send as JSON.
        :param body: a raw body, or its chunks.
        :param timeout: seconds to wait for each part of the response.
        :raises wherry.errors.WherryError: an error response; the class depends on the status code.
        :raises OSError: no daemon answers.
        """
        if json is not None:
            from wherry.client.codec import encode

            body, headers = encode(json), {"Content-Type": "application/json", **(headers or {})}
        response = self.transport.request(method, path, query, body=body, headers=headers, timeout=timeout)
        if response.status >= 400 or response.status == 304:
            from wherry.client.error_response import error_from_response

            raise error_from_response(response.status, response.reason, response.read())
        return response

    def json(self, method: str, path: str, query: Mapping[str, object] | None = None, *, json: object = None) -> Any:
        """Send a request and decode the response as JSON."""
        return self.call(method, path, query, json=json).json()

    def do(self, method: str, path: str, query: Mapping[str, object] | None = None, *, json: object = None) -> None:
        """Send a request and discard the body of the response."""
        self.call(method, path, query, json=json).read()

    def hijack(self, path: str, query: Mapping[str, object] | None = None, *, json: object = None) -> Stream:
        """POST, and hijack the connection as a raw stream."""
        return self.call("POST", path, query, json=json, headers=_UPGRADE).hijack()
