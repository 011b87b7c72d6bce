"""Speaks Graylog's extended log format: JSON objects, compressed and in chunks by UDP, in a row by TCP."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from wherry.engine.log_drivers.attributes import extra_attributes
from wherry.engine.log_drivers.connections import DatagramSocket, StreamConnection
from wherry.engine.log_drivers.contract import Entries, Subject
from wherry.engine.log_drivers.gelf import parse_address
from wherry.engine.log_drivers.tag import tag_of
from wherry.errors import SystemFault
from wherry.keeper.records import STDERR

__all__ = ["GelfSender"]

_CHUNK: Final = 1420 - 12  # bytes of a message in a datagram that goes through an Ethernet, without its header
_MOST: Final = 128  # chunks
_FASTEST: Final = 1


class GelfSender:
    """A `wherry.engine.log_drivers.contract.Sender`."""

    must_answer = True

    def __init__(self, subject: Subject) -> None:
        options = subject.options
        self._address = parse_address(options.get("gelf-address", ""))
        extra = {
            **extra_attributes(subject, lambda name: name if name.startswith("_") else f"_{name}"),
            "_container_id": subject.id,
            "_container_name": subject.name,
            "_image_id": subject.image_id,
            "_image_name": subject.image,
            "_command": " ".join(subject.argv),
            "_tag": tag_of(subject),
            "_created": subject.created,
        }
        self._begin = b'{"version":"1.1","host":' + _json(os.uname().nodename) + b',"short_message":'
        self._end = b"," + msgspec.json.encode(extra)[1:]
        self.overhead = len(self._begin) + len(self._end)
        self._compress = _compression(options.get("gelf-compression-type", "gzip"),
                                      int(options.get("gelf-compression-level", _FASTEST)))  # fmt: skip
        delay, tries = options.get("gelf-tcp-reconnect-delay"), options.get("gelf-tcp-max-reconnect")
        self.retry_wait = float(delay) if delay else None
        self.max_retries = int(tries) if tries else None
        self._connection: StreamConnection | DatagramSocket | None = None

    def encode(self, batch: Sequence[Entries]) -> list[bytes]:
        """Messages, each ended by a zero byte; or datagrams. The format has no empty ones."""
        messages = (
            self._begin + _json(line.decode("utf-8", "replace")) + middle
            for entries in batch for middle in (self._middle(entries),) for line in entries.lines() if line
        )  # fmt: skip
        if self._address.scheme == "tcp":
            return [message + b"\0" for message in messages]
        return [datagram for message in messages for datagram in _chunks(self._compress(message))]

    def _middle(self, entries: Entries) -> bytes:
        level = 3 if entries.stream == STDERR else 6
        return b',"timestamp":%.3f,"level":%d' % (entries.time // 1_000_000 / 1000, level) + self._end

    async def open(self) -> None:
        """Connect."""
        if self._connection is not None:
            return
        kind = StreamConnection if self._address.scheme == "tcp" else DatagramSocket
        try:
            self._connection = await kind.open(self._address)
        except SystemFault as error:
            raise SystemFault(f"gelf: cannot connect to GELF endpoint: {self._address} {error.message}") from error

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Send messages."""
        if isinstance(self._connection, DatagramSocket):
            await self._connection.send(pieces)
        elif self._connection is not None:
            await self._connection.write(pieces)

    def is_drained(self) -> bool:
        """Whether the receiver's kernel has them."""
        return not isinstance(self._connection, StreamConnection) or self._connection.is_drained()

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if isinstance(connection, DatagramSocket):
            connection.close()
        elif connection is not None:
            await connection.close()


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)


def _compression(kind: str, level: int) -> Callable[[bytes], bytes]:
    if kind == "none":
        return bytes
    if kind == "zlib":
        return lambda data: zlib.compress(data, level)
    return lambda data: gzip.compress(data, 6 if level < 0 else level, mtime=0)


def _chunks(message: bytes) -> list[bytes]:
    """A message in datagrams; none for one that does not fit into as many as there may be."""
    if len(message) <= _CHUNK + 12:
        return [message]
    pieces = [message[at : at + _CHUNK] for at in range(0, len(message), _CHUNK)]
    if len(pieces) > _MOST:
        return []
    head = b"\x1e\x0f" + os.urandom(8)
    return [head + bytes((number, len(pieces))) + piece for number, piece in enumerate(pieces)]
