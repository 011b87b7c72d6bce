"""Questions to other servers, and the clients that wait for their answers.

Every attempt has a socket of its own, so the kernel chooses a new source port; a random ID; and the name in random
upper and lower case, which servers repeat ("0x20"). The socket is connected: datagrams from elsewhere do not arrive,
and a closed port is known at once. What does not fit is no answer, and one that fits but for the case is asked for
again by TCP, where only those on the path can interfere. Truncated answers are asked for by TCP as well.

Equal questions that are open at the same time are asked once. So a loop (a container that is the host's DNS server and
asks us) ends where it began: its question joins the one that it came from, and both run out of time.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from wherry.network.dns.cache import FAILURE_SECONDS, Cache, lifetime
from wherry.network.dns.directory import Upstream
from wherry.network.dns.message import (
    AD,
    CD,
    RD,
    TC,
    BadMessage,
    Query,
    Question,
    Rcode,
    Response,
    read_response,
    write_query,
)
from wherry.network.dns.reply import Reply, make_reply, status

__all__ = ["Forwarder"]

Deliver = Callable[[Reply], None]

STEP: Final = 1.0
"""Seconds without an answer after which the next server is asked too; the earlier ones may still answer."""
PATIENCE: Final = 4.0
"""Seconds until a question is given up: less than the five after which the C library asks again."""
PATIENCE_WITH_SILENT: Final = 1.0
"""The same, when no server has answered anything lately."""
SILENT_SECONDS: Final = 30.0
MAX_SERVERS: Final = 3  # as resolv.conf(5): MAXNS
ROUNDS: Final = 2
MAX_OPEN: Final = 512
MAX_PER_OWNER: Final = 128
MAX_STRAY: Final = 32
"""Datagrams that are not the answer, before we stop looking for it among them: they are guesses."""

_FAILED: Final = status(Rcode.SERVFAIL)
_log = logging.getLogger(__name__)


class _Asked(NamedTuple):
    """A question with all that makes its answer another one; the key of what is open and what is kept."""

    upstreams: tuple[Upstream, ...]
    question: Question
    dnssec: bool
    unchecked: bool


class _Waiter(NamedTuple):
    owner: str
    deliver: Deliver


class _Strange(BadMessage):
    """A well-formed answer that is not quite the one to our question."""


class Forwarder:
    """Asks upstream servers; on the event loop's thread."""

    def __init__(self) -> None:
        self._cache = Cache()
        self._waiters: dict[_Asked, list[_Waiter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._per_owner: Counter[str] = Counter()
        self._silent: dict[Upstream, float] = {}

    def ask(self, owner: str, query: Query, upstreams: Sequence[Upstream], deliver: Deliver) -> None:
        """Find an answer, in the cache or elsewhere.

        :param owner: for whom; one has no more than 128 questions open at a time.
        :param deliver: called once, now or later; with SERVFAIL when no server has answered.
        """
        loop = asyncio.get_running_loop()
        question = query.question._replace(name=query.question.name.lower())
        dnssec = query.edns is not None and query.edns.dnssec
        asked = _Asked(tuple(upstreams[:MAX_SERVERS]), question, dnssec, bool(query.flags & CD))
        kept = self._cache.get(asked, loop.time())
        if kept is not None:
            deliver(kept)
        elif not upstreams or self._per_owner[owner] >= MAX_PER_OWNER:
            deliver(_FAILED)
        elif asked in self._waiters:
            self._wait(asked, _Waiter(owner, deliver))
        elif len(self._waiters) >= MAX_OPEN:
            deliver(_FAILED)
        else:
            self._waiters[asked] = []
            self._wait(asked, _Waiter(owner, deliver))
            task = loop.create_task(self._find(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _wait(self, asked: _Asked, waiter: _Waiter) -> None:
        self._waiters[asked].append(waiter)
        self._per_owner[waiter.owner] += 1

    async def _find(self, asked: _Asked) -> None:
        """Find the answer to one question and deliver it to all clients that wait for it."""
        reply = _FAILED
        try:
            response = await self._race(asked)
            reply = self._keep(asked, response)
        finally:
            for waiter in self._waiters.pop(asked):
                self._per_owner[waiter.owner] -= 1
                if not self._per_owner[waiter.owner]:
                    del self._per_owner[waiter.owner]
                waiter.deliver(reply)

    def _keep(self, asked: _Asked, response: Response | None) -> Reply:
        now = asyncio.get_running_loop().time()
        if response is None:
            self._cache.put(asked, _FAILED, FAILURE_SECONDS, now)
            return _FAILED
        sections = response.answers, response.authority, response.additional
        reply = make_reply(asked.question, response.rcode, *sections, flags=response.flags & (AD | TC))
        if not response.flags & TC:
            self._cache.put(asked, reply, lifetime(response), now)
        return reply

    def forget(self) -> None:
        """Forget all answers, and which servers were silent."""
        self._cache.clear()
        self._silent.clear()

    def close(self) -> None:
        """Cancel all open questions."""
        for task in self._tasks:
            task.cancel()

    # ------------------------------------------------------------------------------------------- which server, and when

    async def _race(self, asked: _Asked) -> Response | None:
        """Ask one server after the other until one gives an answer; None when none did."""
        loop = asyncio.get_running_loop()
        order, patience = self._order(asked.upstreams, loop.time())
        race = _Race(loop, loop.time() + patience)
        try:
            return await race.run(order * ROUNDS, lambda upstream: _exchange(upstream, asked))
        finally:
            for upstream in race.answered:
                self._silent.pop(upstream, None)
            for upstream in race.stop() - race.answered:
                _log.debug("DNS server %s does not answer", upstream.address)
                self._silent[upstream] = loop.time() + SILENT_SECONDS

    def _order(self, upstreams: Sequence[Upstream], now: float) -> tuple[list[Upstream], float]:
        """Those that answer first; and how long to wait in all."""
        silent = [one for one in upstreams if self._silent.get(one, 0) > now]
        rest = [one for one in upstreams if one not in silent]
        return rest + silent, PATIENCE if rest else PATIENCE_WITH_SILENT


class _Race:
    """Attempts at one question, begun one after the other, of which the first answer wins."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self._loop = loop
        self._deadline = deadline
        self._running: dict[asyncio.Task[Response], tuple[Upstream, float]] = {}
        self.answered: set[Upstream] = set()
        self._second_best: Response | None = None

    async def run(
        self, order: Sequence[Upstream], attempt: Callable[[Upstream], Coroutine[Any, Any, Response]]
    ) -> Response | None:
        """Begin the next attempt when one fails, or when nothing came for a step's time."""
        waiting = list(order)
        while waiting or self._running:
            left = self._deadline - self._loop.time()
            if left <= 0:
                break
            if waiting:
                upstream = waiting.pop(0)
                self._running[self._loop.create_task(attempt(upstream))] = upstream, self._loop.time()
            done, _ = await asyncio.wait(
                self._running, timeout=min(left, STEP) if waiting else left, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                response = self._result(task)
                if response is not None:
                    return response
        return self._second_best

    def _result(self, task: asyncio.Task[Response]) -> Response | None:
        upstream, _ = self._running.pop(task)
        try:
            response = task.result()
        except (OSError, EOFError, BadMessage) as exc:
            _log.debug("DNS server %s: %s", upstream.address, exc)
            return None
        self.answered.add(upstream)
        if response.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
            return response
        self._second_best = response  # used if no server gives a better one
        return None

    def stop(self) -> set[Upstream]:
        """Cancel what runs.

        :returns: the servers that had time enough to answer, and did not.
        """
        late = {upstream for upstream, begun in self._running.values() if self._loop.time() - begun >= STEP * 0.9}
        for task in self._running:
            task.cancel()
        return late


# ------------------------------------------------------------------------------------------- one server, one attempt


async def _exchange(upstream: Upstream, asked: _Asked) -> Response:
    """Ask one server: by UDP, and by TCP where UDP will not do.

    :raises OSError: it cannot be reached.
    :raises BadMessage, EOFError: it answers, but nonsense.
    """
    family, _, _, _, address = socket.getaddrinfo(
        upstream.address, upstream.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )[0]
    flags = RD | (CD if asked.unchecked else 0)
    truncated = None
    for edns in (True, False):
        try:
            response = await _by_udp(family, address, asked, flags, edns)
        except _Strange:
            break
        if response.flags & TC:
            truncated = response
            break
        if not (edns and response.rcode in (Rcode.FORMERR, Rcode.NOTIMP)):
            return response
    try:  # the question is spelled as it is: who could forge the answer could do so anyway
        return await _by_tcp(family, address, asked, flags)
    except (OSError, EOFError):
        if truncated is None:
            raise
        return truncated


async def _by_udp(family: int, address: Any, asked: _Asked, flags: int, edns: bool) -> Response:
    """One datagram and its answer.

    :raises _Strange: only answers that do not quite fit came, many of them or one that differs in case only.
    """
    loop = asyncio.get_running_loop()
    ident = secrets.randbits(16)
    question = asked.question._replace(name=_mixed_case(asked.question.name))
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        sock.connect(address)
        sock.send(write_query(ident, question, flags=flags, edns=edns, dnssec=asked.dnssec))
        for _ in range(MAX_STRAY):
            response = _answer(await loop.sock_recv(sock, 4096), ident, question)
            if response is not None:
                return response
    raise _Strange("many answers, and none to the question")


def _answer(data: bytes, ident: int, question: Question) -> Response | None:
    """The answer to a question; None when these bytes are something else.

    :raises _Strange: it is, but for the spelling.
    """
    try:
        response = read_response(data)
    except BadMessage:
        return None
    if response.id != ident:
        return None
    if response.question is None:  # a server that did not understand may repeat nothing (RFC 6891 section 7)
        return response if response.rcode in (Rcode.FORMERR, Rcode.NOTIMP) else None
    if response.question == question:
        return response
    if response.question.same(question):
        raise _Strange("the answer spells the question in another way")
    return None


def _mixed_case(name: bytes) -> bytes:
    """The name with each letter in upper or lower case by chance; lengths of labels are no letters."""
    dice = secrets.randbits(8 * len(name)).to_bytes(len(name), "big")
    return bytes(c ^ (die & 0x20) if chr(c).isalpha() and c < 128 else c for c, die in zip(name, dice, strict=True))


async def _by_tcp(family: int, address: Any, asked: _Asked, flags: int) -> Response:
    """The same over a connection (RFC 7766).

    :raises EOFError: the server closed it.
    :raises BadMessage: the answer is none.
    """
    loop = asyncio.get_running_loop()
    ident = secrets.randbits(16)
    wire = write_query(ident, asked.question, flags=flags, dnssec=asked.dnssec)
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        await loop.sock_connect(sock, address)
        await loop.sock_sendall(sock, len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await _exactly(sock, 2), "big")
        response = read_response(await _exactly(sock, length))
    if response.id != ident or response.question is None or not response.question.same(asked.question):
        raise BadMessage("the answer is to another question")
    return response


async def _exactly(sock: socket.socket, length: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts = bytearray()
    while len(parts) < length:
        part = await loop.sock_recv(sock, length - len(parts))
        if not part:
            raise EOFError("the server closed the connection")
        parts += part
    return bytes(parts)
