"""What upstream servers answered, for as long as they said that it holds.

Negative answers are kept as RFC 2308 says, for the lesser of the SOA record's own time to live and its field MINIMUM;
one without a SOA record is not kept. That no server answered is remembered for a moment, too (RFC 9520), so that a
program in a loop does not make us ask in a loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final

from wherry.network.dns.message import Rcode, Record, Response, Type
from wherry.network.dns.reply import Reply

__all__ = ["FAILURE_SECONDS", "Cache", "lifetime"]

LONGEST: Final = 3600
LONGEST_NEGATIVE: Final = 300
"""Seconds. Longer ones may be right, but a machine that moved to another network should not believe them."""
FAILURE_SECONDS: Final = 2
MAX_ENTRIES: Final = 2000
MAX_BYTES: Final = 1 << 20


def lifetime(response: Response) -> int:
    """How many seconds an answer may be kept; 0: not at all."""
    if response.rcode == Rcode.NOERROR and _answers_the_question(response):
        return min(LONGEST, *(record.ttl for record in (*response.answers, *response.authority)))
    if response.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
        negative = _negative(response.authority)
        return min(negative, LONGEST_NEGATIVE, *(record.ttl for record in response.answers))
    return 0


def _answers_the_question(response: Response) -> bool:
    """A chain of CNAMEs that leads to nothing of the type is a negative answer (RFC 2308 section 2.2)."""
    question = response.question
    if question is None:
        return False
    wanted = question.type
    return any(wanted in (record.type, Type.ANY) for record in response.answers)


def _negative(authority: Sequence[Record]) -> int:
    for record in authority:
        if record.type == Type.SOA and len(record.data) >= 4:
            return min(record.ttl, int.from_bytes(record.data[-4:], "big"))
    return 0


class Cache:
    """Bounded in entries and bytes; what was not asked for the longest time goes first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, tuple[float, float, Reply]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, now: float) -> Reply | None:
        """The reply that is kept for a question, with its times to live as they are by now.

        :param now: seconds of a clock that only goes forward.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        stored, until, reply = entry
        if now >= until:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return reply.aged(int(now - stored))

    def put(self, key: Hashable, reply: Reply, seconds: int, now: float) -> None:
        """Keep a reply for so long; with 0 seconds nothing happens."""
        if seconds <= 0:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = now, now + seconds, reply
        self._bytes += len(reply.body)
        while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        self._bytes -= len(self._entries.pop(key)[2].body)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)
