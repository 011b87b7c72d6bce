"""Connections through a program called ssh, here one that runs the remote command on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wherry.cli.daemon.relay import relay
from wherry.client.address import parse_host
from wherry.client.ssh import connect, ssh_command
from wherry.client.transport import Transport
from wherry.errors import CommandNotFound, InvalidInput, Unavailable

ECHO = """#!/bin/sh
for last in "$@"; do :; done
exec sh -c "$last"
"""
PEER = """#!/bin/sh
echo "$*" > {log}
exec {python} -c '
import sys
head = sys.stdin.readline()
while sys.stdin.readline().strip(): pass
sys.stdout.write("HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}")
sys.stdout.flush()
sys.stdin.read()
'
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on the path, with an ssh that goes nowhere, and a wherry that answers one request."""
    write(tmp_path / "ssh", ECHO)
    write(tmp_path / "wherry", PEER.format(log=tmp_path / "words", python=sys.executable))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssh://box", ["--", "box"]),
        ("ssh://me@box:2222/", ["-l", "me", "-p", "2222", "--", "box"]),
        ("ssh://me@[fe80::1]:22", ["-l", "me", "-p", "22", "--", "fe80::1"]),
        ("ssh://a@b@box", ["-l", "a@b", "--", "box"]),
    ],
)
def test_an_address_becomes_the_words_of_ssh(text: str, words: list[str]) -> None:
    command = ssh_command(parse_host(text))
    assert command[:4] == ["ssh", "-o", "ConnectTimeout=30", "-T"]
    assert command[4:-1] == words


@pytest.mark.parametrize(
    "text",
    ["ssh://", "ssh:///x", "ssh://u:p@box", "ssh://box?x", "ssh://box#x", "ssh://box:0", "ssh://box:", "ssh://box:a",
     "ssh://-oProxyCommand=x", "ssh://-l@box", "ssh://u@-x", "ssh://$(id)", "ssh://u;id@box", "ssh://b\nox"],
)  # fmt: skip
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid daemon address"):
        parse_host(text)


def test_a_request_goes_through_ssh_to_the_socket_that_was_named(programs: Path) -> None:
    transport = Transport(parse_host("ssh://box/run/it's a.sock"))
    assert transport.request("GET", "/_ping").json() == {}
    transport.close()
    assert (programs / "words").read_text() == "--host unix:///run/it's a.sock system dial-stdio\n"


def test_docker_answers_where_wherry_is_not_installed(programs: Path) -> None:
    (programs / "wherry").rename(programs / "docker")
    transport = Transport(parse_host("ssh://box"))
    assert transport.request("GET", "/_ping").json() == {}
    transport.close()
    assert (programs / "words").read_text() == "system dial-stdio\n"


def test_what_ssh_says_is_the_cause(programs: Path) -> None:
    write(programs / "ssh", "#!/bin/sh\necho 'no route to box' >&2\nexit 255\n")
    with pytest.raises(Unavailable, match="cannot connect to the daemon at ssh://box: no route to box"):
        Transport(parse_host("ssh://box")).request("GET", "/_ping")


def test_without_ssh_there_is_a_sentence(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs / "none"))
    with pytest.raises(CommandNotFound, match="there is no ssh program"):
        connect(parse_host("ssh://box"))


def test_closing_a_connection_ends_ssh(programs: Path) -> None:
    write(programs / "ssh", f"#!/bin/sh\necho $$ > {programs}/pid\necho ready\nexec sleep 1000\n")
    sock = connect(parse_host("ssh://box"))
    assert sock.recv(6) == b"ready\n"
    sock.close()
    sock.close()
    assert not Path("/proc", (programs / "pid").read_text().strip()).exists()


# --- the other side


def relayed() -> tuple[threading.Thread, socket.socket, int, int]:
    """A relay at work: its thread, the daemon's end, and descriptors for what the client sends and gets."""
    ours, theirs = socket.socketpair()
    source, to_source = os.pipe()
    from_target, target = os.pipe()

    def run() -> None:
        with ours:
            relay(ours, source, target)
        os.close(source)
        os.close(target)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, theirs, to_source, from_target


def test_one_direction_may_end_before_the_other() -> None:
    thread, daemon, to_source, from_target = relayed()
    os.write(to_source, b"question")
    os.close(to_source)
    received = b""
    while piece := daemon.recv(100):
        received += piece
    assert received == b"question"
    daemon.sendall(b"answer")
    daemon.close()
    assert os.read(from_target, 100) == b"answer"
    assert os.read(from_target, 100) == b""
    thread.join()
    os.close(from_target)


def test_a_client_that_sends_and_does_not_read_blocks_nothing() -> None:
    thread, daemon, to_source, from_target = relayed()
    much = bytes(range(256)) * 4096 * 4
    sending = threading.Thread(target=lambda: (daemon.sendall(much), daemon.shutdown(socket.SHUT_WR)))
    sending.start()  # more than the relay and a pipe hold: nobody reads the target yet
    writing = threading.Thread(target=lambda: (write_all(to_source, much), os.close(to_source)))
    writing.start()
    received = 0
    while received < len(much):
        received += len(daemon.recv(1 << 16))
    writing.join()
    with open(from_target, "rb") as file:
        assert file.read() == much
    sending.join()
    thread.join()
    daemon.close()


def test_a_client_that_leaves_ends_the_relay() -> None:
    thread, daemon, to_source, from_target = relayed()
    os.close(from_target)
    thread.join()
    os.close(to_source)
    daemon.close()


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


# --- a command called docker


def install(folder: Path, verb: str, path: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "wherry.cli.main", "system", verb, "--docker-names", "--directory", str(folder)]
    return subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)


def test_the_name_docker_is_installed_where_nobody_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wherry.cli.daemon import docker_names  # noqa: PLC0415 - beside its test

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(docker_names, "OTHER_FOLDERS", ())
    path = docker_names.install(str(tmp_path))
    docker_names.install(str(tmp_path))  # again: ours is replaced
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WHERRY_", "DOCKER_"))}
    done = subprocess.run(
        [path, "context", "inspect", "-f", "{{json .Name}}", "default"],
        env={**environment, "PATH": "/usr/bin:/bin", "DOCKER_CONFIG": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout) == "default", done.stderr
    assert docker_names.uninstall(str(tmp_path)) == path
    assert list(tmp_path.iterdir()) == []


def test_the_name_docker_runs_nothing_of_the_folder_that_it_is_called_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wherry.cli.daemon import docker_names  # noqa: PLC0415 - beside its test

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(docker_names, "OTHER_FOLDERS", ())
    path = docker_names.install(str(tmp_path))
    (tmp_path / "wherry").mkdir()
    write(tmp_path / "wherry" / "__init__.py", "print('hostile')\n")
    done = subprocess.run([path, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "hostile" in done.stdout) == (0, False), done.stderr


def test_dockers_own_command_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    write(tmp_path / "docker", "#!/bin/sh\n")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path, tmp_path / "empty"):
        done = install(folder, "install", f"{tmp_path}:/usr/bin")
        assert done.returncode == 1
        assert f"{tmp_path}/docker is there already, and wherry does not take its place" in done.stderr
    done = install(tmp_path, "uninstall", "/usr/bin")
    assert done.returncode == 1
    assert "was not made by wherry, and stays" in done.stderr
    assert "is not installed" in install(tmp_path / "empty", "uninstall", "/usr/bin").stderr
    assert (tmp_path / "docker").read_text() == "#!/bin/sh\n"
