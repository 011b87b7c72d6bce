"""Speaks Fluentd's forward protocol, in its forward mode: one message of MessagePack for many entries."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from wherry.engine.log_drivers.attributes import extra_attributes
from wherry.engine.log_drivers.connections import StreamConnection, tls_context
from wherry.engine.log_drivers.contract import Entries, Subject
from wherry.engine.log_drivers.fluentd import parse_address, seconds_of
from wherry.engine.log_drivers.options import is_true
from wherry.engine.log_drivers.tag import tag_of
from wherry.engine.log_drivers.waiting import in_a_thread
from wherry.keeper.records import STDERR

__all__ = ["FluentdSender"]

_EVENT_TIME: Final = 0  # MessagePack's extension type of a time with nanoseconds
_ACK_PATIENCE: Final = 60.0  # seconds that a receiver gets to say that it has something
_SECOND: Final = 1_000_000_000


class FluentdSender:
    """A `wherry.engine.log_drivers.contract.Sender`."""

    def __init__(self, subject: Subject) -> None:
        options = subject.options
        self._address = parse_address(options.get("fluentd-address", ""))
        self._tag = tag_of(subject)
        self._common = {
            **extra_attributes(subject),
            "container_id": subject.id,
            "container_name": f"/{subject.name}",
        }
        self.overhead = sum(len(name) + len(value) for name, value in self._common.items())
        self._precise = is_true(options, "fluentd-sub-second-precision")
        self._wants_ack = is_true(options, "fluentd-request-ack")
        self._write_timeout = seconds_of(options.get("fluentd-write-timeout") or "0")
        self._read_timeout = seconds_of(options.get("fluentd-read-timeout") or "0") or _ACK_PATIENCE
        self.retry_wait: float | None = seconds_of(options.get("fluentd-retry-wait") or "1s")
        tries = options.get("fluentd-max-retries")
        self.max_retries = int(tries) if tries else None
        self.must_answer = not (is_true(options, "fluentd-async") or is_true(options, "fluentd-async-connect"))
        self._connection: StreamConnection | None = None

    def encode(self, batch: Sequence[Entries]) -> list[bytes]:
        """One message, and the name by which its receiver acknowledges it."""
        events = [event for entries in batch for event in self._events(entries)]
        option: dict[str, Any] = {"size": len(events)}
        name = b""
        if self._wants_ack:
            name = base64.b64encode(os.urandom(16))
            option["chunk"] = name.decode()
        return [msgspec.msgpack.encode([self._tag, events, option]), name] if events else []

    def _events(self, entries: Entries) -> list[Any]:
        common = {**self._common, "source": "stderr" if entries.stream == STDERR else "stdout"}
        if (part := entries.part) is not None:
            common |= {
                "partial_message": "true", "partial_id": part.id, "partial_ordinal": str(part.ordinal),
                "partial_last": str(part.last).lower(),
            }  # fmt: skip
        at: Any = entries.time // _SECOND
        if self._precise:
            at = msgspec.msgpack.Ext(_EVENT_TIME, struct.pack(">II", at & 0xFFFFFFFF, entries.time % _SECOND))
        return [[at, {**common, "log": line.decode("utf-8", "replace")}] for line in entries.lines()]

    async def open(self) -> None:
        """Connect."""
        if self._connection is None:
            tls = await in_a_thread("read the authorities", tls_context) if self._address.scheme == "tls" else None
            self._connection = await StreamConnection.open(self._address, tls)

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Send a message, and wait until it is acknowledged, if that was asked for.

        :raises OSError: the receiver is gone, slow, or acknowledges something else.
        """
        if self._connection is None or not pieces:
            return
        message, name = pieces
        async with asyncio.timeout(self._write_timeout or None):
            await self._connection.write([message])
        if name:
            await self._acknowledged(self._connection, name.decode())

    async def _acknowledged(self, connection: StreamConnection, name: str) -> None:
        said = b""
        async with asyncio.timeout(self._read_timeout):
            while True:
                said += await connection.answer(0)
                try:
                    answer = msgspec.msgpack.decode(said, type=dict[str, str])
                except msgspec.DecodeError as error:
                    if "truncated" in str(error) and len(said) < 4096:
                        continue
                    raise ConnectionError("the receiver's answer is no acknowledgement") from error
                break
        if answer.get("ack") != name:
            raise ConnectionError("the receiver acknowledges something else")

    def is_drained(self) -> bool:
        """Whether the receiver, or its kernel, has all."""
        return self._wants_ack or self._connection is None or self._connection.is_drained()

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
