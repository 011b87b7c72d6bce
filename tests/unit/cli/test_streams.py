"""Between a container's streams and ours: nothing is lost, nobody waits for ever."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli.terminal.detach_keys import Detacher, key_bytes
from wherry.errors import InvalidInput

SOURCE = Path(__file__).resolve().parents[3] / "src"
PUMP = """
import socket, sys
from wherry.cli.terminal.streams import Pump
from wherry.cli.terminal.detach_keys import Detacher
from wherry.client.transport import Stream
stream = Stream(socket.socket(fileno=int(sys.argv[1])), b"", "")
sys.exit(3 if Pump(stream, tty=sys.argv[2] == "tty", stdin=True, detacher=Detacher(b"\\x10\\x11")).run() else 0)
"""


def pump(ours: socket.socket, kind: str, stdin: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-c", PUMP, str(ours.fileno()), kind],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[ours.fileno()], env=environment,
    )  # fmt: skip


def echo(theirs: socket.socket) -> None:
    """Send back what comes, and end when it ends."""
    while data := theirs.recv(65536):
        theirs.sendall(data)
    theirs.close()


@pytest.mark.slow
def test_a_program_that_echoes_more_than_any_buffer_holds_blocks_nobody(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=echo, args=(theirs,))
    thread.start()
    data = os.urandom(4_000_000).replace(b"\x10", b"x")
    (tmp_path / "input").write_bytes(data)
    with (tmp_path / "input").open("rb") as stdin, ours:
        process = pump(ours, "tty", stdin.fileno())
        ours.close()
        received, errors = process.communicate(timeout=60)
    thread.join()
    assert (process.returncode, errors) == (0, b"")
    assert received == data


def test_frames_go_to_the_stream_that_they_name() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err")
    theirs.close()
    with ours:
        process = pump(ours, "frames", subprocess.PIPE)
        ours.close()
        assert process.communicate(timeout=60) == (b"out", b"err")


def test_output_that_ends_ends_it_although_input_stays_open() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        process = pump(ours, "tty", subprocess.PIPE)
        ours.close()
        theirs.close()
        assert process.wait(60) == 0
        process.communicate()


def test_the_detach_keys_end_it_and_are_not_passed_on() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        process = pump(ours, "tty", subprocess.PIPE)
        ours.close()
        assert process.stdin
        process.stdin.write(b"ab\x10c\x10\x11never")
        process.stdin.flush()
        assert process.wait(60) == 3
        process.communicate()
    received = b""
    while data := theirs.recv(100):
        received += data
    theirs.close()
    assert received in (b"", b"ab\x10c")


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-@,x,ctrl-[", b"\x00x\x1b"), ("ctrl-_", b"\x1f")],
)
def test_keys_are_read(text: str, keys: bytes) -> None:
    assert key_bytes(text) == keys


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-1", "ctrl-pp", "ab", "a,,b"])
def test_what_are_no_keys_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid detach keys"):
        key_bytes(text)


@given(st.lists(st.binary(max_size=8).map(lambda data: bytes(byte % 3 + 1 for byte in data)), max_size=12))
def test_what_is_not_the_keys_passes_whole(pieces: list[bytes]) -> None:
    keys = b"\x01\x02"
    detacher, passed, detached = Detacher(keys), b"", False
    for piece in pieces:
        if not detached:
            data, detached = detacher.feed(piece)
            passed += data
    typed = b"".join(pieces)
    assert detached == (keys in typed)
    expected = typed[: typed.index(keys)] if detached else typed
    assert expected.startswith(passed)
    assert expected[len(passed) :] in (b"", b"\x01")
