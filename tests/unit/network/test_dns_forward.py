"""Questions that other servers answer: what is asked, what is believed, what is kept, and what never leaves."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable

import pytest
from dnslib import CNAME, EDNS0, MX, QTYPE, RR, SRV, TXT, A, DNSRecord

from support.dns_harness import OWNER, Server, Table, backend, bound, question, serving, upstream, zone
from wherry.network.dns.directory import Upstream


def asking(*servers: Server | Upstream) -> Table:
    """The usual directory, with these servers to ask."""
    table = backend()
    table.upstreams = tuple(one.upstream if isinstance(one, Server) else one for one in servers)
    return table


def nobody() -> Upstream:
    """A port at which nobody listens."""
    udp, tcp = bound()
    port = udp.getsockname()[1]
    udp.close()
    tcp.close()
    return Upstream("127.0.0.1", port)


async def test_what_is_not_ours_is_asked_upstream() -> None:
    async with upstream(zone) as server, serving(asking(server)) as (_, client):
        answer = await client.ask("WWW.example", "A")
        assert [str(record.rdata) for record in answer.rr] == ["192.0.2.1"]
        assert str(answer.q.qname) == "WWW.example."
        assert answer.header.ra
        assert not answer.header.aa
        assert (await client.ask("www.nowhere")).header.rcode == 3
        assert (await client.ask("www.example", "TXT")).rr == []
        assert await client.addresses("web") == ["172.30.0.2"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web", "MX"),
        ("web", "HTTPS"),
        ("web.backend", "TXT"),
        ("nobody", "A"),
        ("nobody", "AAAA"),
        ("nobody", "HTTPS"),
        ("nobody.backend", "A"),
        ("x.y.front.net", "SRV"),
        ("Vault.secret.net", "A"),
        ("_http._tcp.nobody.backend", "SRV"),
        ("localhost", "A"),
        ("x.localhost", "TXT"),
        ("9.0.30.172.in-addr.arpa", "PTR"),
        ("9.0.30.172.in-addr.arpa", "TXT"),
        ("0.30.172.in-addr.arpa", "SOA"),
        ("0.0.0.0.0.0.0.0.0.3.0.0.0.0.d.f.ip6.arpa", "PTR"),
        ("1.0.0.127.in-addr.arpa", "PTR"),
    ],
)
async def test_our_own_names_and_addresses_never_leave(name: str, kind: str) -> None:
    async with upstream(zone) as server, serving(asking(server)) as (_, client):
        answer = await client.ask(name, kind)
        assert answer.header.rcode in (0, 3)
        assert server.asked == []


@pytest.mark.parametrize(("name", "kind"), [("nobody", "A"), ("go.backend", "A")])
async def test_who_wants_it_so_has_unknown_names_asked_upstream(name: str, kind: str) -> None:
    async with upstream(zone) as server:
        table = asking(server)
        table.asks_all = True
        async with serving(table) as (_, client):
            await client.ask(name, kind)
            assert server.asked == [(f"{name}.", kind)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".", "NS"),
        ("com", "DS"),
        ("www.secret.net", "A"),
        ("1.2.0.192.in-addr.arpa", "PTR"),
        ("x.30.172.in-addr.arpa", "PTR"),
    ],
)
async def test_what_only_looks_like_ours_is_asked(name: str, kind: str) -> None:
    async with upstream(zone) as server, serving(asking(server)) as (_, client):
        await client.ask(name, kind)
        assert len(server.asked) == 1


async def test_without_servers_to_ask_the_rest_does_not_exist() -> None:
    async with serving(asking()) as (_, client):
        assert (await client.ask("www.example")).header.rcode == 3
        assert (await client.ask("1.2.0.192.in-addr.arpa", "PTR")).header.rcode == 3


async def test_every_attempt_has_its_own_port_id_and_spelling() -> None:
    async with upstream(zone) as server, serving(asking(server)) as (_, client):
        await asyncio.gather(*(client.ask(f"a-long-name-with-letters{n}.example") for n in range(20)))
        assert len(set(server.ports)) > 15  # drawn at random: the kernel may give one that is free again
        assert len({query.header.id for query in server.queries}) > 15
        spellings = {str(query.q.qname)[:24] for query in server.queries}
        assert len(spellings) == 20
        assert all(query.header.rd for query in server.queries)


def twisted(change: Callable[[DNSRecord], None]) -> Callable[[DNSRecord, bool], list[bytes]]:
    """An answer that is not quite right, and after it the right one."""

    def handler(query: DNSRecord, tcp: bool) -> list[bytes]:
        wrong = DNSRecord.parse(query.reply().pack())  # `reply` shares the question with the query
        wrong.add_answer(RR(query.q.qname, QTYPE.A, ttl=60, rdata=A("203.0.113.66")))
        change(wrong)
        return [bytes(wrong.pack()), zone(query, tcp)]

    return handler


def other_id(reply: DNSRecord) -> None:
    reply.header.id ^= 1


def other_name(reply: DNSRecord) -> None:
    reply.q.qname = "www.other.example"


def other_type(reply: DNSRecord) -> None:
    reply.q.qtype = 28


def other_class(reply: DNSRecord) -> None:
    reply.q.qclass = 3


def no_answer(reply: DNSRecord) -> None:
    reply.header.qr = 0


def no_question(reply: DNSRecord) -> None:
    reply.questions = []


@pytest.mark.parametrize("change", [other_id, other_name, other_type, other_class, no_answer, no_question])
async def test_an_answer_to_something_else_is_not_believed(change: Callable[[DNSRecord], None]) -> None:
    async with upstream(twisted(change)) as server, serving(asking(server)) as (_, client):
        assert await client.addresses("www.example") == ["192.0.2.1"]
        assert len(server.asked) == 1


async def test_an_answer_in_another_spelling_is_asked_for_again_by_tcp() -> None:
    def forged(query: DNSRecord, tcp: bool) -> bytes:
        if tcp:
            return zone(query, tcp)
        reply = DNSRecord.parse(query.reply().pack())
        reply.q.qname = str(query.q.qname).swapcase()
        reply.add_answer(RR(query.q.qname, QTYPE.A, ttl=60, rdata=A("203.0.113.66")))
        return bytes(reply.pack())

    async with upstream(forged) as server, serving(asking(server)) as (_, client):
        assert await client.addresses("www.example") == ["192.0.2.1"]


async def test_datagrams_from_elsewhere_do_not_count() -> None:
    """Another socket that knows the port and even the ID is not heard: the kernel compares the sender."""
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def handler(query: DNSRecord, tcp: bool) -> bytes:
        forged = query.reply()
        forged.add_answer(RR(query.q.qname, QTYPE.A, ttl=60, rdata=A("203.0.113.66")))
        stranger.sendto(forged.pack(), ("127.0.0.1", server.ports[-1]))
        return zone(query, tcp)

    with stranger:
        async with upstream(handler) as server, serving(asking(server)) as (_, client):
            assert await client.addresses("www.example") == ["192.0.2.1"]


async def test_who_floods_with_wrong_answers_sends_us_to_tcp() -> None:
    def handler(query: DNSRecord, tcp: bool) -> list[bytes]:
        return [zone(query, tcp)] if tcp else twisted(other_id)(query, tcp)[:1] * 40

    async with upstream(handler) as server, serving(asking(server)) as (_, client):
        assert await client.addresses("www.example") == ["192.0.2.1"]


async def test_a_truncated_answer_is_asked_for_again_by_tcp() -> None:
    def handler(query: DNSRecord, tcp: bool) -> bytes:
        reply = query.reply()
        reply.header.tc = not tcp
        for n in range(200 if tcp else 1):
            reply.add_answer(RR(query.q.qname, QTYPE.A, ttl=60, rdata=A(f"192.0.2.{n}")))
        return bytes(reply.pack())

    async with upstream(handler) as server, serving(asking(server)) as (_, client):
        cut = await client.ask("big.example")
        assert cut.header.tc
        (whole,) = await client.tcp(question("big.example").pack())
        assert len(DNSRecord.parse(whole).rr) == 200
        assert len(server.asked) == 2  # once by each way: the second client is served from what is kept


async def test_a_truncated_answer_is_better_than_none() -> None:
    def handler(query: DNSRecord, tcp: bool) -> bytes:
        reply = DNSRecord.parse(zone(query, tcp))
        reply.header.tc = 1
        return bytes(reply.pack())

    async with upstream(handler, tcp=False) as server, serving(asking(server)) as (_, client):
        answer = await client.ask("www.example")
        assert answer.header.tc
        assert len(answer.rr) == 1


async def test_a_server_that_does_not_know_edns_is_asked_without() -> None:
    def handler(query: DNSRecord, tcp: bool) -> bytes:
        if query.ar:
            return query.header.id.to_bytes(2, "big") + b"\x80\x01" + b"\0" * 8
        return zone(query, tcp)

    async with upstream(handler) as server, serving(asking(server)) as (_, client):
        assert await client.addresses("www.example") == ["192.0.2.1"]
        assert [bool(query.ar) for query in server.queries] == [True, False]


async def test_records_of_all_kinds_arrive_as_they_were_sent() -> None:
    def handler(query: DNSRecord, tcp: bool) -> bytes:
        reply = query.reply()
        for kind, data in (
            ("CNAME", CNAME("real.www.example")),
            ("MX", MX("mail.example", 7)),
            ("SRV", SRV(1, 2, 3, "web.example")),
            ("TXT", TXT([b"a", b"b" * 200])),
        ):
            reply.add_answer(RR(query.q.qname, getattr(QTYPE, kind), ttl=60, rdata=data))
        reply.add_ar(RR("mail.example", QTYPE.A, ttl=60, rdata=A("192.0.2.9")))
        reply.add_ar(EDNS0(udp_len=4096))
        return bytes(reply.pack())

    async with upstream(handler) as server, serving(asking(server)) as (_, client):
        for kind in ("CNAME", "A"):
            answer = await client.ask("www.example", kind)
            assert [str(record.rdata) for record in answer.rr] == [
                "real.www.example.",
                "7 mail.example.",
                "1 2 3 web.example.",
                f'"a","{"b" * 200}"',
            ]
            assert [str(record.rname) for record in answer.ar] == ["mail.example."]


# --------------------------------------------------------------------------------------------------------- what is kept


async def test_an_answer_is_kept_for_its_time_and_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(zone) as server, serving(asking(server)) as (_, client):
        assert (await client.ask("www.example")).rr[0].ttl == 60
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + 45)
        assert (await client.ask("wWw.example")).rr[0].ttl in (14, 15)
        assert len(server.asked) == 1
        monkeypatch.setattr(loop, "time", lambda: now() + 61)
        assert (await client.ask("www.example")).rr[0].ttl == 60
        assert len(server.asked) == 2


async def test_that_a_name_does_not_exist_is_kept_as_long_as_its_zone_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(zone) as server, serving(asking(server)) as (_, client):
        loop = asyncio.get_running_loop()
        now = loop.time
        for kind in ("A", "TXT"):  # no such name; and a name without such a record
            name = "www.nowhere" if kind == "A" else "www.example"
            asked = len(server.asked)
            await client.ask(name, kind)
            await client.ask(name, kind)
            assert len(server.asked) == asked + 1
            monkeypatch.setattr(loop, "time", lambda: now() + 31)  # the SOA record says 30
            await client.ask(name, kind)
            assert len(server.asked) == asked + 2
            monkeypatch.setattr(loop, "time", now)


async def test_forgetting_means_asking_again() -> None:
    async with upstream(zone) as server, serving(asking(server)) as (dns, client):
        await client.ask("www.example")
        dns.forget_cache()
        await client.ask("www.example")
        assert len(server.asked) == 2


async def test_equal_questions_at_one_time_are_asked_once() -> None:
    waiting: list[Callable[[], None]] = []

    def later(query: DNSRecord, tcp: bool) -> None:
        port = server.ports[-1]
        waiting.append(lambda: server.transport.sendto(zone(query, tcp), ("127.0.0.1", port)))

    async with upstream(later) as server, serving(asking(server)) as (_, client):
        asked = [asyncio.create_task(client.addresses("www.example")) for _ in range(50)]
        await server.heard.wait()
        waiting[0]()
        assert await asyncio.gather(*asked) == [["192.0.2.1"]] * 50
        assert len(server.asked) == 1


# ------------------------------------------------------------------------------------------------- servers that fail us


async def test_a_server_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without_end(monkeypatch, "STEP", "PATIENCE")
    async with serving(asking(nobody())) as (_, client):
        assert (await client.ask("www.example")).header.rcode == 2


async def test_the_next_server_is_asked_when_one_fails() -> None:
    def broken(query: DNSRecord, tcp: bool) -> bytes:
        reply = query.reply()
        reply.header.rcode = 2
        return bytes(reply.pack())

    async with upstream(zone) as good, upstream(broken) as bad, serving(asking(nobody(), bad, good)) as (_, client):
        assert await client.addresses("www.example") == ["192.0.2.1"]
        assert bad.asked


async def test_what_all_servers_say_is_said() -> None:
    def refusing(query: DNSRecord, tcp: bool) -> bytes:
        reply = query.reply()
        reply.header.rcode = 5
        return bytes(reply.pack())

    async with upstream(refusing) as server, serving(asking(server)) as (_, client):
        assert (await client.ask("www.example")).header.rcode == 5


def silent(query: DNSRecord, tcp: bool) -> None:
    """Says nothing."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the usual times."""
    for name, seconds in (("STEP", 0.1), ("PATIENCE", 0.4), ("PATIENCE_WITH_SILENT", 0.1)):
        monkeypatch.setattr(f"wherry.network.dns.forward.{name}", seconds)


