"""What a server's volume is asked for: addresses, no names; and no password in what is said of it."""

from __future__ import annotations

import socket

import pytest

from wherry.errors import SystemFault
from wherry.volumes.network_options import resolved, without_password, words_of

KNOWN = {"nas": [(socket.AF_INET6, "fd00::1"), (socket.AF_INET, "192.0.2.1")], "six": [(socket.AF_INET6, "fd00::2")]}


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if host.lower() not in KNOWN:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(family, 1, 6, "", (address, 0)) for family, address in KNOWN[host.lower()]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("kind", "device", "options", "meant"),
    [
        ("nfs", ":/a", "addr=nas,rw", (":/a", "addr=192.0.2.1,rw")),
        ("nfs", ":/a", "rw,addr=six", (":/a", "rw,addr=fd00::2")),
        ("nfs", ":/a", "addr=127.0.0.1", (":/a", "addr=127.0.0.1")),
        ("nfs", "nas:/a", "rw", ("nas:/a", "rw")),  # the kernel wants addr=, in Docker as well
        ("cifs", "//NAS/a", "username=u", ("//192.0.2.1/a", "username=u")),
        ("cifs", "//nas/a", "addr=six", ("//nas/a", "addr=fd00::2")),
        ("cifs", "//192.0.2.9/a", "", ("//192.0.2.9/a", "")),
        ("tmpfs", "tmpfs", "addr=nas", ("tmpfs", "addr=nas")),
    ],
)
def test_names_become_addresses(kind: str, device: str, options: str, meant: tuple[str, str]) -> None:
    device, words = resolved(kind, device, words_of(kind, options))
    assert (device, ",".join(words)) == meant


@pytest.mark.parametrize(("kind", "device", "options"), [("nfs", ":/a", "addr=no"), ("cifs", "//no/a", "")])
def test_a_name_that_is_not_known_is_said(kind: str, device: str, options: str) -> None:
    with pytest.raises(SystemFault, match=r"error resolving passed in network volume address: no: not known"):
        resolved(kind, device, words_of(kind, options))


def test_a_password_may_have_commas_and_is_in_no_error() -> None:
    words = words_of("cifs", "username=u,password=a,,b,vers=3.0")
    assert words == ["username=u", "password=a,b", "vers=3.0"]
    assert without_password("set password='a,b' of a,,b", words) == "set password='********' of ********"
    assert without_password("set pass='x'", ["pass=x"]) == "set pass='********'"
