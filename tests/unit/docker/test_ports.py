"""Ports as Docker writes them."""

from __future__ import annotations

import pytest

from wherry.docker.ports import any_port_of, ports_in
from wherry.errors import InvalidInput


def test_ports_are_read_in_every_form() -> None:
    assert ports_in("80") == [(80, "tcp")]
    assert ports_in("8000-8002/udp") == [(8000, "udp"), (8001, "udp"), (8002, "udp")]
    for wrong in ("", "x", "70000", "9-8", "80/icmp", "1-2-3"):
        with pytest.raises(InvalidInput):
            ports_in(wrong)


@pytest.mark.slow
def test_a_port_is_among_any_number_of_ranges() -> None:
    serves = any_port_of([f"{low}-65535/udp" for low in range(9_000, 65_000)] + ["80", "443/TCP"])
    assert [serves(*port) for port in ((80, "tcp"), (443, "tcp"), (9_000, "udp"), (65_535, "udp"))] == [True] * 4
    assert [serves(*port) for port in ((81, "tcp"), (80, "udp"), (8_999, "udp"), (80, "sctp"))] == [False] * 4
    with pytest.raises(InvalidInput):
        any_port_of(["80", "x"])
