"""Extended headers of tar archives (POSIX.1-2017, pax, "pax Extended Header"), with GNU tar's and star's keywords."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from wherry.errors import CorruptData
from wherry.layers.tar.entry import Entry, shown

__all__ = ["XATTR", "Records", "apply", "format_records", "parse_records"]

#: The prefix under which extended attributes are kept; all container engines use star's.
XATTR: Final = b"SCHILY.xattr."

Records = list[tuple[bytes, bytes]]

_DECIMAL: Final = re.compile(rb"(-?)(\d{1,19})(?:\.(\d*))?")


def parse_records(data: bytes) -> Records:
    """Read ``<length> <keyword>=<value>\\n`` after another.

    :raises CorruptData: it is something else.
    """
    records: Records = []
    position = 0
    while position < len(data) and data[position] != 0:
        blank = data.find(b" ", position, position + 20)
        digits = data[position:blank] if blank > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        if not blank < end <= len(data) or data[end - 1] != 0x0A:
            raise CorruptData("the archive has a malformed pax record")
        keyword, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not equals or not keyword:
            raise CorruptData("the archive has a malformed pax record")
        records.append((keyword, value))
        position = end
    return records


def format_records(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write records; the length counts itself."""
    return b"".join(_format(keyword + b"=" + value) for keyword, value in records)


def _format(record: bytes) -> bytes:
    rest = len(record) + 2
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s\n" % (length, record)


def apply(entry: Entry, records: Records) -> None:
    """Apply extended records to an entry; they override its header.

    :raises CorruptData: a value makes no sense.
    """
    for keyword, value in records:
        if keyword == b"path" and value:
            entry.name = _name(value)
        elif keyword == b"linkpath" and value:
            entry.target = _name(value)
        elif keyword == b"size":
            entry.size = entry.full_size = _integer(keyword, value)
        elif keyword == b"uid":
            entry.uid = _integer(keyword, value)
        elif keyword == b"gid":
            entry.gid = _integer(keyword, value)
        elif keyword == b"mtime":
            entry.mtime = _nanoseconds(value)
        elif keyword.startswith(XATTR):
            entry.xattrs[_name(keyword[len(XATTR) :]).decode("utf-8", "surrogateescape")] = value


def _name(value: bytes) -> bytes:
    if b"\0" in value:
        raise CorruptData(f"the archive has a name with a NUL in it: {shown(value)}")
    return value


def _integer(keyword: bytes, value: bytes) -> int:
    if not value.isdigit() or len(value) > 19:
        raise CorruptData(f"the archive has a pax {keyword.decode()} of {shown(value)}")
    return int(value)


def _nanoseconds(value: bytes) -> int:
    """Decimal seconds, exactly: a float would lose the last digits."""
    match = _DECIMAL.fullmatch(value)
    if match is None:
        raise CorruptData(f"the archive has a pax mtime of {shown(value)}")
    fraction = (match[3] or b"")[:9].ljust(9, b"0")
    nanoseconds = int(match[2]) * 1_000_000_000 + int(fraction)
    return -nanoseconds if match[1] else nanoseconds
