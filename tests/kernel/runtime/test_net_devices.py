"""Network devices of the host in a container: moved with their addresses, and put back when the start fails.

Each test has a network namespace in place of the host's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from support.needs import need
from support.runtime_harness import ORDINARY_NAMESPACES, Box
from wherry.errors import Conflict, NotFound
from wherry.linux import rtnetlink
from wherry.linux.fd import Fd
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.linux.process import CLONE, setns, unshare
from wherry.oci.runtime_spec import Namespace, NetDevice

pytestmark = need("root", "busybox", "overlay", "namespaces")

ADDRESSES = (("192.0.2.7", 24), ("198.51.100.9", 32), ("2001:db8::7", 64))


@pytest.fixture
def host() -> Iterator[NetlinkSocket]:
    """A network namespace with two ends of a cable: ``wd0``, up and with addresses, and ``wd1``, down."""
    with Fd(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as own:
        unshare(CLONE.NEWNET)
        try:
            with NetlinkSocket(Family.ROUTE) as conversation:
                conversation.batch([rtnetlink.veth("wd0", "wd1"), rtnetlink.set_link("wd0", up=True)])
                number = link(conversation, "wd0").number
                conversation.batch([rtnetlink.address(number, ip_address(text), prefix) for text, prefix in ADDRESSES])
                yield conversation
        finally:
            setns(own, CLONE.NEWNET)


def link(conversation: NetlinkSocket, name: str) -> rtnetlink.Link:
    found = rtnetlink.find_link(conversation, name)
    assert found is not None, f"{name} is not there"
    return found


def lasting(conversation: NetlinkSocket, name: str) -> set[tuple[str, int]]:
    number = link(conversation, name).number
    found = (entry for entry in rtnetlink.addresses(conversation) if entry.link == number)
    return {(str(entry.address), entry.prefix) for entry in found if not entry.address.is_link_local}


def test_devices_are_moved_up_and_with_their_addresses(box: Box, host: NetlinkSocket) -> None:
    found = box.run(
        "ip -o addr show dev data | grep -v fe80; ip -o link show dev wd1",
        linux={"net_devices": {"wd0": NetDevice(name="data"), "wd1": NetDevice()}},
    )
    assert found.failure is None, found.failure
    *shown, second = found.lines
    assert {line.split()[3] for line in shown} == {f"{text}/{prefix}" for text, prefix in ADDRESSES}
    assert ",UP" in second
    assert rtnetlink.find_link(host, "wd0") is None


def test_a_template_gives_a_free_name(box: Box, host: NetlinkSocket) -> None:
    devices = {"wd0": NetDevice(name="port%d"), "wd1": NetDevice(name="port%d")}
    found = box.run("ls /sys/class/net", linux={"net_devices": devices})
    assert {"port0", "port1"} <= set(found.out.split())


def test_a_device_that_is_not_there_is_told_and_the_others_stay(box: Box, host: NetlinkSocket) -> None:
    with pytest.raises(NotFound, match="no network device 'wd9'"):
        box.run("true", linux={"net_devices": {"wd0": NetDevice(name="data"), "wd9": NetDevice()}})
    assert link(host, "wd0").up
    assert lasting(host, "wd0") == set(ADDRESSES)


def test_a_name_that_is_taken_in_the_container_is_refused(box: Box, host: NetlinkSocket) -> None:
    with pytest.raises(Conflict, match="network device 'lo' already"):
        box.run("true", linux={"net_devices": {"wd0": NetDevice(name="lo")}})
    assert lasting(host, "wd0") == set(ADDRESSES)


def test_a_start_that_fails_later_puts_them_back(box: Box, host: NetlinkSocket) -> None:
    devices = {"wd0": NetDevice(name="data"), "wd1": NetDevice()}
    failure = box.run(["/no/such/program"], linux={"net_devices": devices}).failure
    assert failure is not None
    assert (link(host, "wd0").up, link(host, "wd1").up) == (True, False)
    assert lasting(host, "wd0") == set(ADDRESSES)


def test_they_move_into_a_namespace_that_exists(box: Box, host: NetlinkSocket) -> None:
    with box.running("exec sleep 100") as first:
        others = tuple(one for one in ORDINARY_NAMESPACES if one.type != "network")
        joined = (*others, Namespace(type="network", path=f"/proc/{first.pid}/ns/net"))
        found = box.run("true", linux={"namespaces": joined, "net_devices": {"wd0": NetDevice(name="data")}})
        assert found.failure is None, found.failure
        shown = box.exec(first, "ip -o -4 addr show dev data")
        assert "192.0.2.7/24" in shown.out
