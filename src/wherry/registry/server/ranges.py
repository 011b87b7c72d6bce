"""Range and conditional requests (RFC 9110, sections 13 and 14), and chunks of uploads."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from wherry.registry.server.errors import Refusal

__all__ = ["Part", "chunk_range", "parts", "same"]

_LONGEST_NUMBER: Final = 19
_MOST: Final = 1024
_RANGE: Final = re.compile(r"(\d*)[ \t]*-[ \t]*(\d*)", re.ASCII)
_CHUNK: Final = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/(?:\d+|\*))?", re.ASCII)
_ETAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


class Part(NamedTuple):
    """A run of bytes."""

    start: int
    length: int


def parts(header: str | None, size: int) -> list[Part]:
    """What ``Range`` asks for, in its order; empty for the whole, as for a header that is no list of ranges.

    Who asks for more bytes in all than there are gets the whole: ranges that overlap would otherwise make a little
    question into a long answer (RFC 9110, section 14.2, "many small ranges or overlapping"; CVE-2011-3192).

    :raises Refusal: nothing of it is there, or these are too many.
    """
    unit, _, listed = (header or "").partition("=")
    if unit.strip().lower() != "bytes":
        return []
    texts = [text.strip(" \t") for text in listed.split(",", _MOST)]
    unsatisfiable = {"Content-Range": f"bytes */{size}"}
    if len(texts) > _MOST:
        raise Refusal("RANGE_INVALID", f"more than {_MOST} ranges in one request", headers=unsatisfiable)
    found = []
    for text in filter(None, texts):
        match = _RANGE.fullmatch(text)
        if match is None or not (match[1] or match[2]):
            return []
        one = _part(match[1], match[2], size)
        if one is None:
            return []
        if one.length > 0:
            found.append(one)
    if not found and any(texts):
        raise Refusal("RANGE_INVALID", "the range is not in the blob", {"size": size}, headers=unsatisfiable)
    return found if sum(one.length for one in found) <= size else []


def _part(first: str, last: str, size: int) -> Part | None:
    """One range, as much of it as is there; None where the syntax forbids it, so that it is no range."""
    if not first:
        length = min(_number(last), size)
        return Part(size - length, length)
    start = _number(first)
    end = _number(last) if last else size - 1
    if last and end < start:
        return None
    return Part(start, min(end, size - 1) - start + 1)


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
