"""What the registry client knows without a registry: challenges, credentials, addresses, realms, progress."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from support import needs
from wherry.distribution.client.addresses import check_domain, host_of, is_insecure, is_local
from wherry.distribution.client.challenge import Challenge, parse
from wherry.distribution.client.credentials import Credentials, from_header, from_object
from wherry.distribution.client.endpoints import Endpoint, endpoints
from wherry.distribution.client.errors import sentence_of
from wherry.distribution.client.http import retry_after
from wherry.distribution.client.repository import RemoteManifest
from wherry.distribution.client.settings import RegistrySettings
from wherry.distribution.client.tokens import check_realm
from wherry.distribution.transfer.progress import bar
from wherry.distribution.transfer.search import filtered
from wherry.distribution.transfer.select_manifest import remote_layers, select_manifest
from wherry.docker.registry_answers import SearchHit
from wherry.docker.units import human_size
from wherry.errors import Forbidden, InvalidInput, WherryError
from wherry.oci.digest import Digest
from wherry.oci.manifest import parse_manifest_or_index
from wherry.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from wherry.oci.platform import Platform

NOWHERE = RegistrySettings(certificates=())


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://auth.example.com/t",service="s",scope="repository:a/b:pull,push"',
            [Challenge("bearer", {"realm": "https://auth.example.com/t", "service": "s",
                                  "scope": "repository:a/b:pull,push"})],
        ),
        ('Basic realm="a", Bearer x="b"', [Challenge("basic", {"realm": "a"}), Challenge("bearer", {"x": "b"})]),
        ("Negotiate", [Challenge("negotiate", {})]),
        ('Bearer realm="quo\\"ted", error = invalid_token', [Challenge("bearer", {"realm": 'quo"ted',
                                                                                  "error": "invalid_token"})]),
        ("", []),
    ],
)  # fmt: skip
def test_challenges_are_read(header: str, expected: list[Challenge]) -> None:
    assert parse([header]) == expected


@given(st.text())
def test_no_challenge_upsets_the_reader(header: str) -> None:
    parse([header])


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_credentials_come_in_any_base64(encode: Any, padded: bool) -> None:
    text = encode(json.dumps({"username": "me", "password": "sécret?>~"}).encode()).decode()
    assert from_header(text if padded else text.rstrip("=")) == Credentials("me", "sécret?>~")


def test_credentials_of_old_clients_and_of_none() -> None:
    pair = base64.b64encode(b"me:pa:ss").decode()
    assert from_header(base64.b64encode(json.dumps({"auth": pair}).encode()).decode()) == Credentials("me", "pa:ss")
    nulls = base64.b64encode(b'{"username":"me","password":"p","auth":null,"identitytoken":null}').decode()
    assert from_header(nulls) == Credentials("me", "p")
    with pytest.raises(InvalidInput, match="invalid credentials"):
        from_object({"auth": "no base64!"})
    assert from_header("") == from_header("e30=") == from_header(base64.b64encode(b"null").decode()) == Credentials()


def test_credentials_never_show_themselves() -> None:
    assert "secret" not in repr(Credentials("me", "secret"))


@given(st.text())
def test_a_header_that_is_no_credentials_is_none_at_all(text: str) -> None:
    from_header(text)


@pytest.mark.parametrize(
    "text",
    ["{}", "null", "IA==", "W10=", "Imx1bGwi", "garbage!", "eyJhdXRoIjoi", "eyJ1c2VybmFtZSI6NX0=", "é", "WyI=" * 9],
)
def test_placeholders_for_credentials_are_none(text: str) -> None:
    """What clients send that have none; dockerd passes over all of it."""
    assert from_header(text) == Credentials()


@pytest.mark.parametrize(
    "domain",
    ["localhost", "a.b:5000", "127.0.0.1", "[::1]:5000", "[::1]", "my_host:1", "registry.example.com.", "a" * 63],
)
def test_addresses_of_registries(domain: str) -> None:
    assert check_domain(domain) == domain


@given(st.one_of(st.text(), st.text("ab.:[]/-_1\0é ", max_size=20)))
def test_what_is_taken_for_an_address_can_be_asked(text: str) -> None:
    with suppress(InvalidInput):
        check_domain(text)
        assert URL(f"https://{text}").host
        text.encode("idna")


@pytest.mark.parametrize(
    "domain",
    ["", "..", "a..b", "a:99999", "a:0", "a:-1", "a:x", "[", "[::1", "[zz]", "a b", "a@b", "\0", "x" * 64, "a/b", "é"],
)
def test_what_no_registry_can_be_at_is_refused(domain: str) -> None:
    with pytest.raises(InvalidInput, match="invalid registry address"):
        endpoints(domain, RegistrySettings())


@pytest.mark.parametrize(
    ("domain", "insecure", "expected"),
    [
        ("localhost:5000", (), True),
        ("127.0.0.1:5000", (), True),
        ("127.9.9.9", (), True),
        ("[::1]:5000", (), True),
        ("registry.example.com", (), False),
        ("registry.example.com:5000", ("registry.example.com:5000",), True),
        ("registry.example.com:5001", ("registry.example.com:5000",), False),
        ("registry.example.com:5001", ("registry.example.com",), True),
        ("10.1.2.3:80", ("10.0.0.0/8",), True),
        ("11.1.2.3:80", ("10.0.0.0/8",), False),
        ("[fd00::1]:80", ("fd00::/8",), True),
    ],
)
def test_which_registries_may_do_without_tls(domain: str, insecure: tuple[str, ...], expected: bool) -> None:
    assert is_insecure(domain, insecure) is expected
    schemes = [one.url.scheme for one in endpoints(domain, RegistrySettings(insecure, certificates=()))[0]]
    assert schemes == (["https", "http"] if expected else ["https"])


def test_docker_hub_is_served_elsewhere_and_its_mirrors_come_first() -> None:
    settings = RegistrySettings(mirrors=("https://mirror.example.com/hub", "http://127.0.0.1:5000"), certificates=())
    places = endpoints("docker.io", settings, mirrors=True)
    assert [[str(one.url) for one in place] for place in places] == [
        ["https://mirror.example.com/hub"], ["http://127.0.0.1:5000"], ["https://registry-1.docker.io"],
    ]  # fmt: skip
    assert [place[0].is_mirror for place in places] == [True, True, False]
    assert len(endpoints("quay.example.com", settings, mirrors=True)) == 1


def _endpoint(url: str, *, insecure: bool = False) -> Endpoint:
    return Endpoint(URL(url), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), insecure)


@pytest.mark.parametrize(
    ("realm", "registry", "kind"),
    [
        ("http://auth.example.com/token", "https://r.example.com", Forbidden),
        ("https://127.0.0.1/token", "https://r.example.com", Forbidden),
        ("https://localhost/token", "https://r.example.com", Forbidden),
        ("https://169.254.169.254/latest", "https://r.example.com", Forbidden),
        ("https://[::ffff:127.0.0.1]/x", "https://r.example.com", Forbidden),
        ("https://0.0.0.0/x", "https://r.example.com", Forbidden),
        ("ftp://auth.example.com/token", "https://r.example.com", InvalidInput),
        ("https://user:pw@auth.example.com/", "https://r.example.com", InvalidInput),
        ("/token", "https://r.example.com", InvalidInput),
        ("", "https://r.example.com", InvalidInput),
        ("http://[", "https://r.example.com", InvalidInput),
    ],
)
def test_a_realm_that_no_honest_registry_names_is_refused(realm: str, registry: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        check_realm(realm, _endpoint(registry))


def test_a_realm_on_another_host_is_usual() -> None:
    assert check_realm("https://auth.example.com/token", _endpoint("https://r.example.com")).host == "auth.example.com"
    assert check_realm("http://127.0.0.1:1/token", _endpoint("http://127.0.0.1:2", insecure=True)).port == 1


def test_hosts_and_what_is_near() -> None:
    assert [host_of(text) for text in ("a:1", "a", "[::1]:5", "[::1]")] == ["a", "a", "::1", "::1"]
    assert is_local("LOCALHOST.")
    assert not is_local("example.com")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}',
            "manifest unknown: manifest unknown",
        ),
        (b'{"errors":[{"code":"DENIED","message":"no","detail":[1,{"a":2}]}]}', "denied: no"),
        (b'{"errors":[]}', "unexpected status from the registry: 418"),
        (b"<html>", "unexpected status from the registry: 418"),
        (b'{"details":"incorrect username or password"}', "incorrect username or password"),
    ],
)
def test_what_a_registry_says_no_with(body: bytes, expected: str) -> None:
    assert sentence_of(418, body)[1] == expected


@given(st.binary())
def test_no_body_of_an_error_upsets_the_reader(body: bytes) -> None:
    sentence_of(500, body)


def test_how_long_a_registry_wants_us_to_wait() -> None:
    assert retry_after("7") == 7
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert retry_after("soon") is None
    assert retry_after("") is None


def test_bars_are_dockers() -> None:
    assert bar(0, 2206542) == "[>" + " " * 50 + "]       0B/2.207MB"
    assert bar(1103271, 2206542) == "[" + "=" * 25 + ">" + " " * 25 + "]  1.103MB/2.207MB"
    assert bar(2206542, 2206542) == "[" + "=" * 50 + ">]  2.207MB/2.207MB"
    assert human_size(32768, 4) == "32.77kB"


def test_filters_of_a_search() -> None:
    hits = [SearchHit(name="a", star_count=5, is_official=True), SearchHit(name="b", star_count=1)]
    assert [hit.name for hit in filtered(hits, {"stars": ["3"]})] == ["a"]
    assert [hit.name for hit in filtered(hits, {"is-official": ["false"]})] == ["b"]
    for wrong in ({"colour": ["red"]}, {"stars": ["many"]}, {"is-official": ["perhaps"]}):
        with pytest.raises(InvalidInput, match="invalid filter"):
            filtered(hits, wrong)


@needs.need("openssl")
def test_certificates_of_a_registry_come_from_its_directory(tmp_path: Path) -> None:
    place = tmp_path / "localhost:5000"
    place.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=x", "-keyout", str(place / "client.key"), "-out", str(place / "client.cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = RegistrySettings(certificates=(tmp_path,))
    [[tls, plain]] = endpoints("localhost:5000", settings)
    assert tls.tls is not None
    assert tls.tls.verify_mode is ssl.CERT_NONE
    assert plain.url.scheme == "http"
    (place / "ca.crt").write_bytes((place / "client.cert").read_bytes())
    [[only]] = endpoints("localhost:5000", settings)  # whoever names an authority wants it to be asked
    assert only.tls is not None
    assert only.tls.verify_mode is ssl.CERT_REQUIRED
    assert len(only.tls.get_ca_certs()) >= 1
    (place / "client.key").unlink()
    with pytest.raises(InvalidInput, match=r"missing key client\.key for client certificate client\.cert"):
        endpoints("localhost:5000", settings)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_DESCRIPTOR = st.fixed_dictionaries(
    {},
    optional={"mediaType": st.sampled_from([OCI_MANIFEST, OCI_CONFIG, "x"]) | _JSON, "size": st.integers() | _JSON,
              "digest": st.just("sha256:" + "0" * 64) | _JSON, "platform": _JSON, "urls": _JSON, "annotations": _JSON},
)  # fmt: skip


@pytest.mark.slow
@given(
    st.fixed_dictionaries(
        {"schemaVersion": st.sampled_from([1, 2, "2"])},
        optional={"manifests": st.lists(_DESCRIPTOR, max_size=3), "layers": st.lists(_DESCRIPTOR, max_size=3),
                  "config": _DESCRIPTOR, "mediaType": st.sampled_from([OCI_MANIFEST, OCI_INDEX, ""]) | _JSON},
    )
)  # fmt: skip
def test_no_manifest_upsets_the_one_who_chooses(value: Any) -> None:
    data = json.dumps(value).encode()
    top = RemoteManifest(data, OCI_MANIFEST, Digest.from_bytes(data))

    async def fetch(_: str) -> RemoteManifest:
        return top

    with suppress(WherryError):  # it may be refused, in a sentence; anything else is a failure
        chosen = asyncio.run(select_manifest(top, Platform("linux", "amd64"), fetch))
        remote_layers(chosen.manifest, b'{"rootfs": {"type": "layers", "diff_ids": []}}')


@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(WherryError):
        parse_manifest_or_index(data)
