"""Names of owners, as their neighbours ask for them."""

from __future__ import annotations

import asyncio
import collections
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from dnslib import EDNS0, DNSRecord

from quiet import in_time
from support.dns_harness import Client, Table, backend, bound, question, serving
from wherry.network.dns.server import DnsServer


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(backend()) as (_, one):
        yield one


@pytest.mark.parametrize("name", ["web", "WeB", "web.", "web.backend", "Web.Backend."])
async def test_a_name_has_its_address_however_it_is_written(client: Client, name: str) -> None:
    assert await client.addresses(name) == ["172.30.0.2"]
    assert await client.addresses(name, "AAAA") == ["fd00:30::2"]


async def test_a_name_and_its_network_may_both_have_dots(client: Client) -> None:
    assert await client.addresses("a.b") == ["172.30.0.7"]
    assert await client.addresses("a.b.backend") == ["172.30.0.7"]
    assert await client.addresses("web.front.net") == ["172.30.1.2"]


async def test_the_answer_spells_the_question_as_it_was_asked(client: Client) -> None:
    answer = await client.raw(question("wEb").pack())
    assert answer is not None
    assert b"\x03wEb\x00" in answer
    assert await client.raw(question("WEb").pack()) != answer


async def test_a_name_without_such_an_address_exists_all_the_same(client: Client) -> None:
    for name, kind in (("old", "AAAA"), ("idle", "A"), ("web", "MX"), ("web", "HTTPS"), ("web", "TXT")):
        answer = await client.ask(name, kind)
        assert (answer.header.rcode, answer.rr) == (0, []), (name, kind)


async def test_a_name_that_nobody_has_does_not_exist(client: Client) -> None:
    for name in ("nobody", "nobody.backend", "web.other", "www.example", "\\032", "a" * 63):
        answer = await client.ask(name)
        assert answer.header.rcode == 3, name


async def test_all_who_share_a_name_are_named_and_take_turns(client: Client) -> None:
    firsts = collections.Counter()
    for _ in range(9):
        addresses = await client.addresses("api")
        assert sorted(addresses) == ["172.30.0.4", "172.30.0.5", "172.30.0.6"]
        firsts[addresses[0]] += 1
    assert set(firsts.values()) == {3}


async def test_an_address_leads_back_to_a_name(client: Client) -> None:
    assert await client.addresses("2.0.30.172.in-addr.arpa", "PTR") == ["web.backend."]
    nibbles = ".".join(reversed("fd000030" + "0" * 23 + "2"))
    assert await client.addresses(f"{nibbles}.ip6.arpa", "PTR") == ["web.backend."]
    assert (await client.ask("99.0.30.172.in-addr.arpa", "PTR")).header.rcode == 3
    assert (await client.ask("2.0.30.172.in-addr.arpa", "TXT")).header.rcode == 0


async def test_localhost_is_the_asker_itself(client: Client) -> None:
    assert await client.addresses("localhost") == ["127.0.0.1"]
    assert await client.addresses("x.localhost", "AAAA") == ["::1"]
    assert await client.addresses("1.0.0.127.in-addr.arpa", "PTR") == ["localhost."]


async def test_a_change_is_seen_at_once() -> None:
    table = backend()
    async with serving(table) as (_, client):
        assert await client.addresses("web") == ["172.30.0.2"]
        table.networks["backend"]["web"] = ["172.30.0.99"]
        table.generation += 1
        assert await client.addresses("web") == ["172.30.0.99"]


async def test_what_does_not_fit_a_datagram_is_cut_and_is_whole_by_tcp(client: Client) -> None:
    answer = await client.raw(question("many").pack())
    assert answer is not None
    assert len(answer) <= 512
    cut = DNSRecord.parse(answer)
    assert cut.header.tc
    assert len(cut.rr) == (512 - 12 - 10) // 16
    (whole,) = await client.tcp(question("many").pack())
    assert len(DNSRecord.parse(whole).rr) == 100
    assert not DNSRecord.parse(whole).header.tc


@pytest.mark.parametrize(("offered", "limit"), [(100, 512), (800, 800), (1232, 1232), (65535, 1232)])
async def test_the_size_of_a_datagram_is_the_clients_choice_within_reason(
    client: Client, offered: int, limit: int
) -> None:
    query = question("many")
    query.add_ar(EDNS0(udp_len=offered))
    answer = await client.raw(query.pack())
    assert answer is not None
    assert limit - 16 < len(answer) <= limit
    parsed = DNSRecord.parse(answer)
    assert parsed.header.tc
    assert [record.rtype for record in parsed.ar] == [41]


async def test_who_does_not_speak_edns_gets_none(client: Client) -> None:
    assert (await client.ask("web")).ar == []


async def test_an_unknown_version_of_edns_is_told_which_one_we_know(client: Client) -> None:
    query = question("web")
    query.add_ar(EDNS0(version=1, udp_len=1232))
    answer = DNSRecord.parse(await client.raw(query.pack()))
    assert answer.header.rcode == 0
    assert answer.ar[0].ttl >> 24 == 1  # with the header's, 16: BADVERS
    assert answer.rr == []


