"""The DNS server and whatever bytes there are: it never fails, never falls silent, and never says more than it was
asked."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.dns_harness import OWNER, Table, backend, question, serving
from wherry.network.dns.forward import Forwarder
from wherry.network.dns.message import (
    BadMessage,
    Question,
    Record,
    labels,
    name_from_text,
    name_to_text,
    read_name,
    read_query,
    read_response,
)
from wherry.network.dns.names import local_replies
from wherry.network.dns.reply import make_reply
from wherry.network.dns.responder import Responder

WELL_FORMED = [question(name, kind).pack() for name in ("web", "api.backend", "nobody", ".") for kind in ("A", "ANY")]

names = st.lists(st.binary(min_size=1, max_size=20), max_size=6).map(
    lambda parts: b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
)
"""Names on the wire, of any bytes at all."""


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A message with some bytes changed, cut off, or put in."""
    data = bytearray(draw(st.sampled_from(WELL_FORMED)))
    for _ in range(draw(st.integers(1, 6))):
        if data and draw(st.booleans()):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        else:
            at = draw(st.integers(0, len(data)))
            data[at:at] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def answers_to(data: bytes, *, tcp: bool = False, table: Table | None = None) -> list[bytes]:
    """What the server answers at once."""
    found: list[bytes] = []
    Responder(table or backend(), Forwarder()).respond(OWNER, data, found.append, tcp=tcp)
    return found


@given(st.binary(max_size=600) | broken())
@settings(deadline=None, max_examples=200)
def test_any_bytes_have_at_most_one_answer_and_it_is_well_formed(data: bytes) -> None:
    found = answers_to(data)
    assert len(found) <= 1
    for answer in found:
        assert answer[:2] == data[:2]
        assert answer[2] & 0x80
        assert not data[2] & 0x80, "an answer was answered"
        assert read_response(answer).id == int.from_bytes(data[:2], "big")
    if not found:
        assert len(data) < 12 or data[2] & 0x80


@given(st.binary(max_size=600) | broken())
@settings(deadline=None, max_examples=150)
def test_what_cannot_be_read_is_answered_with_no_more_bytes_than_it_had(data: bytes) -> None:
    try:
        read_query(data)
    except BadMessage:
        for answer in answers_to(data):
            assert len(answer) == 12
            assert answer[3] & 0xF in (1, 4)


@given(st.binary(max_size=600) | broken())
@settings(deadline=None, max_examples=200)
def test_reading_raises_one_kind_of_error_only(data: bytes) -> None:
    for read in (read_query, read_response):
        with suppress(BadMessage):
            read(data)


