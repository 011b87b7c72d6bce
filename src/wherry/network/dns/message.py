"""DNS messages, in and out (RFC 1035 section 4, RFC 6891 for EDNS).

A *name* is held as on the wire, without compression: labels with their lengths and a final zero, ``b"\\x03web\\0"``.
Comparing means comparing what `bytes.lower` gives, which changes ASCII letters only; no length can be mistaken for one,
as labels have at most 63 bytes.

Reading checks every length against what is there, follows compression pointers only backwards, so that no loop can be
built, and makes no more objects than there are bytes for. What is wrong raises `BadMessage`, nothing else does.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from wherry.errors import InvalidInput

__all__ = [
    "AA",
    "AD",
    "CD",
    "EDNS_SIZE",
    "HEADER",
    "IN",
    "OPCODE",
    "QR",
    "RA",
    "RD",
    "TC",
    "BadMessage",
    "Edns",
    "Query",
    "Question",
    "Rcode",
    "Record",
    "Response",
    "Type",
    "Writer",
    "failure",
    "labels",
    "name_from_text",
    "name_to_text",
    "opt_record",
    "read_name",
    "read_query",
    "read_response",
    "write_query",
]

HEADER: Final = struct.Struct("!HHHHHH")  # ID, flags, counts of questions, answers, authority, additional records
_QUESTION: Final = struct.Struct("!HH")  # type, class
_RECORD: Final = struct.Struct("!HHIH")  # type, class, time to live, length of data

QR: Final = 0x8000  # an answer
OPCODE: Final = 0x7800
AA: Final = 0x0400  # authoritative
TC: Final = 0x0200  # truncated
RD: Final = 0x0100  # recursion desired
RA: Final = 0x0080  # recursion available
AD: Final = 0x0020  # authentic data (RFC 4035)
CD: Final = 0x0010  # checking disabled (RFC 4035)
_DO: Final = 0x8000  # in the OPT record's flags: send DNSSEC records
IN: Final = 1

MAX_NAME: Final = 255
MAX_LABEL: Final = 63
MAX_STEPS: Final = 192
"""Labels and pointers of one name: the longest name has 127 labels, and no writer needs half as many pointers."""
MAX_ADDITIONAL: Final = 4
"""Additional records in a query: OPT and a signature are all there is use for."""
EDNS_SIZE: Final = 1232
"""The size that we offer and keep to: what passes every IPv6 link without fragments (the "flag day" value of 2020)."""
PLAIN_SIZE: Final = 512


class Type(IntEnum):
    """Types of records that mean something to us; all others pass as they are."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    AAAA = 28
    SRV = 33
    OPT = 41
    DS = 43
    DNSKEY = 48
    TSIG = 250
    IXFR = 251
    AXFR = 252
    ANY = 255


class Rcode(IntEnum):
    """How it went (RFC 1035 section 4.1.1; BADVERS: RFC 6891)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


_NAMES_INSIDE: Final[dict[int, str]] = {
    2: "n",
    3: "n",
    4: "n",
    5: "n",
    6: "nn+20",
    7: "n",
    8: "n",
    9: "n",
    12: "n",
    14: "nn",
    15: "+2n",
    17: "nn",
    18: "+2n",
    21: "+2n",
    26: "+2nn",
    33: "+6n",
    36: "+2n",
    39: "n",
}
"""Where names are in the data of types that may be compressed (RFC 3597 section 4): ``n`` a name, ``+2`` two bytes."""

COMPRESSIBLE: Final = frozenset({2, 5, 6, 12, 15})
"""Those whose names may be written compressed: what every reader of RFC 1035 knows."""


class BadMessage(InvalidInput):
    """Bytes that are no DNS message."""


class Question(NamedTuple):
    """What is asked.

    :ivar name: on the wire, spelled as the client did.
    """

    name: bytes
    type: int
    klass: int = IN

    def wire(self) -> bytes:
        """As it stands in a message."""
        return self.name + _QUESTION.pack(self.type, self.klass)

    def same(self, other: Question) -> bool:
        """Whether it asks for the same, case aside."""
        return self[1:] == other[1:] and self.name.lower() == other.name.lower()


class Edns(NamedTuple):
    """The OPT pseudo-record (RFC 6891 section 6.1), without its options: all that we might meet are hop by hop."""

    size: int = EDNS_SIZE
    extended: int = 0
    version: int = 0
    dnssec: bool = False


class Query(NamedTuple):
    """A client's message."""

    id: int
    flags: int
    question: Question
    edns: Edns | None

    def limit(self) -> int:
        """How many bytes the client takes in one datagram; no more than passes everywhere."""
        return PLAIN_SIZE if self.edns is None else min(max(self.edns.size, PLAIN_SIZE), EDNS_SIZE)


class Record(NamedTuple):
    """One resource record; names in its data are without compression."""

    name: bytes
    type: int
    klass: int
    ttl: int
    data: bytes


class Response(NamedTuple):
    """An upstream server's message; the OPT record is not among `additional`."""

    id: int
    flags: int
    question: Question | None
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]
    edns: Edns | None

    @property
    def rcode(self) -> int:
        """All twelve bits of it."""
        return self.flags & 0xF | (self.edns.extended << 4 if self.edns else 0)


