"""The conversation: what is refused, in which order, and what an error becomes on the other side."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    InvalidInput,
    NotFound,
    StepFailed,
    SystemCallError,
    SystemFault,
    Unsupported,
    WherryError,
)
from wherry.keeper import packets
from wherry.keeper.protocol import (
    LARGEST,
    OLDEST,
    PROTOCOL,
    DaemonSide,
    KeeperSide,
    Refused,
    check,
    decode,
    encode,
    error_fields,
    error_of,
)

LOG = {"dir": "/var/log/x"}
LAUNCH: dict[str, Any] = {"key": "c1", "container": "c1", "kind": "container", "terminal": False, "log": LOG}
EXEC: dict[str, Any] = {"key": "e1", "container": "c1", "kind": "exec"}


def greeted() -> KeeperSide:
    side = KeeperSide()
    side.receive(b'{"op":"hello","seq":1,"protocol":1}', [])
    return side


def said(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("op", "fields", "fds"),
    [
        ("hello", {"protocol": 1}, 0),
        ("launch", LAUNCH, 1),
        ("launch", {**LAUNCH, "log": {**LOG, "max_size": 1, "max_files": 5, "blocking": False}}, 1),
        ("launch", {**LAUNCH, "terminal": True, "size": [24, 80], "stdin": True}, 1),
        ("launch", {**EXEC, "log": None, "size": None}, 4),
        ("launch", {**EXEC, "terminal": True}, 1),
        ("launch", {"key": "s1", "container": "s1", "kind": "step", "terminal": False}, 4),
        ("launch", {"key": "s1", "container": "s1", "kind": "step", "terminal": True, "size": [24, 80]}, 1),
        ("launch", {**LAUNCH, "hold": 3}, 1),
        ("launch", {**LAUNCH, "hold": None}, 1),
        ("watch", {"key": "c1"}, 0),
        ("hold", {"key": "c1", "segment": 0}, 0),
        ("hold", {"key": "c1", "segment": None}, 0),
        ("adopt", {**LAUNCH, "started": 5}, 1),
        ("adopt", {**LAUNCH, "hold": 0}, 1),
        ("adopt", {**LAUNCH, "terminal": True}, 2),
        ("keep", {"name": "firewall"}, 1),
        ("kept", {"name": "firewall"}, 0),
        ("upgrade", {}, 0),
    ],
)
def test_what_is_well_formed_is_accepted(op: str, fields: dict[str, Any], fds: int) -> None:
    check(op, fields, fds)


@pytest.mark.parametrize(
    ("op", "fields", "fds", "about"),
    [
        ("dance", {}, 0, "no request 'dance'"),
        ("hello", {}, 0, "needs the field 'protocol'"),
        ("hello", {"protocol": "1"}, 0, "'protocol' cannot be"),
        ("hello", {"protocol": True}, 0, "'protocol' cannot be"),
        ("hello", {"protocol": 1}, 1, "descriptors"),
        ("watch", {"key": "c1", "loudly": True}, 0, "no field 'loudly'"),
        ("watch", {"key": ""}, 0, "'key'"),
        ("watch", {"key": "../etc"}, 0, "'key'"),
        ("watch", {"key": ".."}, 0, "'key'"),
        ("watch", {"key": "a/b"}, 0, "'key'"),
        ("watch", {"key": "a\0b"}, 0, "'key'"),
        ("watch", {"key": "x" * 129}, 0, "'key'"),
        ("watch", {"key": "ключ"}, 0, "'key'"),
        ("watch", {"key": 5}, 0, "'key'"),
        ("launch", {**LAUNCH, "kind": "pod"}, 1, "'kind'"),
        ("launch", {**LAUNCH, "terminal": 1}, 1, "'terminal'"),
        ("launch", {"key": "s1", "container": "s2", "kind": "step"}, 4, "a container of its own"),
        ("launch", {"key": "s1", "container": "s1", "kind": "step", "terminal": True}, 4, "three stream descriptors"),
        ("launch", {"key": "s1", "container": "s1", "kind": "step"}, 1, "three stream descriptors"),
        ("launch", {**LAUNCH, "size": [24]}, 1, "'size'"),
        ("launch", {**LAUNCH, "size": [24, 70000]}, 1, "'size'"),
        ("launch", {**LAUNCH, "size": [-1, 80]}, 1, "'size'"),
        ("launch", {**LAUNCH, "log": None}, 1, "needs a log"),
        ("launch", {**LAUNCH, "log": {"dir": "relative"}}, 1, "'log'"),
        ("launch", {**LAUNCH, "log": {"dir": "/x\0y"}}, 1, "'log'"),
        ("launch", {**LAUNCH, "log": {}}, 1, "'log'"),
        ("launch", {**LAUNCH, "log": {**LOG, "max_size": 0}}, 1, "'log'"),
        ("launch", {**LAUNCH, "log": {**LOG, "max_files": "3"}}, 1, "'log'"),
        ("launch", {**LAUNCH, "log": {**LOG, "compress": True}}, 1, "'log'"),
        ("launch", {**LAUNCH, "log": []}, 1, "'log'"),
        ("launch", {**LAUNCH, "key": "other"}, 1, "key of a container"),
        ("hold", {"key": "c1"}, 0, "needs the field 'segment'"),
        ("hold", {"key": "c1", "segment": -1}, 0, "'segment'"),
        ("hold", {"key": "c1", "segment": "1"}, 0, "'segment'"),
        ("launch", {**LAUNCH, "hold": True}, 1, "'hold'"),
        ("launch", LAUNCH, 0, "descriptors"),
        ("launch", LAUNCH, 4, "stream descriptors"),
        ("launch", EXEC, 1, "stream descriptors"),
        ("launch", {**EXEC, "terminal": True}, 4, "stream descriptors"),
        ("adopt", LAUNCH, 0, "descriptors"),
        ("adopt", {**LAUNCH, "started": -1}, 1, "'started'"),
    ],
)
def test_what_is_not_well_formed_is_refused_by_name(op: str, fields: dict[str, Any], fds: int, about: str) -> None:
    with pytest.raises(InvalidInput, match=about):
        check(op, fields, fds)


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"[]", b"5", b'"x"', b"null", b"[" * 5000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        greeted().receive(data, [])
    assert caught.value.seq is None


@pytest.mark.parametrize("seq", [None, "2", 2.5, True, [2]])
def test_a_request_without_a_number_is_refused(seq: object) -> None:
    with pytest.raises(Refused, match="'seq'"):
        greeted().receive(said(op="watch", key="c1", seq=seq), [])


def test_a_request_without_a_name_is_refused_with_its_number() -> None:
    with pytest.raises(Refused, match="'op'") as caught:
        greeted().receive(said(seq=7), [])
    assert caught.value.seq == 7


@pytest.mark.parametrize(
    "op", ["launch", "watch", "unwatch", "hold", "close-stdin", "forget", "adopt", "upgrade", "shutdown"]
)
def test_nothing_may_come_before_hello(op: str) -> None:
    with pytest.raises(Refused, match="before 'hello'"):
        KeeperSide().receive(said(op=op, seq=1), [])


def test_hello_is_said_once() -> None:
    with pytest.raises(Refused, match="was said before"):
        greeted().receive(said(op="hello", seq=2, protocol=1), [])


def test_another_protocol_is_refused_and_may_be_tried_again() -> None:
    side = KeeperSide()
    with pytest.raises(Refused, match="speaks protocol 3, not 4"):
        side.receive(said(op="hello", seq=1, protocol=4), [])
    assert not side.greeted
    side.receive(said(op="hello", seq=2, protocol=1), [])
    assert side.greeted


@pytest.mark.parametrize("protocol", range(OLDEST, PROTOCOL + 1))
def test_a_daemon_of_an_earlier_version_is_understood(protocol: int) -> None:
    side = KeeperSide()
    side.receive(said(op="hello", seq=1, protocol=protocol), [])
    assert side.greeted


@pytest.mark.parametrize("seq", [1, 0, -5])
def test_numbers_only_grow(seq: int) -> None:
    with pytest.raises(Refused, match="sequence number"):
        greeted().receive(said(op="shutdown", seq=seq), [])


def test_a_refused_request_does_not_end_the_conversation() -> None:
    side = greeted()
    with pytest.raises(Refused) as caught:
        side.receive(said(op="watch", seq=2, key="/"), [])
    assert caught.value.seq == 2
    assert side.receive(said(op="watch", seq=3, key="c1"), []).fields == {"key": "c1"}


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        greeted().receive(data, [])


def test_the_daemons_side_checks_what_it_sends() -> None:
    with pytest.raises(InvalidInput):
        DaemonSide().request("watch", {"key": "../.."}, 0)


def test_an_answer_belongs_to_a_request() -> None:
    side = DaemonSide()
    seq, data = side.request("watch", {"key": "c1"}, 0)
    assert decode(data) == {"op": "watch", "seq": seq, "key": "c1"}
    message = side.receive(said(re=seq, log=[1, 0]), [])
    assert message is not None
    assert message.fields == {"re": seq, "log": [1, 0]}


@pytest.mark.parametrize(
    "data", [said(re=99), said(re=None, error={}), said(re="1"), said(event="party"), said(hello=1), b"noise"]
)
def test_an_answer_that_nobody_asked_for_is_a_fault(data: bytes) -> None:
    with pytest.raises(SystemFault):
        DaemonSide().receive(data, [])


def test_an_answer_comes_once() -> None:
    side = DaemonSide()
    seq, _ = side.request("shutdown", {}, 0)
    side.receive(said(re=seq), [])
    with pytest.raises(SystemFault, match="not asked"):
        side.receive(said(re=seq), [])


def test_pages_are_put_together() -> None:
    side = DaemonSide()
    seq, _ = side.request("hello", {"protocol": 1}, 0)
    assert side.receive(said(re=seq, processes=[{"key": "a"}], more=True), []) is None
    message = side.receive(said(re=seq, processes=[{"key": "b"}], protocol=1), [])
    assert message is not None
    assert message.fields["processes"] == [{"key": "a"}, {"key": "b"}]


def test_events_need_no_request() -> None:
    message = DaemonSide().receive(said(event="grew", key="c1", log=[1, 5]), [])
    assert message is not None
    assert message.fields["log"] == [1, 5]


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("bad"),
        CommandNotFound("exec: no"),
        CommandNotExecutable("exec: denied"),
        NotFound("none"),
        Conflict("busy"),
        Unsupported("too old"),
        SystemFault("broken"),
    ],
)
def test_an_error_keeps_its_kind_on_the_way(error: WherryError) -> None:
    arrived = error_of(json.loads(json.dumps(error_fields(error))))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)


def test_a_childs_error_names_its_step() -> None:
    report = {"step": "mount /proc", "call": "fsmount", "errno": 1, "text": "not permitted", "kind": "system"}
    error = error_of(report)
    assert isinstance(error, StepFailed)
    assert (error.step, error.call, error.errno, str(error)) == (
        "mount /proc",
        "fsmount",
        1,
        "mount /proc: not permitted",
    )


def test_a_system_calls_error_keeps_its_number() -> None:
    fields = error_fields(SystemCallError("mkfifo", "'/x'", 28))
    assert (fields["call"], fields["errno"], fields["kind"]) == ("mkfifo", 28, "system")
    assert error_fields(OSError(28, "no space"))["errno"] == 28


def test_a_message_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(InvalidInput, match="too large"):
        encode({"text": "x" * LARGEST})


# --- the bytes on the socket ------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, right


def test_descriptors_arrive_close_on_exec(pair: tuple[socket.socket, socket.socket]) -> None:
    end, other = os.pipe()
    assert packets.send(pair[0], b"{}", [end, other])
    packet = packets.receive(pair[1])
    assert packet is not None
    assert packet[0] == b"{}"
    assert [os.get_inheritable(fd) for fd in packet[1]] == [False, False]
    packets.close_all([*packet[1], end, other])


def test_nothing_to_receive_is_none(pair: tuple[socket.socket, socket.socket]) -> None:
    assert packets.receive(pair[1]) is None


def test_the_other_sides_end_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    with pytest.raises(packets.Gone):
        packets.receive(pair[1])
    with pytest.raises(packets.Gone):
        packets.send(pair[1], b"{}")


def test_a_full_socket_takes_no_more(pair: tuple[socket.socket, socket.socket]) -> None:
    sent = 0
    while packets.send(pair[0], b"x" * 1000):
        sent += 1
    assert sent > 10
    packets.receive(pair[1])
    assert packets.send(pair[0], b"again")


def test_what_is_too_large_is_refused_and_its_descriptors_are_closed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    packets.send(pair[0], b"x" * (LARGEST + 1))
    with pytest.raises(InvalidInput, match="too large"):
        packets.receive(pair[1])
    packets.send(pair[0], b"{}", [0] * 10)
    with pytest.raises(InvalidInput, match="too many descriptors"):
        packets.receive(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before
