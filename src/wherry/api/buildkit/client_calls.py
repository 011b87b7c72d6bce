"""What calls of a client's services have in common: headers, pieces of data, and what their errors are here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus

from wherry.api.buildkit.grpc import Code, GrpcError
from wherry.api.buildkit.http2 import StreamFailed
from wherry.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    SystemFault,
    Unauthenticated,
    Unavailable,
    WherryError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from wherry.api.buildkit.http2 import Header

__all__ = ["CHUNK", "evenly", "headers_of", "translated"]

CHUNK: Final = 1 << 20  #: bytes of data in one message; clients take 4 MB

_KINDS: Final[dict[int, type[WherryError]]] = {
    Code.NOT_FOUND: NotFound,
    Code.UNIMPLEMENTED: NotFound,
    Code.ALREADY_EXISTS: Conflict,
    Code.PERMISSION_DENIED: Forbidden,
    Code.UNAUTHENTICATED: Unauthenticated,
    Code.INVALID_ARGUMENT: InvalidInput,
    Code.UNAVAILABLE: Unavailable,
    Code.CANCELED: Unavailable,
}


@contextmanager
def translated() -> Iterator[None]:
    """Errors of calls as errors of ours."""
    try:
        yield
    except StreamFailed as error:
        raise Unavailable("the client of the build has gone", cause=str(error)) from error
    except GrpcError as error:
        kind = _KINDS.get(error.code, SystemFault)
        raise kind(error.message[:4096] or f"the client answered with status {error.code}") from error


def headers_of(metadata: Mapping[str, Sequence[str]]) -> list[Header]:
    """Metadata as headers; values that are not plain are escaped, which a second header tells of."""
    headers: list[Header] = []
    for key, values in metadata.items():
        name = key.lower().encode()
        if all(value.isascii() and value.isprintable() and value == value.strip() for value in values):
            headers += [(name, value.encode()) for value in values]
        else:
            headers += [(name, quote_plus(value.encode("utf-8", "surrogateescape")).encode()) for value in values]
            headers.append((name + b"-encoded", b"1"))
    return headers


async def evenly(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces of a good size: small ones are joined, large ones parted."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK:
            data = memoryview(b"".join(held))
            held.clear()
            size = 0
            for start in range(0, len(data), CHUNK):
                yield bytes(data[start : start + CHUNK])
    if size:
        yield b"".join(held)