@given(names, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
@settings(deadline=None)
def test_a_question_for_any_name_is_answered(name: bytes, kind: int, klass: int) -> None:
    if len(name) > 255:
        return
    query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", kind, klass)
    (answer,) = answers_to(query)
    assert answer[12 : 12 + len(name)] == name
    assert len(answer) <= 512


@given(names)
def test_a_name_is_read_back_as_it_was_written(name: bytes) -> None:
    if len(name) > 255:
        return
    assert read_name(name, 0) == (name, len(name))
    assert b"".join(bytes([len(one)]) + one for one in labels(name)) + b"\0" == name
    text = name_to_text(name)
    assert text.count(".") == max(0, len(labels(name)) - 1), "a label with a dot looks like two"


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_is_not(text: str) -> None:
    try:
        name = name_from_text(text)
    except BadMessage:
        return
    assert read_name(name, 0) == (name, len(name))


records = st.builds(
    Record, names, st.sampled_from([1, 16, 28, 65, 257]), st.just(1), st.integers(0, 2**31 - 1), st.binary(max_size=40)
) | st.builds(
    lambda owner, kind, ttl, target: Record(owner, kind, 1, ttl, target),
    names,
    st.sampled_from([2, 5, 12]),
    st.just(5),
    names,
)


@pytest.mark.slow
@given(names, st.lists(records, max_size=8))
@settings(deadline=None)
def test_what_is_written_with_compression_reads_as_it_was(name: bytes, some: list[Record]) -> None:
    asked = Question(name, 1)
    reply = make_reply(asked, 0, some)
    query = read_query(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + asked.wire())
    whole = reply.to(query, 65535)
    found = read_response(whole)
    assert [(one.name.lower(), one.type, one.ttl, one.data.lower()) for one in found.answers] == [
        (one.name.lower(), one.type, one.ttl, one.data.lower()) for one in some
    ]
    for limit in (12 + len(asked.wire()), 100 + len(asked.wire()), len(whole) - 1):
        cut = reply.to(query, limit)
        assert len(cut) <= max(limit, 12 + len(asked.wire()))
        assert read_response(cut).answers == found.answers[: len(read_response(cut).answers)]


# ------------------------------------------------------------------------------------------------------------ by design


def header(questions: int = 1, answers: int = 0, authority: int = 0, additional: int = 0) -> bytes:
    """A query's header with these counts."""
    return struct.pack("!HHHHHH", 7, 0x100, questions, answers, authority, additional)


HOSTILE = {
    "a pointer to itself": header() + b"\xc0\x0c\0\1\0\1",
    "two pointers to each other": header() + b"\xc0\x0e\xc0\x0c\0\1\0\1",
    "a pointer forward": header() + b"\xc0\x20\0\1\0\1" + b"\0" * 40,
    "a pointer beyond the end": header() + b"\xff\xff\0\1\0\1",
    "half a pointer": header() + b"\xc0",
    "a label of a reserved kind": header() + b"\x80abc\0\0\1\0\1",
    "a label that leaves the message": header() + b"\x3fabc",
    "a name of 300 bytes": header() + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1",
    "65,535 questions": header(65535) + b"\3web\0\0\1\0\1",
    "65,535 additional records": header(1, 0, 0, 65535) + b"\3web\0\0\1\0\1",
    "answers in a question": header(1, 3) + b"\3web\0\0\1\0\1",
    "no question": header(0),
    "a question without type": header() + b"\3web\0\0",
    "something behind the end": header() + b"\3web\0\0\1\0\1x",
    "an OPT record that is cut off": header(1, 0, 0, 1) + b"\3web\0\0\1\0\1\0\0\x29\x04",
    "an OPT record that lies about its length": header(1, 0, 0, 1) + b"\3web\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\xff\xff",
    "two OPT records": header(1, 0, 0, 2) + b"\3web\0\0\1\0\1" + b"\0\0\x29\4\xd0\0\0\0\0\0\0" * 2,
    "an OPT record that is not the root's": header(1, 0, 0, 1) + b"\3web\0\0\1\0\1\1a\0\0\x29\4\xd0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("tcp", [False, True])
def test_format_error_for(what: str, tcp: bool) -> None:
    (answer,) = answers_to(HOSTILE[what], tcp=tcp)
    assert answer == b"\0\x07\x81\x81" + b"\0" * 8


def test_names_of_pointers_cost_no_time() -> None:
    """A response of nothing but pointers, each to the one before: the work is bounded by the message's length."""
    chain = b"\0\0" + b"".join(struct.pack("!H", 0xC000 | max(12, 12 + 2 * n)) for n in range(4000))
    data = struct.pack("!HHHHHH", 7, 0x8180, 0, 4, 0, 0) + chain
    with pytest.raises(BadMessage):
        read_name(data, len(data) - 2)


@contextmanager
def no_complaints(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Nothing is thrown in the event loop meanwhile."""
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    assert not complaints


async def test_the_server_lives_through_garbage_by_both_ways() -> None:
    dice = random.Random(3)
    async with serving(backend()) as (_, client):
        with no_complaints(asyncio.get_running_loop()):
            for ask in (client.raw, client.tcp):
                await _throw(ask, dice)
            await client.raw(b"\0" * 60_000, seconds=0.05)
            with suppress(ConnectionResetError):  # more than any question has: it hears no more than that
                assert await client.tcp(b"\xff" * 5000) == []
            assert await client.addresses("web") == ["172.30.0.2"]


async def _throw(ask: Callable[[bytes], Awaitable[object]], dice: random.Random) -> None:
    for what in HOSTILE.values():
        assert await ask(what)
    for _ in range(40):
        data = bytearray(dice.choice(WELL_FORMED))
        data[dice.randrange(4, len(data))] ^= 1 << dice.randrange(8)
        data[2] &= 0x7F
        assert await ask(bytes(data))


def test_a_name_too_long_for_dns_is_nobodys_reverse() -> None:
    table = Table({"backend": {"n" * 80: ["172.30.0.2"]}})
    asked = Question(name_from_text("2.0.30.172.in-addr.arpa"), 12)
    assert local_replies(table, OWNER, asked, table.resolver_config(OWNER))[0].rcode == 3