def without_end(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make times so long that whoever waits for one gets no answer."""
    for name in names:
        monkeypatch.setattr(f"wherry.network.dns.forward.{name}", 1000.0)


@pytest.mark.usefixtures("impatient")
async def test_a_silent_server_costs_its_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(silent) as dead, upstream(zone) as good, serving(asking(dead, good)) as (_, client):
        begun = time.monotonic()
        assert await client.addresses("a.example") == ["192.0.2.1"]
        assert time.monotonic() - begun > 0.08
        without_end(monkeypatch, "STEP", "PATIENCE")
        assert await client.addresses("b.example") == ["192.0.2.1"]
        assert len(dead.asked) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_silence_is_an_error_soon_and_sooner_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(silent) as dead, serving(asking(dead)) as (_, client):
        begun = time.monotonic()
        assert (await client.ask("a.example")).header.rcode == 2
        assert time.monotonic() - begun > 0.35
        without_end(monkeypatch, "PATIENCE")
        assert (await client.ask("b.example")).header.rcode == 2
        without_end(monkeypatch, "PATIENCE_WITH_SILENT")
        assert (await client.ask("b.example")).header.rcode == 2, "remembered for a moment"


@pytest.mark.usefixtures("impatient")
async def test_a_lost_datagram_is_sent_again() -> None:
    def handler(query: DNSRecord, tcp: bool) -> bytes | None:
        return zone(query, tcp) if len(server.asked) > 1 else None

    async with upstream(handler) as server, serving(asking(server)) as (_, client):
        assert await client.addresses("www.example") == ["192.0.2.1"]


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_asks_us_ends_in_an_error_and_not_in_a_storm() -> None:
    table = asking()
    async with serving(table) as (_, client):
        table.upstreams = (Upstream("127.0.0.1", client.port),)
        assert (await client.ask("www.example")).header.rcode == 2
        assert await client.addresses("web") == ["172.30.0.2"]


@pytest.mark.usefixtures("impatient")
async def test_no_owner_has_more_than_its_share_of_open_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.network.dns.forward.MAX_PER_OWNER", 5)
    without_end(monkeypatch, "STEP", "PATIENCE")
    async with upstream(silent) as dead, serving(asking(dead)) as (_, client):
        asked = [asyncio.create_task(client.ask(f"{n}.example")) for n in range(20)]
        for refused in itertools.islice(asyncio.as_completed(asked), 15):
            assert (await refused).header.rcode == 2
        assert await client.addresses("web") == ["172.30.0.2"]
        assert sum(task.done() for task in asked) == 15
        assert len({name for name, _ in dead.asked}) == 5
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_an_answer_for_an_owner_that_is_gone_is_dropped() -> None:
    async with upstream(silent) as dead, serving(asking(dead)) as (server, client):
        task = asyncio.create_task(client.raw(question("www.example").pack(), seconds=0.6))
        await dead.heard.wait()
        server.stop(OWNER)
        with pytest.raises(ConnectionRefusedError):
            await task or (await client.raw(question("web").pack()))


@pytest.mark.parametrize("garbage", [b"", b"\0", b"\xff" * 40, b"\0" * 12])
async def test_garbage_from_a_server_is_no_answer(garbage: bytes, impatient: None) -> None:
    async with upstream(lambda query, tcp: garbage) as server, serving(asking(server)) as (_, client):
        assert (await client.ask("www.example")).header.rcode == 2


async def test_a_client_by_tcp_is_answered_too() -> None:
    async with upstream(zone) as server, serving(asking(server)) as (_, client):
        queries = [question(f"{n}.example").pack() for n in range(20)]
        answers = [DNSRecord.parse(one) for one in await client.tcp(*queries)]
        assert {str(one.rr[0].rdata) for one in answers} == {"192.0.2.1"}
        assert len(answers) == 20
