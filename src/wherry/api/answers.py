"""Answers in the forms that the API knows: JSON, nothing, a stream of JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp.web import Response, StreamResponse

from wherry import __version__
from wherry.api import versions

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

#: On every answer, as dockerd does; clients read ``Api-Version`` and ``Ostype`` from any of them.
COMMON_HEADERS: Final = {
    "Api-Version": versions.show(versions.NEWEST),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"wherry/{__version__} (linux)",
}
JSON_HEADERS: Final = {**COMMON_HEADERS, "Content-Type": "application/json"}


def _plain(value: object) -> str:
    """Return a string for a value of a type derived from it (digests), which msgspec does not know."""
    if isinstance(value, str):
        return str.__str__(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: Any) -> bytes:
    """Return a value as one line of JSON, its newline included."""
    return _encoder.encode(value) + b"\n"


def reply(value: Any, *, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(body=encode(value), status=status, headers=JSON_HEADERS)


def empty(status: int = 204) -> Response:
    """Return an answer without a body."""
    return Response(status=status, headers=COMMON_HEADERS)


async def open_stream(request: BaseRequest, content_type: str) -> StreamResponse:
    """Send the head of an answer whose body follows in pieces; the client sees it at once."""
    response = StreamResponse(headers={**COMMON_HEADERS, "Content-Type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"")
    return response
