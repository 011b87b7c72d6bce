"""What the command line shows of a transfer, and where it keeps who we are."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from wherry.cli.output.transfers import show_transfer
from wherry.cli.registry import credentials
from wherry.errors import InvalidInput, SystemFault


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("domain", "server"),
    [
        ("", credentials.HUB),
        ("docker.io", credentials.HUB),
        ("https://index.docker.io/v1/", credentials.HUB),
        ("registry.example.com:5000", "registry.example.com:5000"),
        ("https://registry.example.com/v1/", "registry.example.com"),
        ("127.0.0.1:5000/path", "127.0.0.1:5000"),
    ],
)
def test_the_key_of_a_registry_is_dockers(domain: str, server: str) -> None:
    assert credentials.server_key(domain) == server


def test_credentials_are_kept_and_forgotten_and_the_rest_stays(configuration: Path) -> None:
    write(configuration, {"psFormat": "x", "auths": {"other": {"auth": "eDp5"}}})
    assert credentials.store("r.example.com", {"username": "me", "password": "a:b"}) == str(configuration)
    written = json.loads(configuration.read_text())
    assert base64.b64decode(written["auths"]["r.example.com"]["auth"]) == b"me:a:b"
    assert written["psFormat"] == "x"
    assert configuration.stat().st_mode & 0o777 == 0o600
    assert credentials.lookup("r.example.com") == {
        "username": "me", "password": "a:b", "serveraddress": "r.example.com",
    }  # fmt: skip
    assert credentials.erase("r.example.com")
    assert not credentials.erase("r.example.com")
    assert json.loads(configuration.read_text())["auths"] == {"other": {"auth": "eDp5"}}


def test_an_identity_token_stands_for_the_password(configuration: Path) -> None:
    credentials.store("r.example.com", {"username": "me", "password": "secret", "identitytoken": "t"})
    entry = json.loads(configuration.read_text())["auths"]["r.example.com"]
    assert base64.b64decode(entry["auth"]) == b"me:"
    assert credentials.lookup("r.example.com")["identitytoken"] == "t"


def test_the_header_is_for_the_registry_of_the_image_alone(configuration: Path) -> None:
    write(configuration, {"auths": {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:secret").decode()}}})
    sent = credentials.auth_header("busybox")["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(sent))["username"] == "me"
    assert credentials.auth_header("r.example.com/busybox") == {}


@pytest.mark.parametrize("text", ["{", "[]", '"x"', b"\xff".decode("latin1")])
def test_a_configuration_that_is_none_is_an_error(configuration: Path, text: str) -> None:
    configuration.parent.mkdir()
    configuration.write_bytes(text.encode("latin1"))
    with pytest.raises(InvalidInput, match="cannot read"):
        credentials.lookup("x")


def test_a_helper_is_a_program_with_an_honest_name(configuration: Path) -> None:
    write(configuration, {"credsStore": "../../bin/sh"})
    with pytest.raises(InvalidInput, match="invalid name of a credential helper"):
        credentials.lookup("x")
    write(configuration, {"credHelpers": {"x": "no-such-helper"}})
    with pytest.raises(SystemFault, match="credential helper not found: docker-credential-no-such-helper"):
        credentials.lookup("x")
    assert credentials.lookup("y") == {}


MESSAGES = [
    {"status": "Pulling from app", "id": "1"},
    {"status": "Already exists", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Downloading", "progressDetail": {"current": 500_000, "total": 2_000_000}, "id": "bbbbbbbbbbbb"},
    {"status": "Downloading", "progressDetail": {"current": 2_000_000, "total": 2_000_000}, "id": "bbbbbbbbbbbb"},
    {"status": "Extracting", "progressDetail": {"current": 9, "total": 2_000_000}, "id": "bbbbbbbbbbbb"},
    {"status": "Pull complete", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Digest: sha256:0"},
    {"status": "Status: Downloaded newer image for app:1"},
]


def test_without_a_terminal_each_layer_is_a_line_when_it_is_done() -> None:
    out = io.StringIO()
    show_transfer(MESSAGES, out)
    *lines, last = out.getvalue().splitlines()
    assert lines == [
        "1: Pulling from app", "aaaaaaaaaaaa: Already exists", "bbbbbbbbbbbb: Pull complete", "Digest: sha256:0",
        "Status: Downloaded newer image for app:1",
    ]  # fmt: skip
    assert last.startswith("1 layer moved, 2MB")
    assert last.endswith("; 1 already there")


def test_quiet_is_quiet_but_for_errors() -> None:
    out = io.StringIO()
    show_transfer(MESSAGES, out, quiet=True)
    assert out.getvalue() == ""
    with pytest.raises(SystemFault, match="no room"):
        show_transfer([{"errorDetail": {"message": "no room"}, "error": "no room"}], out, quiet=True)


def test_what_a_push_adds_for_programs_is_handed_on() -> None:
    aux = {"Tag": "1", "Digest": "sha256:0", "Size": 5}
    assert show_transfer([{"progressDetail": {}, "aux": aux}], io.StringIO()) == aux
