"""From a client's message to its answer: out of the directory, or from upstream servers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from wherry.network.dns.directory import Directory
from wherry.network.dns.forward import Forwarder
from wherry.network.dns.message import IN, OPCODE, QR, BadMessage, Query, Rcode, Type, failure, read_query
from wherry.network.dns.names import local_replies
from wherry.network.dns.reply import Reply, status

__all__ = ["MAX_TCP", "Responder", "Turns"]

MAX_TCP = 0xFFFF
"""The longest message over TCP, in bytes."""

Send = Callable[[bytes], None]
Turns = Iterator[bytes]
"""Messages to be sent in turn for one and the same question, without their ID; it never ends."""

_TRANSFERS = frozenset({Type.OPT, Type.TSIG, Type.IXFR, Type.AXFR})


class Responder:
    """From a message to its answer, over UDP and TCP alike.

    :param directory: who is called what.
    :param forwarder: whom to ask for the rest.
    """

    def __init__(self, directory: Directory, forwarder: Forwarder) -> None:
        self._directory = directory
        self._forwarder = forwarder

    def respond(self, owner: str, data: bytes, send: Send, *, tcp: bool = False) -> Turns | None:
        """Answer a message, now or later.

        :param send: called once with the answer; or never, where there must be none (see `failure`).
        :returns: what equal messages can be answered with until the directory's next generation; None: not known.
        """
        try:
            query = read_query(data)
        except BadMessage:
            _send_failure(data, send)
            return None
        if query.flags & (QR | OPCODE):
            _send_failure(data, send)
            return None
        limit = MAX_TCP if tcp else query.limit()
        refusal = _refusal(query)
        if refusal is not None:
            send(refusal.to(query, limit))
            return None
        resolver_config = self._directory.resolver_config(owner)
        replies = local_replies(self._directory, owner, query.question, resolver_config)
        if replies:
            turns = _turns(replies, query, limit)
            send(data[:2] + next(turns))
            return turns
        self._forwarder.ask(owner, query, resolver_config.upstreams, lambda reply: send(reply.to(query, limit)))
        return None


def _send_failure(data: bytes, send: Send) -> None:
    other_opcode = len(data) >= 4 and data[2] & OPCODE >> 8
    answer = failure(data, Rcode.NOTIMP if other_opcode else Rcode.FORMERR)
    if answer is not None:
        send(answer)


def _refusal(query: Query) -> Reply | None:
    """Why a well-formed question is refused."""
    if query.edns is not None and query.edns.version > 0:
        return status(Rcode.BADVERS)
    if query.question.klass != IN or query.question.type in _TRANSFERS:
        return status(Rcode.REFUSED)
    return None


def _turns(replies: Sequence[Reply], query: Query, limit: int) -> Turns:
    """All replies for ever, beginning anywhere: else the first of equal names would be everybody's first choice."""
    begin = random.randrange(len(replies))
    return itertools.cycle([reply.to(query, limit)[2:] for reply in (*replies[begin:], *replies[:begin])])
