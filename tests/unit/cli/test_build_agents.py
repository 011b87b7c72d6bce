"""``wherry build --ssh``: which agents there are, and what a step may ask them."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.needs import need
from support.processes import wait_for
from wherry.cli.build.agents import agents_of, forward
from wherry.cli.commands.image.build import COMMAND
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import parse

FAILURE = b"\0\0\0\x01\x05"


def message(kind: int, rest: bytes = b"") -> bytes:
    return (1 + len(rest)).to_bytes(4, "big") + bytes([kind]) + rest


def meant(*words: str) -> dict[str, str]:
    with ExitStack() as stack:
        return agents_of(parse(COMMAND.flags, [f"--ssh={word}" for word in words])[0], stack)


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        one.listen()
        yield str(tmp_path / "s")


def test_agents_are_sockets(listening: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", listening)
    assert meant("default", f"other={listening}") == {"default": listening, "other": listening}
    assert meant(f"={listening}") == {"default": listening}
    (tmp_path / "key").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    for words, sentence in (
        ([f"a={listening},{tmp_path}/key"], "one socket, or keys"),
        ([f"a={tmp_path}/none"], "no such file"),
        ([f"a={tmp_path}/dead"], "connection refused"),
        (["default", "default"], "already"),
        ([f"{number}" for number in range(65)], "65 --ssh"),
    ):
        with pytest.raises(Exit, match=sentence):
            meant(*words)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(Exit, match="SSH_AUTH_SOCK is not set"):
        meant("default")


def named(argument: str) -> list[str]:
    """The IDs of processes with an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has gone
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found


@need("ssh-agent")
def test_keys_in_files_get_an_agent_of_their_own_that_goes_with_the_build(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"key {name}", "-f", tmp_path / name]
        subprocess.run(make, check=True)
    (tmp_path / "one").chmod(0o644)  # buildx does not mind
    with ExitStack() as stack:
        word = f"--ssh=mine={tmp_path}/one,{tmp_path}/two"
        path = agents_of(parse(COMMAND.flags, [word])[0], stack)["mine"]
        environment = {**os.environ, "SSH_AUTH_SOCK": path}
        listed = subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True, text=True, check=True).stdout
        assert ("key one" in listed, "key two" in listed, listed.count("\n")) == (True, True, 2)
        assert Path(path).parent.stat().st_mode & 0o777 == 0o700
        assert named(path)
    assert not Path(path).parent.exists()
    assert subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True, check=False).returncode == 2
    wait_for(lambda: not named(path), patience=5)  # by itself it looks every ten seconds whether it is needed


@need("ssh-agent")
def test_a_file_that_is_no_key_is_refused_and_leaves_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "key").write_text("none")
    with pytest.raises(Exit, match=f"failed to parse {tmp_path}/key"):
        meant(f"a={tmp_path}/key")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exit, match="need OpenSSH's ssh-agent"):
        meant(f"a={tmp_path}/key")
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def exactly(end: socket.socket, size: int) -> bytes:
    with end.makefile("rb", buffering=0) as file:
        found = b""
        while len(found) < size and (piece := file.read(size - len(found))):
            found += piece
        return found


class Talk:
    """A step and an agent, and what carries their bytes."""

    def __init__(self) -> None:
        self.step, one = socket.socketpair()
        other, self.agent = socket.socketpair()
        self.ends = (one, other)
        for end in (self.step, self.agent):
            end.settimeout(60)
        self.thread = threading.Thread(target=self._forward)
        self.thread.start()

    def _forward(self) -> None:
        with self.ends[0], self.ends[1]:
            forward(*self.ends)

    def over(self) -> None:
        """The step has nothing more to say."""
        self.step.shutdown(socket.SHUT_WR)
        self.thread.join(60)
        assert not self.thread.is_alive()
        for end in (self.step, self.agent):
            with suppress(ConnectionResetError):  # not all was read
                assert end.recv(1) == b""
        self.step.close()
        self.agent.close()


def test_a_step_lists_keys_and_has_things_signed() -> None:
    talk = Talk()
    for question, answer in ((message(11), message(12, b"keys" * 1000)), (message(13, b"x" * 200_000), message(14))):
        talk.step.sendall(question)
        assert exactly(talk.agent, len(question)) == question
        talk.agent.sendall(answer)
        assert exactly(talk.step, len(answer)) == answer
    talk.over()


@pytest.mark.parametrize("kind", [0, 1, 9, 12, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 255])
def test_nothing_else_reaches_the_agent(kind: int) -> None:
    talk = Talk()
    talk.step.sendall(message(kind, os.urandom(100)) + message(kind))
    assert exactly(talk.step, 10) == FAILURE * 2
    talk.over()


@pytest.mark.parametrize("given", [b"\0\0\0\0", b"\xff\xff\xff\xff\x0b", b"\0\4\0\1\x0b", b"\0\0", message(11)[:4]])
def test_what_is_no_message_ends_the_connection(given: bytes) -> None:
    talk = Talk()
    talk.step.sendall(given)
    talk.over()


def test_an_agent_that_goes_ends_the_connection() -> None:
    talk = Talk()
    talk.step.sendall(message(11))
    exactly(talk.agent, 5)
    talk.agent.shutdown(socket.SHUT_WR)
    talk.over()
