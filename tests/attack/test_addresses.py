"""Addresses of registries that are none, and placeholders for credentials: a caller's mistake is never ours."""

from __future__ import annotations

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root")]

BAD = ["..", "a..b", "[", "[::1", "a:99999", "a:x", "x:y:z", "localhost:-1", "x" * 300, "\0", "[::1]:x", "a b"]


@pytest.mark.parametrize("address", BAD)
def test_an_address_that_can_be_none_is_the_callers_fault(daemon: Daemon, address: str) -> None:
    for target in (address, f"http://{address}", f"https://{address}/v1/"):
        answer = daemon.request("POST", "/auth", {"username": "a", "password": "b", "serveraddress": target})
        assert answer.status == 400, answer.body
    for term in (f"{address}/..", f"{address}/x"):
        answer = daemon.request("GET", "/images/search", term=term)
        is_domain = any(letter in address for letter in ".:")
        assert answer.status == 400 if is_domain else b"internal error" not in answer.body, (term, answer.body)


def test_nothing_that_is_searched_for_is_an_internal_error(daemon: Daemon) -> None:
    for term in ("../..", "../../..", "localhost:1/../..", "127.0.0.1:1/%00", "127.0.0.1:1/\0"):
        answer = daemon.request("GET", "/images/search", term=term)
        assert b"internal error" not in answer.body
        assert b"lookup" not in answer.body
