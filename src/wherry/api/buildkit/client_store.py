"""A store of blobs of the client's, by containerd's content service: OCI layouts, directories with cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.api.buildkit.client_calls import evenly, headers_of, translated
from wherry.api.buildkit.grpc import ClientCall, unary
from wherry.api.buildkit.proto.session_pb2 import (
    InfoRequest,
    InfoResponse,
    ReadContentRequest,
    ReadContentResponse,
    WriteContentRequest,
    WriteContentResponse,
)
from wherry.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wherry.api.buildkit.http2 import Http2
    from wherry.oci.digest import Digest

__all__ = ["CONTENT", "ClientStore"]

CONTENT: Final = "/containerd.services.content.v1.Content/"
_BEGIN, _WRITE, _COMMIT = range(3)


class ClientStore:
    """One store; `wherry.build.model.session.ClientContent`."""

    def __init__(self, http: Http2, name: str) -> None:
        self._http = http
        self._headers = headers_of({"buildkit-attachable-store-id": [name]})

    async def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has."""
        try:
            with translated():
                request = InfoRequest(digest=str(digest))
                answer = await unary(self._http, CONTENT + "Info", request, InfoResponse, self._headers)
        except NotFound:
            return None
        return answer.info.size

    async def read(self, digest: Digest) -> AsyncIterator[bytes]:
        """A blob's bytes."""
        with translated():
            async with ClientCall(self._http, CONTENT + "Read", ReadContentResponse, self._headers) as call:
                await call.send(ReadContentRequest(digest=str(digest)), end=True)
                while (message := await call.receive()) is not None:
                    if message.data:
                        yield message.data

    async def write(self, digest: Digest, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Store a blob, unless it is there."""
        try:
            with translated():
                async with ClientCall(self._http, CONTENT + "Write", WriteContentResponse, self._headers) as call:
                    await _write(call, str(digest), size, pieces)
        except Conflict:
            return


async def _write(call: ClientCall[WriteContentResponse], digest: str, size: int, pieces: AsyncIterator[bytes]) -> None:
    """Containerd's way: begin, data, commit; each is answered. What it has from an earlier try is left out."""

    def message(action: int, offset: int = 0, data: bytes = b"") -> WriteContentRequest:
        ref = f"wherry-{digest}"
        return WriteContentRequest(action=action, ref=ref, total=size, expected=digest, offset=offset, data=data)

    await call.send(message(_BEGIN))
    begun = await call.receive()
    offset = skip = begun.offset if begun is not None else 0
    async for piece in evenly(pieces):
        data, skip = piece[skip:], max(0, skip - len(piece))
        if data:
            await call.send(message(_WRITE, offset, data))
            await call.receive()
            offset += len(data)
    await call.send(message(_COMMIT, offset), end=True)
    await call.receive()
    await call.finish()