# -------------------------------------------------------------------------------------------------------------- names


def read_name(data: bytes, start: int) -> tuple[bytes, int]:
    """Read a name, following its pointers.

    :returns: the name without compression, and where the next thing begins.
    :raises BadMessage: it leaves the message, is longer than 255 bytes, has an unknown kind of label, or points
        forward.
    """
    parts: list[bytes] = []
    length, offset, end, bound = 1, start, 0, start
    for _ in range(MAX_STEPS):
        try:
            first = data[offset]
        except IndexError:
            raise BadMessage("a name leaves the message") from None
        if not first:
            parts.append(b"\0")
            return b"".join(parts), end or offset + 1
        if first <= MAX_LABEL:
            part = data[offset : offset + 1 + first]
            length += len(part)
            if len(part) <= first or length > MAX_NAME:
                raise BadMessage("a name is too long")
            parts.append(part)
            offset += 1 + first
        elif first >= 0xC0 and offset + 1 < len(data):
            target = (first & 0x3F) << 8 | data[offset + 1]
            if target >= bound:
                raise BadMessage("a name points forward")
            end = end or offset + 2
            offset = bound = target
        else:
            raise BadMessage("a label is of an unknown kind")
    raise BadMessage("a name goes from pointer to pointer")


def labels(name: bytes) -> list[bytes]:
    """The labels of a name, without the root's."""
    found = []
    offset = 0
    while name[offset]:
        found.append(name[offset + 1 : offset + 1 + name[offset]])
        offset += 1 + name[offset]
    return found


def name_to_text(name: bytes) -> str:
    """As people write it, without the final dot, the root as an empty string.

    What would be mistaken for something else (a dot or a backslash in a label, controls, bytes that are not UTF-8) is
    written ``\\DDD`` (RFC 1035 section 5.1), so that it equals no name.
    """
    return ".".join(_label_text(label) for label in labels(name))


def _label_text(label: bytes) -> str:
    if label.isalnum() and label.isascii():
        return label.decode("ascii")
    try:
        text = label.decode()
    except UnicodeDecodeError:
        text = label.decode("latin-1")
        return "".join(c if c.isalnum() and c.isascii() else f"\\{ord(c):03}" for c in text)
    return "".join(c if c not in ".\\" and c > " " and c != "\x7f" else f"\\{ord(c):03}" for c in text)


def name_from_text(text: str) -> bytes:
    """The wire form of a name that people wrote, with or without a final dot.

    :raises BadMessage: a label is empty or longer than 63 bytes, or the whole is longer than 255.
    """
    encoded = [label.encode() for label in text.removesuffix(".").split(".")] if text not in ("", ".") else []
    if any(not 1 <= len(label) <= MAX_LABEL for label in encoded) or sum(map(len, encoded)) + len(encoded) >= MAX_NAME:
        raise BadMessage(f"'{text}' is no DNS name")
    return b"".join(bytes([len(label)]) + label for label in encoded) + b"\0"


# ------------------------------------------------------------------------------------------------------------ reading


def _read_question(data: bytes, offset: int) -> tuple[Question, int]:
    name, offset = read_name(data, offset)
    if offset + 4 > len(data):
        raise BadMessage("the question is cut off")
    return Question(name, *_QUESTION.unpack_from(data, offset)), offset + 4


def _read_record(data: bytes, offset: int) -> tuple[Record, int]:
    name, offset = read_name(data, offset)
    if offset + 10 > len(data):
        raise BadMessage("a record is cut off")
    kind, klass, ttl, length = _RECORD.unpack_from(data, offset)
    start, end = offset + 10, offset + 10 + length
    if end > len(data):
        raise BadMessage("a record's data is cut off")
    layout = _NAMES_INSIDE.get(kind)
    content = data[start:end] if layout is None or not length else _read_data(data, start, end, layout)
    # a time to live with the highest bit set means zero (RFC 2181 section 8); an OPT record's is no time at all
    return Record(name, kind, klass, ttl if ttl < 1 << 31 or kind == Type.OPT else 0, content), end


def _read_data(data: bytes, start: int, end: int, layout: str) -> bytes:
    """A record's data with its names written out."""
    parts = []
    offset = start
    for is_name, length in _pieces(layout):
        if is_name:
            part, following = read_name(data, offset)
        else:
            part, following = data[offset : offset + length], offset + length
        if following > end:
            raise BadMessage("a record's data ends within a field")
        parts.append(part)
        offset = following
    if offset != end:
        raise BadMessage("a record's data is longer than its fields")
    return b"".join(parts)


def _pieces(layout: str) -> list[tuple[bool, int]]:
    """``"+2n"`` as (is it a name, else how many bytes)."""
    found = []
    while layout:
        if layout[0] == "n":
            found.append((True, 0))
            layout = layout[1:]
        else:
            digits = layout[1:].partition("n")[0]
            found.append((False, int(digits)))
            layout = layout[1 + len(digits) :]
    return found