async def test_what_is_no_question_about_names_is_refused(client: Client) -> None:
    assert (await client.ask("web", "AXFR")).header.rcode == 5
    query = question("web")
    query.q.qclass = 3
    assert DNSRecord.parse(await client.raw(query.pack())).header.rcode == 5
    update = await client.raw(question("web", opcode=5).pack())
    assert update is not None
    assert update[3] & 0xF == 4


async def test_an_answer_is_never_answered(client: Client) -> None:
    assert await client.raw(question("web", qr=1).pack(), seconds=0.1) is None
    assert await client.raw(b"\0" * 11, seconds=0.1) is None


async def test_several_questions_over_one_connection_are_all_answered(client: Client) -> None:
    queries = [question(name).pack() for name in ("web", "old", "nobody") * 100]
    answers = await client.tcp(*queries)
    assert sorted(answer[:2] for answer in answers) == sorted(query[:2] for query in queries)


async def test_a_message_in_pieces_is_one_message(client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    query = question("web").pack()
    for byte in len(query).to_bytes(2, "big") + query:
        writer.write(bytes([byte]))
        await writer.drain()
    length = int.from_bytes(await reader.readexactly(2), "big")
    assert DNSRecord.parse(await reader.readexactly(length)).rr
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_says_nothing_is_left(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.network.dns.connection.IDLE_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"\0")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 60)
    writer.close()


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_not_read_from(client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    query = question("many").pack()
    framed = len(query).to_bytes(2, "big") + query

    async def talk_for_ever() -> None:
        while True:
            writer.write(framed * 100)
            await writer.drain()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(talk_for_ever(), 1)
    assert await client.addresses("web") == ["172.30.0.2"]
    writer.transport.abort()
    del reader


async def test_a_stopped_owner_is_not_served_and_its_sockets_are_closed() -> None:
    async with serving(backend()) as (server, client):
        reader, _writer = await asyncio.open_connection("127.0.0.1", client.port)
        await asyncio.sleep(0.01)  # let the server accept
        server.stop("c1")
        with pytest.raises(ConnectionRefusedError):
            await client.raw(question("web").pack())
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 60)
        _writer.close()
        server.stop("c1")


async def test_owners_are_told_apart() -> None:
    server = DnsServer(backend())
    sockets = [bound() for _ in range(2)]
    for owner, (udp, tcp) in zip(("c1", "c2"), sockets, strict=True):
        server.serve(owner, udp, tcp)
    first, second = (Client(udp.getsockname()[1]) for udp, _ in sockets)
    assert await first.addresses("web") == ["172.30.0.2"]
    assert (await second.ask("web")).header.rcode == 3
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize("names", [["web"], [f"n{number}" for number in range(5000)]], ids=["one name", "many names"])
async def test_a_flood_leaves_the_loop_time_for_others(names: list[str]) -> None:
    queries = [question(name).pack() for name in names]
    async with serving(backend()) as (_, client):
        with flooding(client.port, queries) as flooder:
            turns = []
            for _ in range(100):
                before = time.thread_time()  # others on this machine may take the processor away for longer
                await asyncio.sleep(0.002)
                turns.append(time.thread_time() - before)
            assert flooder.poll() is None
        turn = statistics.median(turns)
        query = question("web").pack()
        for _ in range(20):  # the kernel's queue may be full at first
            if await client.raw(query, seconds=1):
                break
        else:
            pytest.fail("after the flood nobody is answered")
    in_time(turn < 0.01, f"the loop takes {turn:.3f} s for a turn")


@contextmanager
def flooding(port: int, queries: list[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that sends these again and again, and never reads an answer."""
    program = (
        "import itertools, socket, sys\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.connect(('127.0.0.1', int(sys.argv[1])))\n"
        "for line in itertools.cycle([bytes.fromhex(line) for line in sys.stdin]): sock.send(line)\n"
    )
    command = [sys.executable, "-c", program, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as flooder:
        assert flooder.stdin
        flooder.stdin.write("\n".join(query.hex() for query in queries).encode())
        flooder.stdin.close()
        yield flooder
        flooder.kill()


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig (bind9-dnsutils) is not installed")
@pytest.mark.parametrize("options", [(), ("+tcp",), ("+noedns",), ("+dnssec", "+cookie"), ("+bufsize=4096",)])
async def test_dig_understands_it(client: Client, options: tuple[str, ...]) -> None:
    command = ["dig", "@127.0.0.1", "-p", str(client.port), "+time=2", "+tries=1", *options, "web"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout
    assert "172.30.0.2" in done.stdout
    assert "WARNING" not in done.stdout.replace("WARNING: recursion requested", "")
    assert "malformed" not in done.stdout.lower()


def test_the_table_of_these_tests_is_a_directory() -> None:
    assert DnsServer(Table())
