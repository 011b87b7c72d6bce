"""Speaks the journal's native protocol: a datagram of fields for an entry, or a sealed memfd for one that is large."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wherry.engine.log_drivers.addresses import Address
from wherry.engine.log_drivers.attributes import extra_attributes
from wherry.engine.log_drivers.connections import DatagramSocket
from wherry.engine.log_drivers.contract import Entries, Subject
from wherry.engine.log_drivers.json_lines import go_time
from wherry.engine.log_drivers.tag import tag_of
from wherry.errors import SystemFault
from wherry.keeper.records import STDERR
from wherry.linux.files import memfd

__all__ = ["JournaldSender"]

SOCKET: Final = Path("/run/systemd/journal/socket")
_OTHER: Final = re.compile(r"[^A-Z0-9]")
_OWN: Final = frozenset({"MESSAGE", "PRIORITY", "SYSLOG_TIMESTAMP"})


class JournaldSender:
    """A `wherry.engine.log_drivers.contract.Sender`.

    :param path: of the journal's socket.
    """

    retry_wait: float | None = None
    max_retries: int | None = None
    must_answer = True

    def __init__(self, subject: Subject, path: Path = SOCKET) -> None:
        tag = tag_of(subject)
        fields = {
            **{name: value for name, value in extra_attributes(subject, _field_name).items() if name not in _OWN},
            "CONTAINER_ID": subject.id[:12],
            "CONTAINER_ID_FULL": subject.id,
            "CONTAINER_NAME": subject.name,
            "CONTAINER_TAG": tag,
            "IMAGE_NAME": subject.image,
            "SYSLOG_IDENTIFIER": tag,
        }
        self._fields = b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())
        self.overhead = len(self._fields)
        self._address = Address("unixgram", path=str(path))
        self._socket: DatagramSocket | None = None

    def encode(self, batch: Sequence[Entries]) -> list[bytes]:
        """A piece for each entry."""
        found: list[bytes] = []
        for entries in batch:
            head = self._fields + b"PRIORITY=" + (b"3" if entries.stream == STDERR else b"6")
            head += b"\nSYSLOG_TIMESTAMP=" + go_time(entries.time) + b"\n"
            if (part := entries.part) is not None:
                head += b"" if part.last else b"CONTAINER_PARTIAL_MESSAGE=true\n"
                head += f"CONTAINER_PARTIAL_ID={part.id}\nCONTAINER_PARTIAL_ORDINAL={part.ordinal}\n".encode()
                head += f"CONTAINER_PARTIAL_LAST={str(part.last).lower()}\n".encode()
            found += [head + _field("MESSAGE", line) for line in entries.lines()]
        return found

    async def open(self) -> None:
        """Find the journal."""
        if self._socket is None:
            try:
                self._socket = await DatagramSocket.open(self._address)
            except SystemFault as error:
                raise SystemFault("journald is not enabled on this host", cause=error.message) from error

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Send entries."""
        if self._socket is not None:
            await self._socket.send(pieces, self._send_large)

    def _send_large(self, entry: bytes) -> None:
        assert self._socket is not None
        with memfd("journal-entry", entry) as file:
            self._socket.send_descriptor(file.fileno())

    def is_drained(self) -> bool:
        """A datagram that was sent is in the journal's queue."""
        return True

    async def close(self) -> None:
        """Let go of it."""
        own, self._socket = self._socket, None
        if own is not None:
            own.close()


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _field_name(text: str) -> str:
    """A field of the journal's: capitals, digits and underscores, of which none comes first."""
    return _OTHER.sub("_", text.upper() if text.isascii() else text).lstrip("_")[:64]
