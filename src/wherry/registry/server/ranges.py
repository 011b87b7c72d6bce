"""The headers that ask for a part, or only for what is new (RFC 9110, sections 13 and 14), and an upload's chunks."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from wherry.registry.server.refusal import Refusal

__all__ = ["Part", "chunk_range", "part", "same"]

_LONGEST_NUMBER: Final = 19
_RANGE: Final = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.ASCII | re.IGNORECASE)
_LIST: Final = re.compile(r"bytes\s*=\s*[\d\s-]*,[\d\s,-]*", re.ASCII | re.IGNORECASE)
_CHUNK: Final = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/(?:\d+|\*))?", re.ASCII)
_ETAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


class Part(NamedTuple):
    """A run of bytes."""

    start: int
    length: int


def part(header: str | None, size: int) -> Part | None:
    """What ``Range`` asks for; None for the whole, as for a header that is no range of bytes.

    :raises Refusal: nothing of it is there, or it asks for several parts: no client of a registry does, and each part
        would cost the server what it costs the client one number to ask for.
    """
    if not header:
        return None
    unsatisfiable = {"Content-Range": f"bytes */{size}"}
    if _LIST.fullmatch(header.strip()):
        raise Refusal("RANGE_INVALID", "several ranges in one request are not served", headers=unsatisfiable)
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(_number(match[2]), size)
        start = size - length
    else:
        start = _number(match[1])
        last = _number(match[2]) if match[2] else size - 1
        if last < start and match[2]:
            return None  # the syntax forbids it, so it is no range
        length = min(last, size - 1) - start + 1
    if length <= 0:
        raise Refusal("RANGE_INVALID", "the range is not in the blob", {"size": size}, headers=unsatisfiable)
    return Part(start, length)


def chunk_range(header: str | None) -> Part | None:
    """What ``Content-Range`` says a chunk of an upload is: ``0-1023``, the specification's own form.

    :raises Refusal: it can't be understood.
    """
    if not header:
        return None
    match = _CHUNK.fullmatch(header.strip())
    start, last = (_number(match[1]), _number(match[2])) if match else (0, -1)
    if last < start:
        raise Refusal("BLOB_UPLOAD_INVALID", "invalid Content-Range", {"Content-Range": header[:80]})
    return Part(start, last - start + 1)


def same(header: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` or ``If-Range`` names what is there.

    :param etag: without its quotes.
    """
    if not header:
        return False
    return header.strip() == "*" or etag in _ETAG.findall(header) or header.strip() == etag


def _number(text: str) -> int:
    """A number; what is longer than any size counts as the greatest one."""
    return int(text) if len(text) <= _LONGEST_NUMBER else 10**_LONGEST_NUMBER
