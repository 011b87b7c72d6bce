"""A DNS server on loopback with a directory of its own, clients for it, and servers for it to ask."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, cast

from dnslib import AAAA, QTYPE, RR, SOA, A, DNSRecord

from wherry.network.dns.directory import ResolverConfig, Upstream
from wherry.network.dns.server import DnsServer
from wherry.network.model import Address

OWNER = "c1"


@dataclass
class Table:
    """A directory of one owner on networks that are tables of names."""

    networks: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    upstreams: tuple[Upstream, ...] = ()
    asks_all: bool = False
    subnets: tuple[str, ...] = ("172.30.0.0/24", "fd00:30::/64")
    generation: int = 0

    def lookup(self, owner: str, name: str, network: str | None) -> Sequence[Address] | None:
        """As `Directory.lookup`."""
        for called, names in self.networks.items():
            if network in (None, called) and name in names and owner == OWNER:
                return [ip_address(one) for one in names[name]]
        return None

    def is_foreign(self, name: str, network: str) -> bool:
        """As `Directory.is_foreign`."""
        return (name, network) == ("vault", "secret.net")

    def reverse(self, owner: str, address: Address) -> str | None:
        """As `Directory.reverse`."""
        for called, names in self.networks.items():
            for name, addresses in names.items():
                if str(address) in addresses:
                    return f"{name}.{called}"
        return None

    def resolver_config(self, owner: str) -> ResolverConfig:
        """As `Directory.resolver_config`."""
        subnets = tuple(ip_network(one) for one in self.subnets)
        return ResolverConfig(frozenset(self.networks), subnets, self.upstreams, self.asks_all)


def backend() -> Table:
    """What most tests ask about."""
    return Table(
        {
            "backend": {
                "web": ["172.30.0.2", "fd00:30::2"],
                "old": ["172.30.0.3"],
                "api": ["172.30.0.4", "172.30.0.5", "172.30.0.6"],
                "a.b": ["172.30.0.7"],
                "idle": [],
                "many": [f"172.30.0.{n}" for n in range(100, 200)],
            },
            "front.net": {"web": ["172.30.1.2"], "shop": ["172.30.1.3"]},
        }
    )


@dataclass
class Client:
    """Asks the server at `port`."""

    port: int

    async def raw(self, data: bytes, seconds: float = 20) -> bytes | None:
        """Send a datagram; gives the answer, or None when there is none in time."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", self.port))
            sock.send(data)
            with suppress(TimeoutError):
                return await asyncio.wait_for(loop.sock_recv(sock, 65535), seconds)
        return None

    async def ask(self, name: str, kind: str = "A", **changes: Any) -> DNSRecord:
        """Ask by UDP.

        :param changes: attributes of the header that are other than usual.
        """
        query = question(name, kind, **changes)
        answer = await self.raw(query.pack())
        assert answer is not None, f"no answer for {name}"
        parsed = DNSRecord.parse(answer)
        assert parsed.header.id == query.header.id
        return parsed

    async def addresses(self, name: str, kind: str = "A") -> list[str]:
        """The addresses in the answer."""
        return [str(record.rdata) for record in (await self.ask(name, kind)).rr]

    async def tcp(self, *queries: bytes) -> list[bytes]:
        """Send all, close the sending side, and take all answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"".join(len(query).to_bytes(2, "big") + query for query in queries))
        writer.write_eof()
        found = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        await writer.wait_closed()
        return list(messages(found))


def messages(stream: bytes) -> list[bytes]:
    """Messages with their length in front."""
    found = []
    while stream:
        length = int.from_bytes(stream[:2], "big")
        found.append(stream[2 : 2 + length])
        stream = stream[2 + length :]
    return found


def question(name: str, kind: str = "A", **changes: Any) -> DNSRecord:
    """A query as the C library sends it."""
    query = DNSRecord.question(name, kind)
    for attribute, value in changes.items():
        setattr(query.header, attribute, value)
    return query


def bound() -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket with the same port."""
    for _ in range(20):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            continue
        tcp.listen(64)
        return udp, tcp
    raise RuntimeError("no port is free for both protocols")


@asynccontextmanager
async def serving(directory: Table) -> AsyncIterator[tuple[DnsServer, Client]]:
    """A server for one owner, and a client."""
    server = DnsServer(directory)
    udp, tcp = bound()
    server.serve(OWNER, udp, tcp)
    try:
        yield server, Client(udp.getsockname()[1])
    finally:
        server.close()
        await asyncio.sleep(0)  # tasks that were cancelled end


Handler = Callable[[DNSRecord, bool], bytes | list[bytes] | None]


class Server(asyncio.DatagramProtocol):
    """An upstream server that answers as it is told, and remembers what it was asked.

    :param handler: gives the answers to a query, and is told whether it came by TCP.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.asked: list[tuple[str, str]] = []
        self.queries: list[DNSRecord] = []
        self.ports: list[int] = []
        self.heard = asyncio.Event()
        self.upstream = Upstream("127.0.0.1", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As in asyncio."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """As in asyncio."""
        self.ports.append(addr[1])
        for answer in self._answers(data, tcp=False):
            self.transport.sendto(answer, addr)

    def _answers(self, data: bytes, *, tcp: bool) -> list[bytes]:
        query = DNSRecord.parse(data)
        self.queries.append(query)
        self.heard.set()
        self.asked.append((str(query.q.qname).lower(), QTYPE[query.q.qtype]))
        answer = self._handler(query, tcp)
        return [answer] if isinstance(answer, bytes) else answer or []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client by TCP."""
        with suppress(asyncio.IncompleteReadError):
            length = int.from_bytes(await reader.readexactly(2), "big")
            for answer in self._answers(await reader.readexactly(length), tcp=True):
                writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()


@asynccontextmanager
async def upstream(handler: Handler, *, tcp: bool = True) -> AsyncIterator[Server]:
    """An upstream server on loopback."""
    server = Server(handler)
    udp, listening = bound()
    server.upstream = Upstream("127.0.0.1", udp.getsockname()[1])
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, sock=udp)
    streams = await asyncio.start_server(server.connected, sock=listening) if tcp else None
    if streams is None:
        listening.close()
    try:
        yield server
    finally:
        transport.close()
        if streams is not None:
            streams.close()
            await streams.wait_closed()


def zone(query: DNSRecord, tcp: bool) -> bytes:
    """Answers like a resolver of the Internet: every name below ``example.`` has addresses."""
    reply = query.reply(ra=1, aa=0)
    name, kind = query.q.qname, QTYPE[query.q.qtype]
    if not str(name).lower().endswith("example."):
        reply.header.rcode = 3
    elif kind == "A":
        reply.add_answer(RR(name, QTYPE.A, ttl=60, rdata=A("192.0.2.1")))
    elif kind == "AAAA":
        reply.add_answer(RR(name, QTYPE.AAAA, ttl=60, rdata=AAAA("2001:db8::1")))
    if not reply.rr:
        times = (1, 3600, 600, 86400, 30)
        reply.add_auth(RR("example.", QTYPE.SOA, ttl=60, rdata=SOA("ns.example.", "admin.example.", times)))
    return bytes(reply.pack())


__all__ = [
    "OWNER",
    "Client",
    "Server",
    "Table",
    "backend",
    "bound",
    "messages",
    "question",
    "serving",
    "upstream",
    "zone",
]
