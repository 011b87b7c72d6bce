"""The conversation between parent and child, and the child's errors as data."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from wherry.errors import (
    CommandNotExecutable,
    CommandNotFound,
    InvalidInput,
    StepFailed,
    SystemCallError,
    Unsupported,
    WherryError,
)
from wherry.linux.fd import Fd
from wherry.runtime import channel
from wherry.runtime.report import EXECUTED, NOT_YET, Failed, Terminal, failure

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = channel.make()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_nothing_said_is_not_yet(pair: Pair) -> None:
    assert channel.read_report(pair[0]) is NOT_YET


def test_the_end_of_file_is_executed(pair: Pair) -> None:
    pair[1].close()
    assert channel.read_report(pair[0]) is EXECUTED


def test_the_end_is_the_end_even_if_the_child_has_not_listened(pair: Pair) -> None:
    channel.send_release(pair[0])
    pair[1].close()
    assert channel.read_report(pair[0]) is EXECUTED


def test_a_failure_is_heard_although_the_child_has_not_listened(pair: Pair) -> None:
    channel.send_release(pair[0])
    channel.send_failure(pair[1].fileno(), failure("mount /proc", SystemCallError("fsmount", "", errno.EPERM)))
    pair[1].close()
    report = channel.read_report(pair[0])
    assert isinstance(report, Failed)
    assert (report.step, report.call, report.errno, report.kind) == ("mount /proc", "fsmount", errno.EPERM, "system")
    assert channel.read_report(pair[0]) is EXECUTED


def test_a_child_that_has_left_need_not_be_released(pair: Pair) -> None:
    pair[1].close()
    channel.send_release(pair[0])


def test_the_terminals_master_travels(pair: Pair) -> None:
    reading, writing = os.pipe()
    channel.send_terminal(pair[1].fileno(), Fd(writing))
    report = channel.read_report(pair[0])
    assert isinstance(report, Terminal)
    with report.master as master:
        os.write(master.fileno(), b"x")
    assert os.read(reading, 1) == b"x"
    os.close(reading)


def test_release_brings_the_prepared_mounts(pair: Pair) -> None:
    """As many as a message cannot hold at once."""
    null = [Fd(os.open(os.devnull, os.O_RDONLY)) for _ in range(300)]
    channel.send_mounts(pair[0], dict(enumerate(null)))
    channel.send_release(pair[0])
    found = channel.receive_release(pair[1].fileno())
    assert sorted(found) == list(range(300))


def test_a_parent_that_has_ended_is_told(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(StepFailed, match="the parent has ended"):
        channel.receive_release(pair[1].fileno())


@pytest.mark.parametrize(
    ("error", "kind", "cls"),
    [
        (CommandNotFound("x"), "command-not-found", CommandNotFound),
        (CommandNotExecutable("x"), "command-not-executable", CommandNotExecutable),
        (InvalidInput("x"), "invalid", InvalidInput),
        (Unsupported("x"), "unsupported", Unsupported),
        (StepFailed("s", "x"), "system", StepFailed),
        (PermissionError(errno.EPERM, "Operation not permitted"), "system", StepFailed),
        (RuntimeError("x"), "system", StepFailed),
    ],
)
def test_an_error_keeps_its_kind_on_the_way(error: Exception, kind: str, cls: type[WherryError]) -> None:
    failed = failure("step", error)
    assert failed.kind == kind
    assert type(failed.error()) is cls


def test_an_error_of_the_standard_library_shows_its_number_and_file() -> None:
    failed = failure("step", FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"))
    assert failed.text == "'/x': no such file or directory [ENOENT]"
    assert failed.errno == errno.ENOENT


@pytest.mark.parametrize("text", ["a" * 100_000, "🦊" * 100_000, "\0" * 100_000])
def test_a_failure_of_any_length_is_heard(pair: Pair, text: str) -> None:
    channel.send_failure(pair[1].fileno(), failure(f"execute {text}", InvalidInput(text)))
    report = channel.read_report(pair[0])
    assert isinstance(report, Failed)
    assert report.kind == "invalid"
    assert text.startswith(report.text)


def test_what_makes_no_sense_is_a_failure(pair: Pair) -> None:
    pair[1].send(b'{"program": "')
    report = channel.read_report(pair[0])
    assert isinstance(report, Failed)
    assert "makes no sense" in report.text
