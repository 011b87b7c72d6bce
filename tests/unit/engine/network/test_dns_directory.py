"""The names of containers on their networks."""

from __future__ import annotations

from ipaddress import ip_address

from wherry.engine.network.dns_directory import DnsDirectory, DnsEntry
from wherry.network.model import Network


def _network(name: str, **members: object) -> Network:
    return Network(id=name * 8, name=name, driver="bridge", created=1, **members)  # type: ignore[arg-type]


def test_names_are_known_on_their_network_only_and_links_to_their_owner_only() -> None:
    directory = DnsDirectory(lambda owner: ((), False), lambda: ())
    front, back = _network("front"), _network("back")
    one, two = ip_address("10.0.0.2"), ip_address("10.0.0.3")
    directory.joined("w", DnsEntry(front, (one,), ("Web", "www")))
    directory.joined("v", DnsEntry(front, (two,), ("v", "www"), (("store", "Web"),)))
    directory.joined("d", DnsEntry(back, (ip_address("10.0.1.2"),), ("db",)))
    assert directory.lookup("v", "web", None) == (one,)
    assert directory.lookup("v", "www", "front") == (one, two)
    assert directory.lookup("v", "store", None) == (one,)
    assert directory.lookup("w", "store", None) is None
    assert directory.lookup("d", "web", None) is None
    assert directory.lookup("w", "web", "back") is None
    assert directory.reverse("v", one) == "Web.front"
    assert directory.reverse("d", one) is None
    before = directory.generation
    directory.left("w")
    assert directory.generation > before
    assert directory.lookup("v", "www", None) == (two,)
    assert directory.lookup("v", "web", None) is None
