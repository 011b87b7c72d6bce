"""A client of Kubernetes' Container Runtime Interface, as the kubelet is one: gRPC, with the fields that are used here.

A message is a dictionary from the number of a field (``api.proto``, package ``runtime.v1``) to its value; an answer has
a list for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase

Message = Mapping[int, Any]


def encode(message: Message) -> bytes:
    """Write a message: protobuf's wire format, "Encoding"."""
    return b"".join(_field(number, value) for number, value in message.items())


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(_field(number, one) for one in value)
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else encode(value)
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def decode(data: bytes) -> dict[int, list[Any]]:
    """Read a message: numbers, and bytes for everything else."""
    found: dict[int, list[Any]] = {}
    octets = iter(data)
    for key in iter(lambda: _number(octets), -1):
        value: Any = _number(octets)
        if key & 7:
            value = bytes(next(octets) for _ in range(value))
        found.setdefault(key >> 3, []).append(value)
    return found


def _number(octets: Iterator[int]) -> int:
    """Read a number; -1 at the end."""
    value = shift = 0
    for octet in octets:
        value |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            return value
    return -1


class _Bare(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Write a request."""
        return encode(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Read an answer."""
        return decode(data)


class Cri:
    """Calls of ``runtime.v1.RuntimeService``."""

    def __init__(self, path: str) -> None:
        self._channel = Channel(path=path, codec=_Bare())

    async def __call__(self, method: str, request: Message, *, timeout: float) -> dict[int, list[Any]]:
        """Call a method.

        :raises grpclib.GRPCError: it failed.
        """
        name = f"/runtime.v1.RuntimeService/{method}"
        call: UnaryUnaryMethod[Any, Any] = UnaryUnaryMethod(self._channel, name, dict, dict)
        found: dict[int, list[Any]] = await call(request, timeout=timeout)
        return found

    def close(self) -> None:
        """End the connection."""
        self._channel.close()
