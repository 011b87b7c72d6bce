"""Links in a host configuration."""

from __future__ import annotations

from wherry.docker.network_mode import parse_links


def test_links_are_read_in_every_form() -> None:
    assert parse_links(["db", "db:store", "/db:/web/store"]) == [("db", "db"), ("db", "store"), ("db", "store")]
