"""Writes tar archives as container engines do: ustar headers, with pax records where those don't suffice."""

from __future__ import annotations

from typing import Final

from wherry.layers.tar import pax
from wherry.layers.tar.entry import Entry, Kind
from wherry.layers.tar.numeric import byte_sum, format_number
from wherry.layers.tar.reader import BLOCK

__all__ = ["END", "header", "padding"]

#: What an archive ends with.
END: Final = bytes(2 * BLOCK)

_MAX_OCTAL_ID: Final = 0o7777777
_MAX_OCTAL_SIZE: Final = 0o77777777777
_ZERO: Final = format_number(0, 8)
# Name, mode, owner, group, size, time, a sum to come, type, target, magic, two names that are left out, device, prefix.
_HEADER: Final = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%s" + b"ustar\x0000" + bytes(64) + b"%s%s%s" + bytes(12)


def padding(size: int) -> bytes:
    """The zeros that fill a body of `size` bytes up to a whole number of blocks."""
    return bytes(-size % BLOCK)


def header(entry: Entry) -> bytes:
    """The blocks that announce `entry`; `entry.size` bytes and their padding are to follow.

    Times are cut to whole seconds, as all container engines do: an archive, and so its digest, shall not depend on
    what a file system can store.
    """
    name = entry.name + b"/" if entry.kind is Kind.DIRECTORY and not entry.name.endswith(b"/") else entry.name
    prefix, short = _split(name)
    records = _extended(entry, name, short)
    block = _block(
        entry, entry.kind.value, prefix=prefix, name=short or name[:100], target=entry.target[:100], size=entry.size
    )
    if not records:
        return block
    body = pax.format_records(records)
    label = b"PaxHeaders/" + name[-80:].strip(b"/")
    announcement = _block(Entry(b""), b"x", prefix=b"", name=label, target=b"", size=len(body))
    return announcement + body + padding(len(body)) + block


def _extended(entry: Entry, name: bytes, short: bytes) -> list[tuple[bytes, bytes]]:
    """The extended header for values that do not fit into a ustar header."""
    records = []
    if not short:
        records.append((b"path", name))
    if len(entry.target) > 100:
        records.append((b"linkpath", entry.target))
    for keyword, value, limit in (
        (b"uid", entry.uid, _MAX_OCTAL_ID),
        (b"gid", entry.gid, _MAX_OCTAL_ID),
        (b"size", entry.size, _MAX_OCTAL_SIZE),
    ):
        if value > limit:
            records.append((keyword, b"%d" % value))
    seconds = entry.mtime // 1_000_000_000
    if not 0 <= seconds <= _MAX_OCTAL_SIZE:
        records.append((b"mtime", b"%d" % seconds))
    records += [(pax.XATTR + key.encode("utf-8", "surrogateescape"), entry.xattrs[key]) for key in sorted(entry.xattrs)]
    return records


def _split(name: bytes) -> tuple[bytes, bytes]:
    """A name as ustar's prefix and name; both empty when it doesn't fit."""
    if len(name) <= 100:
        return b"", name
    slash = name.rfind(b"/", 0, 156)
    while slash > 0 and len(name) - slash - 1 <= 100:
        if name[slash + 1 :]:
            return name[:slash], name[slash + 1 :]
        slash = name.rfind(b"/", 0, slash)
    return b"", b""


def _block(entry: Entry, type_flag: bytes, *, prefix: bytes, name: bytes, target: bytes, size: int) -> bytes:
    major, minor = entry.device
    block = _HEADER % (
        name.ljust(100, b"\0"),
        entry.mode if 0 <= entry.mode <= _MAX_OCTAL_ID else 0,
        min(entry.uid, _MAX_OCTAL_ID),
        min(entry.gid, _MAX_OCTAL_ID),
        min(size, _MAX_OCTAL_SIZE),
        min(max(entry.mtime // 1_000_000_000, 0), _MAX_OCTAL_SIZE),
        type_flag,
        target.ljust(100, b"\0"),
        format_number(major, 8) if major else _ZERO,
        format_number(minor, 8) if minor else _ZERO,
        prefix.ljust(155, b"\0"),
    )
    return b"%s%06o\0 %s" % (block[:148], byte_sum(block), block[156:])