def _edns(record: Record) -> Edns:
    if record.name != b"\0":
        raise BadMessage("the OPT record's owner is not the root")
    extended, version, flags = record.ttl >> 24, record.ttl >> 16 & 0xFF, record.ttl & 0xFFFF
    return Edns(record.klass, extended, version, bool(flags & _DO))


def read_query(data: bytes) -> Query:
    """Read what a client sent.

    :raises BadMessage: it is no query with exactly one question, or holds records that no query has.
    """
    if len(data) < HEADER.size:
        raise BadMessage("shorter than a header")
    ident, flags, questions, answers, authority, additional = HEADER.unpack_from(data)
    if questions != 1 or answers or authority or additional > MAX_ADDITIONAL:
        raise BadMessage("not one question and no answer")
    question, offset = _read_question(data, HEADER.size)
    edns = None
    for _ in range(additional):
        record, offset = _read_record(data, offset)
        if record.type == Type.OPT:
            if edns is not None:
                raise BadMessage("two OPT records")
            edns = _edns(record)
    if offset != len(data):
        raise BadMessage("something follows the message")
    return Query(ident, flags, question, edns)


def read_response(data: bytes) -> Response:
    """Read what an upstream server answered.

    :raises BadMessage: it is not well formed, or is no answer.
    """
    if len(data) < HEADER.size:
        raise BadMessage("shorter than a header")
    ident, flags, questions, *counts = HEADER.unpack_from(data)
    if not flags & QR or questions > 1:
        raise BadMessage("no answer to one question")
    question, offset = _read_question(data, HEADER.size) if questions else (None, HEADER.size)
    sections: list[tuple[Record, ...]] = []
    edns = None
    for count in counts:
        records = []
        for _ in range(count):
            record, offset = _read_record(data, offset)
            if record.type == Type.OPT:
                edns = _edns(record)
            else:
                records.append(record)
        sections.append(tuple(records))
    answers, authority, extra = sections
    return Response(ident, flags, question, answers, authority, extra, edns)


# ------------------------------------------------------------------------------------------------------------ writing


def opt_record(*, extended: int = 0, dnssec: bool = False) -> bytes:
    """Our OPT record: no options, the size we take."""
    return b"\0" + _RECORD.pack(Type.OPT, EDNS_SIZE, extended << 24 | (_DO if dnssec else 0), 0)


def write_query(ident: int, question: Question, *, flags: int = RD, edns: bool = True, dnssec: bool = False) -> bytes:
    """A question for an upstream server."""
    header = HEADER.pack(ident, flags, 1, 0, 0, int(edns))
    return header + question.wire() + (opt_record(dnssec=dnssec) if edns else b"")


def failure(data: bytes, rcode: int) -> bytes | None:
    """The answer to what could not be read: a header alone, never longer than what came.

    :returns: None where there must be no answer: to fragments, and to answers, lest two servers talk for ever.
    """
    if len(data) < HEADER.size:
        return None
    ident, flags = struct.unpack_from("!HH", data)
    if flags & QR:
        return None
    return HEADER.pack(ident, QR | flags & (OPCODE | RD | CD) | RA | rcode, 0, 0, 0, 0)


class Writer:
    """Writes records after a question, with compression.

    :param question: its name is what most others end in.
    """

    def __init__(self, question: Question) -> None:
        self.body = bytearray()
        self.ttls: list[int] = []  # where times to live stand in the body
        self.ends: list[int] = []  # where each record ends in the body
        self._start = HEADER.size + len(question.name) + 4
        self._known: dict[bytes, int] = {}
        self._remember(question.name.lower(), len(question.name) - 1, HEADER.size)

    def _remember(self, lowered: bytes, until: int, offset: int) -> None:
        """The name at this offset of the message, and its ends that begin before `until`, can be pointed to from now
        on."""
        at = 0
        while at < until and offset + at < 0x4000:
            self._known.setdefault(lowered[at:], offset + at)
            at += 1 + lowered[at]

    def _name(self, name: bytes) -> None:
        lowered = name.lower()
        at, pointer = 0, None
        while name[at]:
            pointer = self._known.get(lowered[at:])
            if pointer is not None:
                break
            at += 1 + name[at]
        self._remember(lowered, at, self._start + len(self.body))
        self.body += name[:at]
        self.body += b"\0" if pointer is None else (0xC000 | pointer).to_bytes(2, "big")

    def record(self, record: Record) -> None:
        """Append a record."""
        self._name(record.name)
        self.ttls.append(len(self.body) + 4)
        self.body += _RECORD.pack(record.type, record.klass, record.ttl, 0)
        start = len(self.body)
        layout = _NAMES_INSIDE[record.type] if record.type in COMPRESSIBLE and record.data else ""
        offset = 0
        for is_name, length in _pieces(layout):
            if is_name:
                name, offset = read_name(record.data, offset)
                self._name(name)
            else:
                self.body += record.data[offset : offset + length]
                offset += length
        self.body += record.data[offset:]
        self.body[start - 2 : start] = (len(self.body) - start).to_bytes(2, "big")
        self.ends.append(len(self.body))

    def records(self, records: Sequence[Record]) -> None:
        """Append several."""
        for record in records:
            self.record(record)
