"""The first bytes of a connection, before aiohttp sees them.

A client may send input right behind a request that asks for an upgrade, and may even half-close, before it has the
answer. aiohttp knows upgrades to WebSockets only: it drops such bytes, or takes them for the next request. So every
connection begins here: when its first request asks for ``Upgrade: tcp``, or for BuildKit's ``h2c``, what comes behind
that request is kept until the connection is taken over (`wherry.api.http.hijack`); any other connection is handed to
aiohttp for good. A client may also begin with HTTP/2 (RFC 9113, 3.3): that has a server of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

Http2Door = Callable[[asyncio.Transport, bytes, Callable[[Exception | None], None]], object]

HEAD_LIMIT: Final = 1024 * 1024  #: bytes of a request's head, and of the body of one that asks for an upgrade
KEEP_LIMIT: Final = 256 * 1024  #: bytes of early input that are kept before reading pauses

_HEAD_END: Final = b"\r\n\r\n"
_UPGRADE: Final = re.compile(rb"\r\nupgrade:[ \t]*(?:tcp|h2c)[ \t]*\r\n", re.IGNORECASE)
_GRPC: Final = re.compile(rb"POST [^ ]*/(?:grpc|session)(?:\?[^ ]*)? ")
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


class FirstRequest(asyncio.Protocol):
    """Looks at the first request of a connection.

    :param http: aiohttp's protocol object, which is told everything up to the end of that request.
    :param http2: takes a connection that begins with HTTP/2: the transport, what came, and whom to tell of its end;
        None: there is no such server.
    """

    def __init__(self, http: asyncio.Protocol, http2: Http2Door | None = None) -> None:
        self._http = http
        self._http2 = http2
        self._transport: asyncio.Transport | None = None
        self._seen = bytearray()
        self._kept: bytearray | None = None  # None: the first request is not complete
        self._ended = False

    def take_kept(self) -> tuple[bytes, bool]:
        """Return what came behind the request, and whether the client has half-closed."""
        kept, self._kept = bytes(self._kept or b""), bytearray()
        return kept, self._ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._http.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._http.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._kept is not None:
            self._keep(data)
            return
        looked_at = max(0, len(self._seen) - len(_HEAD_END))  # a head that comes byte by byte is looked at once
        self._seen += data
        if self._http2 is not None and self._begins_http2():
            return
        head_end = self._seen.find(_HEAD_END, looked_at) + len(_HEAD_END)
        if head_end < len(_HEAD_END):
            if len(self._seen) > HEAD_LIMIT:
                self._hand_over()
        elif self._asks_for_upgrade(head_end):
            self._wait_for_body(head_end)
        else:
            self._hand_over()

    def eof_received(self) -> bool | None:
        self._ended = True
        return True if self._kept is not None else self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def _begins_http2(self) -> bool:
        """Whether this is HTTP/2, or may become it with what comes next; if it is, its server has it."""
        assert self._transport
        assert self._http2
        if len(self._seen) < len(_PREFACE):
            return _PREFACE.startswith(self._seen)
        if not self._seen.startswith(_PREFACE):
            return False
        seen, self._seen = bytes(self._seen), bytearray()
        self._http2(self._transport, seen, self._http.connection_lost)
        return True

    def _asks_for_upgrade(self, head_end: int) -> bool:
        """Programs that could speak HTTP/2 ask any request for it (curl --http2); only BuildKit's doors are meant."""
        asked = _UPGRADE.search(self._seen, 0, head_end)
        return asked is not None and (b"tcp" in asked[0].lower() or _GRPC.match(self._seen) is not None)

    def _hand_over(self) -> None:
        """No upgrade: from here on the connection is aiohttp's."""
        assert self._transport
        seen, self._seen = bytes(self._seen), bytearray()
        self._transport.set_protocol(self._http)
        self._http.data_received(seen)

    def _wait_for_body(self, head_end: int) -> None:
        length = _LENGTH.search(self._seen, 0, head_end)
        end = head_end + (int(length[1]) if length else 0)
        if end > 2 * HEAD_LIMIT:
            self._hand_over()
        elif len(self._seen) >= end:
            seen, self._seen = bytes(self._seen), bytearray()
            self._kept = bytearray()
            self._http.data_received(seen[:end])
            self._keep(seen[end:])

    def _keep(self, data: bytes) -> None:
        assert self._kept is not None
        assert self._transport
        self._kept += data
        if len(self._kept) >= KEEP_LIMIT:
            self._transport.pause_reading()
