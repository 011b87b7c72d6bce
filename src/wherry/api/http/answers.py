"""HTTP answers: JSON, empty, and streams of JSON lines."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
from aiohttp.web_response import Response, StreamResponse

from wherry import __version__
from wherry.api.http import versions
from wherry.errors import encodable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from aiohttp.web import BaseRequest

#: On every answer, as dockerd does; clients read ``Api-Version`` and ``Ostype`` from any of them.
COMMON_HEADERS: Final = {
    "Api-Version": versions.show(versions.NEWEST),
    "Docker-Experimental": "true",  # docker's client asks for checkpoints, and shows them, only then
    "Ostype": "linux",
    "Server": f"wherry/{__version__} (linux)",
}
JSON_HEADERS: Final = {**COMMON_HEADERS, "Content-Type": "application/json"}


def _plain(value: object) -> str:
    """Return a string for a value of a type derived from it (digests), which msgspec does not know."""
    if isinstance(value, str):
        return str.__str__(value)
    raise NotImplementedError


_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_encoder = msgspec.json.Encoder(enc_hook=_plain)


def document(answer: Any) -> Any:
    """Return a typed answer as JSON's own types, so that members can be taken away."""
    return msgspec.to_builtins(answer, enc_hook=_plain)


def encode(value: Any) -> bytes:
    """Return a value as one line of JSON, its newline included.

    A container's file may have a name that is no UTF-8: such a byte becomes U+FFFD, as Go's ``encoding/json`` has it.
    """
    try:
        return _encoder.encode(value) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_utf8(document(value))) + b"\n"


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_utf8(key): _utf8(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_utf8(item) for item in value]
    return value


def reply(value: Any, *, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(body=encode(value), status=status, headers=JSON_HEADERS)


async def reply_from_thread(value: Any) -> Response:
    """Return a value as JSON that a container made as long, and as odd, as it liked: written beside the event loop."""
    return Response(body=await asyncio.to_thread(encode, value), headers=JSON_HEADERS)


def empty(status: int = 204) -> Response:
    """Return an answer without a body."""
    return Response(status=status, headers=COMMON_HEADERS)


class BrokenOff(StreamResponse):
    """What stands for an answer that cannot be given, or not to its end: the connection is closed.

    The client of an answer that has begun sees that it ends before its end.
    """

    def __init__(self) -> None:
        super().__init__(status=500)

    async def prepare(self, request: BaseRequest) -> NoReturn:
        """Have the server close the connection.

        :raises ConnectionResetError: always; to aiohttp, the client has left.
        """
        raise ConnectionResetError(f"the answer to {request.method} {request.path} breaks off")


def negotiate(accept: str, offers: Sequence[str]) -> str:
    """Return the one of several media types that a client names and likes best, or an empty string.

    Wildcards do not count, as in dockerd: they are what clients send that know of no choice.

    :param accept: the header ``Accept`` (RFC 9110, 12.5.1).
    :param offers: the first is taken where the client likes several as well.
    """
    liked = dict.fromkeys(offers, 0.0)
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        if kind in liked:
            liked[kind] = max(liked[kind], _quality(parameters))
    best = max(offers, key=lambda offer: liked[offer])
    return best if liked[best] else ""


def _quality(parameters: Iterable[str]) -> float:
    """Return the weight among a media type's parameters; one that is none counts for nothing."""
    found = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    return float(found) if _WEIGHT.fullmatch(found) else 0.0


async def open_stream(
    request: BaseRequest, content_type: str, headers: Mapping[str, str] = MappingProxyType({})
) -> StreamResponse:
    """Send the head of an answer whose body follows in pieces; the client sees it at once."""
    response = StreamResponse(headers={**COMMON_HEADERS, "Content-Type": content_type, **headers})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"")
    return response


async def stream_tar(
    request: BaseRequest, pieces: AsyncGenerator[bytes, None], headers: Mapping[str, str] = MappingProxyType({})
) -> StreamResponse:
    """Send an archive while it is made. What is wrong before its first piece still gets a status code.

    :param pieces: is closed, also when the client leaves.
    """
    async with aclosing(pieces):
        first = await anext(pieces, b"")
        response = await open_stream(request, "application/x-tar", headers)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    return response
