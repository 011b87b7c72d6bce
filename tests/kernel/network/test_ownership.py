"""The firewall's tables belong to one socket, and outlive it (Linux 6.9); on other kernels they are everybody's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from support.needs import need
from support.network_harness import new_host
from wherry.errors import SystemCallError
from wherry.linux.netlink import Family, Message, NetlinkSocket
from wherry.linux.nftables import tables
from wherry.network.firewall.firewall import BridgeRules, Firewall

pytestmark = need("root", "namespaces", "nft")

BRIDGE = BridgeRules("br-x", (ip_network("10.91.9.0/24"),))


@pytest.fixture
def owner() -> Iterator[Firewall]:
    with new_host():
        firewall = Firewall("wherry", owned=True)
        firewall.restore([BRIDGE], [], [])
        yield firewall
        firewall.close()


def nft(*words: str) -> int:
    return subprocess.run(["nft", *words], capture_output=True, check=False, timeout=60).returncode


def there() -> set[str]:
    with NetlinkSocket(Family.NETFILTER) as connection:
        return {name for _, name in tables(connection)}


def skip_unless_owned(firewall: Firewall) -> None:
    if not firewall.is_owned:
        pytest.skip("this kernel has no tables that are owned and outlive their owner")


def test_nobody_else_flushes_changes_or_removes_tables_that_are_owned(owner: Firewall) -> None:
    skip_unless_owned(owner)
    assert nft("flush", "ruleset") == 0, "it passes over them, so that a host's own rules can be loaded anew"
    for words in (
        ("delete", "table", "inet", "wherry"),
        ("flush", "table", "bridge", "wherry"),
        ("insert", "rule", "inet", "wherry", "forward", "accept"),
        ("flush", "set", "inet", "wherry", "bridges"),
    ):
        assert nft(*words) != 0
    assert owner.intact([BRIDGE], [], [])
    other = Firewall("wherry", owned=True)
    with pytest.raises(SystemCallError, match="not permitted"):
        other.restore([], [], [])
    other.close()
    assert owner.intact([BRIDGE], [], [])


def test_whoever_has_the_socket_is_the_owner(owner: Firewall) -> None:
    skip_unless_owned(owner)
    held, port = os.dup(owner.fileno()), owner.port
    owner.close()
    assert nft("flush", "ruleset") == 0
    assert there() == {"wherry"}
    heir = Firewall("wherry", owned=True, connection=NetlinkSocket.go_on(Family.NETFILTER, held))
    assert heir.port == port
    assert heir.intact([BRIDGE], [], [])
    heir.add_bridge(BridgeRules("br-y", (ip_network("10.91.10.0/24"),)))
    heir.restore([BRIDGE], [], [])
    heir.remove_all()
    assert there() == set()
    heir.close()


def test_tables_outlive_their_owner_and_are_anybodys_then(owner: Firewall) -> None:
    owner.close()
    assert there() == {"wherry"}
    heir = Firewall("wherry", owned=True)
    heir.restore([BRIDGE], [], [])
    heir.close()
    stranger = Firewall("wherry")
    assert stranger.intact([BRIDGE], [], [])
    stranger.restore([], [], [])
    stranger.restore([BRIDGE], [], [])
    assert nft("flush", "ruleset") == 0
    assert there() == set()
    stranger.close()


def test_answers_that_a_former_owner_did_not_read_confuse_nobody(owner: Firewall) -> None:
    connection = NetlinkSocket.go_on(Family.NETFILTER, os.dup(owner.fileno()))
    connection._send([Message(0xA01, b"\0\0\0\0")], 0x301)  # it dies with the answer on its way
    heir = Firewall("wherry", owned=True, connection=NetlinkSocket.go_on(Family.NETFILTER, os.dup(owner.fileno())))
    connection.close()
    assert heir.intact([BRIDGE], [], [])
    heir.close()
