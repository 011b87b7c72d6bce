"""Answers that lack only the client's part: kept once, sent many times."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from wherry.network.dns.message import (
    AA,
    AD,
    CD,
    HEADER,
    OPCODE,
    QR,
    RA,
    RD,
    TC,
    Query,
    Question,
    Rcode,
    Record,
    Writer,
    opt_record,
)

__all__ = ["EMPTY", "Reply", "make_reply", "status"]

_TTL: Final = struct.Struct("!I")


class Reply(NamedTuple):
    """The records of an answer as bytes, valid behind any spelling of the question that they were made for.

    :ivar rcode: 12 bits.
    :ivar flags: ``AA``, ``AD``, ``TC`` of what is answered.
    :ivar body: what follows the question.
    :ivar counts: answers, authority, additional.
    :ivar ends: where each record ends in the body.
    :ivar ttls: where times to live stand in it.
    """

    rcode: int
    flags: int = 0
    body: bytes = b""
    counts: tuple[int, int, int] = (0, 0, 0)
    ends: tuple[int, ...] = ()
    ttls: tuple[int, ...] = ()

    def aged(self, seconds: int) -> Reply:
        """With all times to live shorter by so much."""
        if not seconds or not self.ttls:
            return self
        body = bytearray(self.body)
        for offset in self.ttls:
            (ttl,) = _TTL.unpack_from(body, offset)
            _TTL.pack_into(body, offset, max(0, ttl - seconds))
        return self._replace(body=bytes(body))

    def to(self, query: Query, limit: int) -> bytes:
        """The whole message for a client.

        What does not fit is left out from the end: first additional records, silently, then others, and ``TC`` says
        so (RFC 2181 section 9). Whole records stay, for clients that never ask again by TCP.

        :param limit: in bytes; 65,535 over TCP.
        """
        edns = query.edns
        dnssec = edns is not None and edns.dnssec
        opt = b"" if edns is None else opt_record(extended=self.rcode >> 4, dnssec=dnssec)
        question = query.question.wire()
        body, counts, truncated = self._fitting(limit - HEADER.size - len(question) - len(opt))
        flags = QR | query.flags & (OPCODE | RD | CD) | RA | self.flags & (AA | TC) | truncated | self.rcode & 0xF
        if dnssec or query.flags & AD:  # only for who has asked for it (RFC 6840 section 5.8)
            flags |= self.flags & AD
        answers, authority, additional = counts
        header = HEADER.pack(query.id, flags, 1, answers, authority, additional + bool(opt))
        return header + question + body + opt

    def _fitting(self, room: int) -> tuple[bytes, tuple[int, int, int], int]:
        if len(self.body) <= room:
            return self.body, self.counts, 0
        answers, authority, _ = self.counts
        kept = sum(end <= room for end in self.ends)
        needed = answers + authority
        body = self.body[: self.ends[min(kept, needed) - 1]] if kept else b""
        if kept >= needed:
            return body, (answers, authority, 0), 0
        return body, (min(kept, answers), max(0, kept - answers), 0), TC


def make_reply(
    question: Question,
    rcode: int,
    answers: Sequence[Record],
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    flags: int = 0,
) -> Reply:
    """Write records down for a question."""
    writer = Writer(question)
    for section in (answers, authority, additional):
        writer.records(section)
    counts = (len(answers), len(authority), len(additional))
    return Reply(rcode, flags, bytes(writer.body), counts, tuple(writer.ends), tuple(writer.ttls))


def status(rcode: Rcode, *, authoritative: bool = False) -> Reply:
    """An answer without records."""
    return Reply(rcode, AA if authoritative else 0)


EMPTY: Final = status(Rcode.NOERROR, authoritative=True)
"""The name exists, but not with what was asked for."""
