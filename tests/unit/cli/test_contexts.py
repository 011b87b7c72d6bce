"""Which daemon a command talks to: addresses, contexts, variables, in docker's order; and docker's files."""

from __future__ import annotations

import io
import json
import os
import posix
import tarfile
import zipfile
from pathlib import Path

import pytest

from wherry.cli.context import find_daemon
from wherry.cli.daemon.context_archive import pack, unpack
from wherry.cli.daemon.contexts import Contexts
from wherry.cli.dispatch import dispatch
from wherry.cli.flags.parser import Options, parse
from wherry.cli.verbs import GLOBAL_FLAGS
from wherry.client.address import DEFAULT_SOCKET
from wherry.errors import InvalidInput, NotFound

VARIABLES = ("WHERRY_HOST", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Docker's configuration, with nothing in it, and none of the variables."""
    for name in (*VARIABLES, "WHERRY_TLS_VERIFY", "WHERRY_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delitem(posix.environ, name.encode(), raising=False)
    put(monkeypatch, "DOCKER_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def put(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Set a variable, where it is read without ``os`` as well."""
    monkeypatch.setenv(name, value)
    monkeypatch.setitem(posix.environ, name.encode(), value.encode())


def options(*words: str) -> Options:
    return parse(GLOBAL_FLAGS, words)[0]


def make(name: str, address: str) -> None:
    assert dispatch(["context", "create", name, "--docker", f"host={address}"]) == 0


def test_the_order_is_dockers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("used", "named", "flag"):
        make(name, f"unix:///{name}.sock")
    assert find_daemon(None).path == DEFAULT_SOCKET
    assert dispatch(["context", "use", "used"]) == 0
    assert find_daemon(options()).path == "/used.sock"
    put(monkeypatch, "DOCKER_CONTEXT", "named")
    assert find_daemon(options()).path == "/named.sock"
    put(monkeypatch, "DOCKER_HOST", "unix:///docker.sock")
    assert find_daemon(options()).path == "/docker.sock"
    put(monkeypatch, "WHERRY_HOST", "unix:///wherry.sock")
    assert find_daemon(options()).path == "/wherry.sock"
    assert find_daemon(options("-c", "default")).path == "/wherry.sock"
    assert find_daemon(options("-c", "flag")).path == "/flag.sock"
    assert find_daemon(options("-H", "unix:///x")).path == "/x"


def test_a_context_that_is_missing_is_an_error_not_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "DOCKER_CONTEXT", "gone")
    with pytest.raises(NotFound, match='context "gone": context not found'):
        find_daemon(options())


def test_certificates_of_a_context_are_used(tmp_path: Path, folder: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(name)
    files = ",".join(f"{name}={tmp_path / name}" for name in ("ca", "cert", "key"))
    assert dispatch(["context", "create", "tls", "--docker", f"host=tcp://box:2376,{files}"]) == 0
    tls = find_daemon(options("-c", "tls")).tls
    assert tls is not None
    assert [Path(path or "").read_text() for path in (tls.ca, tls.cert, tls.key)] == ["ca", "cert", "key"]
    assert tls.verify
    assert os.stat(tls.key or "").st_mode & 0o777 == 0o600
    assert dispatch(["context", "update", "tls", "--docker", "host=tcp://box:2376,skip-tls-verify=true"]) == 0
    tls = find_daemon(options("-c", "tls")).tls
    assert tls is not None
    assert (tls.ca, tls.verify) == (None, False)
    assert dispatch(["context", "rm", "tls"]) == 0
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_dockers_variables_of_tls_are_heeded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(monkeypatch, "DOCKER_HOST", "tcp://box:2376")
    put(monkeypatch, "DOCKER_CERT_PATH", str(tmp_path))
    (tmp_path / "ca.pem").touch()
    assert find_daemon(options()).tls is None  # as with docker, the folder alone asks for nothing
    put(monkeypatch, "DOCKER_TLS_VERIFY", "1")
    tls = find_daemon(options()).tls
    assert tls is not None
    assert tls.verify
    assert tls.ca == str(tmp_path / "ca.pem")


def test_the_files_are_dockers(folder: Path) -> None:
    make("foo", "ssh://u@box:22")
    identity = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    metadata = json.loads((folder / "contexts/meta" / identity / "meta.json").read_text())
    endpoint = {"Host": "ssh://u@box:22", "SkipTLSVerify": False}
    assert metadata == {"Name": "foo", "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (folder / "config.json").write_text('{"auths": {"x": {}}}')
    dispatch(["context", "use", "foo"])
    assert json.loads((folder / "config.json").read_text()) == {"auths": {"x": {}}, "currentContext": "foo"}
    dispatch(["context", "use", "default"])
    assert json.loads((folder / "config.json").read_text()) == {"auths": {"x": {}}}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["create", "default"], '"default" is a reserved context name'),
        (["create", "../x"], 'context name "../x" is invalid, names are validated against regexp'),
        (["create", "foo"], 'context "foo" already exists'),
        (["create", "x1", "--docker", "host=ftp://x"], 'invalid daemon address "ftp://x"'),
        (["create", "x1", "--docker", "color=red"], "unrecognized config key: color"),
        (["create", "x1", "--docker", "ca=/none"], "open /none: no such file or directory"),
        (["rm", "foo"], 'context "foo" is in use, set -f flag to force remove'),
        (["rm", "default"], 'context "default" cannot be removed'),
        (["rm", "nix"], 'context "nix" does not exist'),
        (["use", "nix"], 'context "nix": context not found'),
        (["inspect", "../../x"], 'context "../../x": context not found'),
        (["import", "x1", "/none"], "open /none: no such file or directory"),
    ],
)
def test_misuse_is_told_as_docker_tells_it(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    make("foo", "unix:///x")
    dispatch(["context", "use", "foo"])
    assert dispatch(["context", *words]) == 1
    assert sentence in capsys.readouterr().err


def test_a_context_is_exported_and_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ca").write_text("authority")
    archive = str(tmp_path / "archive")
    dispatch(["context", "create", "foo", "--description", "mine", "--docker", f"host=tcp://x:1,ca={tmp_path}/ca"])
    assert dispatch(["context", "export", "foo", archive]) == 0
    assert os.stat(archive).st_mode & 0o777 == 0o600
    assert dispatch(["context", "export", "foo", archive]) == 1  # what is there stays
    assert dispatch(["context", "import", "bar", archive]) == 0
    assert Contexts().tls("bar") == {"ca.pem": b"authority"}
    assert Contexts().metadata("bar")["Metadata"] == {"Description": "mine"}
    capsys.readouterr()
    assert dispatch(["context", "ls", "--format", "{{.Name}} {{.Description}} {{.DockerEndpoint}}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bar mine tcp://x:1",
        f"default Current DOCKER_HOST based configuration unix://{DEFAULT_SOCKET}",
        "foo mine tcp://x:1",
    ]


def test_of_an_archive_only_what_is_known_is_read() -> None:
    metadata = {"Name": "x", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///x"}}}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("meta.json", json.dumps(metadata).encode()), ("tls/docker/ca.pem", b"a"),
                           ("../../evil", b"x"), ("tls/docker/../key.pem", b"x"), ("/etc/passwd", b"x")):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("tls/docker/key.pem")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    assert unpack(buffer.getvalue()) == (metadata, {"ca.pem": b"a"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("meta.json", json.dumps(metadata))
        archive.writestr("tls/docker/cert.pem", "c")
    assert unpack(buffer.getvalue()) == (metadata, {"cert.pem": b"c"})
    assert unpack(pack(metadata, {"key.pem": b"k"})) == (metadata, {"key.pem": b"k"})


def test_an_archive_that_ends_with_the_last_byte_of_its_last_file_is_whole() -> None:
    """Docker's command makes such: the certificate's block is not filled, and nothing comes after it."""
    metadata = {"Name": "x", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://x:1"}}}
    archive = pack(metadata, {"key.pem": b"a key"})
    end = archive.index(b"a key") + len(b"a key")
    assert unpack(archive[:end]) == (metadata, {"key.pem": b"a key"})
    with pytest.raises(InvalidInput, match="unexpected end of data"):
        unpack(archive[: end - 1])


def damaged() -> bytes:
    """An archive whose compressed data is none."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.json", "x" * 1000)
    data = bytearray(buffer.getvalue())
    start = data.index(b"meta.json") + len("meta.json")
    data[start] = 0xFF
    return bytes(data)


@pytest.mark.parametrize("data", [b"", b"nothing", damaged(), b"PK\3\4broken", b"\0" * 1024, b"x" * ((10 << 20) + 1)])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        unpack(data)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"Endpoints": []}', '{"Endpoints": {"docker": {"Host": 1}}}', "x", "[" * 99_999]
)
def test_metadata_that_is_none_is_refused(text: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("meta.json", text)
    with pytest.raises(InvalidInput):
        unpack(buffer.getvalue())
