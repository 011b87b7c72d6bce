"""Streams of JSON values, as events and progress messages are sent (NDJSON)."""

from __future__ import annotations

from wherry.client.codec import decode_prefix

__all__ = ["values"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


def values(pieces: Iterable[bytes]) -> Iterator[Any]:
    """Decode chunks of bytes as JSON values; a value may span chunks, a chunk may hold several.

    Values end with a newline, as every daemon writes them; the last one need not.

    :raises ValueError: a line is not JSON.
    """
    rest = b""
    for piece in pieces:
        lines = (rest + piece).split(b"\n") if b"\n" in piece else [rest + piece]
        rest = lines.pop()
        for line in lines:
            yield from _values_of(line)
    yield from _values_of(rest)


def _values_of(line: bytes) -> Iterator[Any]:
    text = line.decode().strip()
    at = 0
    while at < len(text):
        value, at = decode_prefix(text, at)
        yield value
