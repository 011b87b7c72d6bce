"""Names and masks of capabilities."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.children import need
from wherry.errors import InvalidInput
from wherry.linux import capabilities
from wherry.linux.capabilities import CAP, CapabilitySets, capget, lowered


def status_mask(name: str) -> int:
    """A mask of /proc/self/status."""
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1], 16)


@pytest.mark.parametrize("name", ["CAP_NET_ADMIN", "net_admin", "Net_Admin", "cap_net_admin"])
def test_a_name_is_read_as_docker_reads_it(name: str) -> None:
    assert capabilities.parse(name) == CAP.NET_ADMIN.value == 12


@pytest.mark.parametrize("name", ["", "CAP_", "CAP_EVERYTHING", "ALL"])
def test_an_unknown_name_is_an_error_that_quotes_it(name: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(repr(name))):
        capabilities.parse(name)


@given(st.sets(st.integers(0, 63)))
def test_masks_and_sets_are_the_same(numbers: set[int]) -> None:
    assert capabilities.from_mask(capabilities.to_mask(numbers)) == numbers


def test_names_survive_a_round_trip() -> None:
    assert [capabilities.parse(capabilities.text(cap)) for cap in CAP] == list(range(41))
    assert capabilities.text(63) == "CAP_63"


def test_the_numbers_are_those_of_the_kernels_headers() -> None:
    header = Path("/usr/include/linux/capability.h")
    need(header.exists(), "the kernel's headers")
    found = re.findall(r"^#define CAP_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    assert {name: int(number) for name, number in found} == {cap.name: cap.value for cap in CAP}


def test_this_processs_sets_are_those_of_proc() -> None:
    sets = capabilities.capget()
    for name, found in (("CapEff", sets.effective), ("CapPrm", sets.permitted), ("CapInh", sets.inheritable)):
        assert capabilities.to_mask(found) == status_mask(name)
    assert capabilities.to_mask(capabilities.bounding_read()) == status_mask("CapBnd")
    assert capabilities.to_mask(capabilities.ambient_read()) == status_mask("CapAmb")


def test_the_last_capability_is_the_kernels() -> None:
    assert capabilities.last_cap() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def test_a_capability_is_lowered_in_one_thread_and_for_a_while() -> None:
    before, elsewhere = capget(), list[CapabilitySets]()
    asked, go = threading.Event(), threading.Event()

    def other() -> None:
        asked.set()
        go.wait()
        elsewhere.append(capget())

    thread = threading.Thread(target=other)
    thread.start()
    asked.wait()
    with lowered(CAP.SYS_RESOURCE, CAP.CHOWN):
        assert capget().effective == before.effective - {CAP.SYS_RESOURCE, CAP.CHOWN}
        assert capget().permitted == before.permitted
        go.set()
        thread.join()
    assert capget() == before == elsewhere[0]
