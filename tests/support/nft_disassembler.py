"""Reads a rule's expressions back from their bytes, in the words of ``nft --debug=netlink list ruleset``.

Written from linux/netfilter/nf_tables.h, not from the code that it checks: so the two can disagree.
"""

from __future__ import annotations

import struct

META = {4: "iif", 6: "iifname", 7: "oifname", 15: "nfproto", 16: "l4proto", 19: "pkttype", 26: "iifkind", 27: "oifkind"}
BASES = ["link", "network", "transport"]
VERDICTS = {0: "drop", 1: "accept", -3: "jump", -4: "goto"}


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        assert 4 <= length <= len(data) - at, f"attribute of {length} bytes at {at} of {len(data)}"
        found.append((kind & 0x3FFF, data[at + 4 : at + length]))
        at += (length + 3) & ~3
    assert at == len(data), "the last attribute is not padded"
    return found


def big(data: bytes) -> int:
    assert len(data) in (1, 2, 4)
    return int.from_bytes(data, "big")


def string(data: bytes) -> str:
    assert data.endswith(b"\0")
    return data[:-1].decode()


def words(data: bytes) -> str:
    data += bytes(-len(data) % 4)
    return " ".join(f"0x{word:08x}" for word in struct.unpack(f"={len(data) // 4}I", data))


def value(data: bytes) -> str:
    ((kind, inside),) = attributes(data)
    assert kind == 1
    return words(inside)


def verdict(data: bytes) -> str:
    ((kind, inside),) = attributes(data)
    assert kind == 2
    found = dict(attributes(inside))
    code = int.from_bytes(found[1], "big", signed=True)
    return VERDICTS[code] + (f" -> {string(found[2])}" if 2 in found else "")


def disassemble(code: bytes) -> list[str]:
    lines = []
    for kind, one in attributes(code):
        assert kind == 1  # NFTA_LIST_ELEM
        found = dict(attributes(one))
        name = string(found[1])
        lines.append(f"[ {READERS[name](dict(attributes(found[2])))} ]")
    return lines


def _fib(found: dict[int, bytes]) -> str:
    assert big(found[2]) == 3
    flags = " . ".join(word for bit, word in ((1, "saddr"), (2, "daddr"), (8, "iif")) if big(found[3]) & bit)
    return f"fib {flags} type => reg {big(found[1])}"


def _lookup(found: dict[int, bytes]) -> str:
    text = f"lookup reg {big(found[2])} set {string(found[1])}"
    if 3 in found:
        text += f" dreg {big(found[3])}"
    return text + (f" 0x{big(found[5]):x}" if 5 in found else "")


def _immediate(found: dict[int, bytes]) -> str:
    return f"immediate reg {big(found[1])} {verdict(found[2])}"


def _bitwise(found: dict[int, bytes]) -> str:
    assert big(found[3]) == 4
    return f"bitwise reg {big(found[2])} = ( reg {big(found[1])} & {value(found[4])} ) ^ {value(found[5])}"


def _nat(found: dict[int, bytes]) -> str:
    family = {2: "ip", 10: "ip6"}[big(found[2])]
    if big(found[1]) == 0:
        return f"nat snat {family} addr_min reg {big(found[3])}"
    return f"nat dnat {family} addr_min reg {big(found[3])} proto_min reg {big(found[5])}"


READERS = {
    "meta": lambda found: f"meta load {META[big(found[2])]} => reg {big(found[1])}",
    "ct": lambda found: f"ct load {['state', '', 'status'][big(found[2])]} => reg {big(found[1])}",
    "payload": lambda found: (
        f"payload load {big(found[4])}b @ {BASES[big(found[2])]} header + {big(found[3])} => reg {big(found[1])}"
    ),
    "cmp": lambda found: f"cmp {['eq', 'neq'][big(found[2])]} reg {big(found[1])} {value(found[3])}",
    "fib": _fib,
    "lookup": _lookup,
    "immediate": _immediate,
    "bitwise": _bitwise,
    "nat": _nat,
    "masq": lambda found: "masq",
}
