"""What receivers get, protocol by protocol, and what no container can make of it."""

from __future__ import annotations

import array
import asyncio
import gzip
import json
import os
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from support.authority import Authority
from support.log_receivers import PATIENCE, STDERR, STDOUT, Receiver, subject
from support.needs import need
from wherry.engine.log_drivers.contract import Entries, Part
from wherry.engine.log_drivers.fluentd_sender import FluentdSender
from wherry.engine.log_drivers.gelf_sender import GelfSender
from wherry.engine.log_drivers.journald_sender import JournaldSender
from wherry.engine.log_drivers.json_lines import JsonFileSender
from wherry.engine.log_drivers.syslog_sender import SyslogSender
from wherry.errors import SystemFault

NOW = 1_700_000_000_123_456_789
HOSTILE = b'\xff\x00<"\\\r\x1b[31m \xe2\x80\xa8 _level=0\n<0>Jan  1 00:00:00 root[1]: I am another\n'


def lines(data: bytes, stream: int = STDOUT, part: Part | None = None) -> Entries:
    return Entries(stream, NOW, data, part)


# --- syslog ---------------------------------------------------------------------------------------


def syslog(root: Path, **options: str) -> SyslogSender:
    named = {f"syslog_{name}": value for name, value in options.items() if name != "tag"}
    return SyslogSender(subject(root, "syslog", tag=options.get("tag", "web"), **named))


def test_syslog_has_dockers_formats(tmp_path: Path) -> None:
    host, pid = os.uname().nodename, os.getpid()
    batch = [lines(b"one\ntwo\n"), lines(b"bad\n", STDERR)]
    stamp = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    at = r"2023-11-1[345]T\d\d:\d\d:20"
    zone = r"(Z|[+-]\d\d:\d\d)"
    for options, expected in (
        ({}, f"<30>{stamp} web\\[{pid}]: one\n<30>{stamp} web\\[{pid}]: two\n<27>{stamp} web\\[{pid}]: bad\n"),
        ({"format": "rfc3164", "facility": "local0"}, f"<134>{stamp} {host} web\\[{pid}]: one\n.*"),
        ({"format": "rfc5424"}, f"<30>1 {at}{zone} {host} web {pid} web - one\n.*"),
        ({"format": "rfc5424micro", "facility": "23"}, f"<190>1 {at}\\.123456{zone} {host} web {pid} web - one\n.*"),
    ):
        sent = b"".join(syslog(tmp_path, address="tcp://127.0.0.1", **options).encode(batch)).decode()
        assert re.fullmatch(expected, sent, re.DOTALL), sent
    datagrams = syslog(tmp_path, address="udp://127.0.0.1").encode(batch)
    assert [datagram[-4:] for datagram in datagrams] == [b"one\n", b"two\n", b"bad\n"]
    [framed] = syslog(tmp_path, address="tcp+tls://127.0.0.1", format="rfc5424").encode(batch[:1])
    size, _, rest = framed.partition(b" ")
    assert rest[int(size) - 4 : int(size)] == b"one\n"


def test_no_line_is_two_messages_of_syslog_and_no_tag_is_more_than_a_tag(tmp_path: Path) -> None:
    sent = b"".join(syslog(tmp_path, address="tcp://127.0.0.1").encode([lines(HOSTILE)]))
    assert b"\0" not in sent
    assert sent.count(b"\n") == 2
    assert all(line.startswith(b"<30>") for line in sent.splitlines() if line.startswith(b"<"))
    tag = '{{index .ContainerLabels "com.example/x-y"}} z'
    for form, shown in (("rfc3164", b" 1_2 z["), ("rfc5424", b" 1_2_z ")):
        [sent] = syslog(tmp_path, address="tcp://127.0.0.1", format=form, tag=tag).encode([lines(b"x\n")])
        assert shown in sent


@need("openssl")
async def test_syslog_over_tls_is_verified_unless_that_is_not_wanted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("receiver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver = Receiver()
    await receiver.listen(tls=context)
    address = f"tcp+tls://127.0.0.1:{receiver.port}"
    with pytest.raises(SystemFault, match=r"dial tcp 127.0.0.1:\d+"):
        await syslog(tmp_path, address=address).open()
    for trust in ({"tls_ca_cert": str(authority.certificate)}, {"tls_skip_verify": "1"}):
        receiver.data.clear()
        sender = syslog(tmp_path, address=address, **trust)
        await sender.open()
        await sender.send(sender.encode([lines(b"secret\n")]))
        await receiver.until(lambda: b"secret" in receiver.data)
        await sender.close()
    with pytest.raises(
        SystemFault, match=r'could not read CA certificate "/nowhere": open /nowhere: no such file or directory'
    ):
        await syslog(tmp_path, address=address, tls_ca_cert="/nowhere").open()
    await receiver.close()


@need("openssl")
@pytest.mark.parametrize("option", ["ca-cert", "cert", "key"])
async def test_a_file_of_certificates_that_has_no_end_or_no_writer_is_refused(tmp_path: Path, option: str) -> None:
    """Whose name lies in a volume, what is there is a container's matter."""
    certificate, key = Authority(tmp_path / "ca").issue("sender")
    os.mkfifo(tmp_path / "fifo")
    own = {"tls_ca_cert": str(certificate), "tls_cert": str(certificate), "tls_key": str(key)}
    for path in (str(tmp_path / "fifo"), "/dev/zero", str(tmp_path)):
        named = {**own, f"tls_{option.replace('-', '_')}": path}
        with pytest.raises(SystemFault, match=f"open {path}: this is no regular file"):
            await syslog(tmp_path, address="tcp+tls://127.0.0.1", **named).open()


@need("openssl")
async def test_no_driver_waits_for_the_event_loops_own_threads_or_keeps_them(tmp_path: Path) -> None:
    """As when all of them hang at a name server that is gone."""
    authority = Authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost"))
    receiver, secure = Receiver(), Receiver()
    await receiver.listen()
    await secure.listen(tls=context)
    busy = threading.Event()
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    pool.submit(busy.wait)
    try:
        async with asyncio.timeout(PATIENCE):
            for sender in (
                syslog(tmp_path, address=f"tcp://localhost:{receiver.port}"),
                syslog(tmp_path, address=f"udp://localhost:{receiver.port}"),
                syslog(
                    tmp_path, address=f"tcp+tls://localhost:{secure.port}", tls_ca_cert=str(authority.certificate)
                ),
                JsonFileSender(subject(tmp_path)),
            ):  # fmt: skip
                await sender.open()
                await sender.send(sender.encode([lines(b"sent\n")]))
                await sender.close()
    finally:
        busy.set()
    await receiver.close()
    await secure.close()


async def test_what_a_receiver_hung_up_on_was_not_received(tmp_path: Path) -> None:
    """Its end, and the failure of the write, are known to the event loop only a moment later."""
    with socket.socket(socket.AF_UNIX) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.listen()
        sender = syslog(tmp_path, address=f"unix://{tmp_path}/log")
        await sender.open()
        receiver.accept()[0].close()
        await sender.send(sender.encode([lines(b"lost\n")]))
        with pytest.raises(ConnectionResetError):
            sender.is_drained()
        await sender.close()


async def test_datagrams_wait_for_a_receiver_that_is_slow(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.setblocking(False)
        sender = syslog(tmp_path, address=f"unixgram://{path}")
        await sender.open()
        sending = asyncio.ensure_future(sender.send(sender.encode([lines(b"x\n" * 2000)])))
        loop, got = asyncio.get_running_loop(), 0
        while got < 2000:
            assert (await loop.sock_recv(receiver, 4096)).endswith(b"]: x\n")
            got += 1
        await sending
        await sender.close()
    with pytest.raises(SystemFault, match=r"dial unixgram .*: connect: connection refused"):
        await sender.open()


# --- journald -------------------------------------------------------------------------------------


def fields_of(entry: bytes) -> dict[str, bytes]:
    """Read an entry as the journal does: ``NAME=value``, or the name, a length and so many bytes."""
    found: dict[str, bytes] = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        assert name.decode() not in found
        found[name.decode()] = value
        entry = rest
    return found


async def test_the_journal_gets_dockers_fields_and_large_entries_by_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        forged = ("MESSAGE=forged", "container_id=forged", "_PID=1", f"BIG={'x' * 300_000}")
        wanted = {"labels": "com.example/x-y", "env_regex": "MESSAGE|container_id|_PID"}
        facts = subject(tmp_path, "journald", env=forged, tag="t", **wanted)
        sender = JournaldSender(facts, path)
        await sender.open()
        await sender.send(sender.encode([lines(b"one\n"), lines(b"two", STDERR, Part("id", 2, last=False))]))
        one, two = (fields_of(journal.recv(1 << 20)) for _ in range(2))
        assert one == {
            "PID": b"1", "COM_EXAMPLE_X_Y": b"1\n2", "CONTAINER_ID": b"c0ffee000000",
            "CONTAINER_ID_FULL": facts.id.encode(), "CONTAINER_NAME": b"web", "CONTAINER_TAG": b"t",
            "IMAGE_NAME": b"app:1", "SYSLOG_IDENTIFIER": b"t", "PRIORITY": b"6", "MESSAGE": b"one",
            "SYSLOG_TIMESTAMP": b"2023-11-14T22:13:20.123456789Z",
        }  # fmt: skip
        partial = {name: value for name, value in two.items() if "PARTIAL" in name}
        assert partial == {
            "CONTAINER_PARTIAL_MESSAGE": b"true", "CONTAINER_PARTIAL_ID": b"id", "CONTAINER_PARTIAL_ORDINAL": b"2",
            "CONTAINER_PARTIAL_LAST": b"false",
        }  # fmt: skip
        assert two["PRIORITY"] == b"3"
        facts.options["env-regex"] = "BIG"  # type: ignore[index]
        large = JournaldSender(facts, path)
        await large.open()
        await large.send(large.encode([lines(b"one\n")]))
        _, ancillary, _, _ = journal.recvmsg(16, socket.CMSG_SPACE(4))
        [file] = array.array("i", ancillary[0][2])
        assert fields_of(os.pread(file, 1 << 20, 0))["BIG"] == b"x" * 300_000
        os.close(file)
        await large.close()
        await sender.close()
    with pytest.raises(SystemFault, match=r"^journald is not enabled on this host"):
        await JournaldSender(facts, tmp_path / "none").open()


# --- fluentd --------------------------------------------------------------------------------------


def fluentd(root: Path, **options: str) -> FluentdSender:
    named = {f"fluentd_{name}": value for name, value in options.items()}
    return FluentdSender(subject(root, "fluentd", labels="tier", tag="t", **named))


def test_fluentd_gets_dockers_records(tmp_path: Path) -> None:
    part = Part("id", 3, last=True)
    sender = fluentd(tmp_path, sub_second_precision="true")
    message, _ = sender.encode([lines(b"one\n\xff\n"), lines(b"end", STDERR, part)])
    tag, events, option = msgspec.msgpack.decode(message)
    assert (tag, option) == ("t", {"size": 3})
    common = {"container_id": "c0ffee" + "0" * 58, "container_name": "/web", "tier": "front"}
    assert events[0][1] == {**common, "source": "stdout", "log": "one"}
    assert events[1][1]["log"] == "\ufffd"
    assert events[2][1] == {
        **common, "source": "stderr", "log": "end", "partial_message": "true", "partial_id": "id",
        "partial_ordinal": "3", "partial_last": "true",
    }  # fmt: skip
    assert (events[0][0].code, bytes(events[0][0].data)) == (0, (NOW // 10**9).to_bytes(4) + (NOW % 10**9).to_bytes(4))
    assert msgspec.msgpack.decode(fluentd(tmp_path).encode([lines(b"x\n")])[0])[1][0][0] == NOW // 10**9


async def test_fluentd_acknowledges_what_was_sent_and_nothing_else(tmp_path: Path) -> None:
    def acknowledge(data: bytes) -> bytes:
        return msgspec.msgpack.encode({"ack": msgspec.msgpack.decode(data)[2]["chunk"]})

    def lie(data: bytes) -> bytes:
        return msgspec.msgpack.encode({"ack": "something else"})

    def babble(data: bytes) -> bytes:
        return b"\xc1" * 100

    for answer, trusted in ((acknowledge, True), (lie, False), (babble, False)):
        receiver = Receiver(answer=answer)
        await receiver.listen()
        sender = fluentd(tmp_path, address=f"127.0.0.1:{receiver.port}", request_ack="true")
        await sender.open()
        sending = sender.send(sender.encode([lines(b"x\n")]))
        if trusted:
            await sending
            assert sender.is_drained()
        else:
            with pytest.raises(ConnectionError):
                await sending
        await sender.close()
        await receiver.close()


# --- gelf -----------------------------------------------------------------------------------------


def gelf(root: Path, address: str, **options: str) -> GelfSender:
    named = {f"gelf_{name}": value for name, value in options.items()}
    return GelfSender(subject(root, "gelf", labels="tier", tag="t", gelf_address=address, **named))


def test_gelf_has_dockers_members(tmp_path: Path) -> None:
    sent = b"".join(gelf(tmp_path, "tcp://127.0.0.1:1").encode([lines(b"one\n\n"), lines(HOSTILE, STDERR)]))
    first, *rest = [json.loads(message) for message in sent.split(b"\0")[:-1]]
    assert len(rest) == 2, "no empty message, and no message of a container's own"
    assert first == {
        "version": "1.1", "host": os.uname().nodename, "short_message": "one", "timestamp": 1700000000.123, "level": 6,
        "_container_id": "c0ffee" + "0" * 58, "_container_name": "web", "_image_id": "sha256:" + "1" * 64,
        "_image_name": "app:1", "_command": "sh -c x", "_tag": "t", "_created": "2024-01-01T00:00:00Z",
        "_tier": "front",
    }  # fmt: skip
    assert [message["level"] for message in rest] == [3, 3]


def _joined(datagrams: Sequence[bytes]) -> bytes:
    assert all(len(datagram) <= 1420 and datagram[:2] == b"\x1e\x0f" for datagram in datagrams)
    assert len({datagram[2:10] for datagram in datagrams}) == 1
    assert [datagram[10] for datagram in datagrams] == list(range(datagrams[0][11]))
    return b"".join(datagram[12:] for datagram in datagrams)


def test_gelf_is_compressed_and_cut_into_chunks(tmp_path: Path) -> None:
    line = os.urandom(8000).hex().encode()
    for kind, plain in (("gzip", gzip.decompress), ("zlib", zlib.decompress), ("none", bytes)):
        sender = gelf(tmp_path, "udp://127.0.0.1:1", compression_type=kind)
        assert json.loads(plain(_joined(sender.encode([lines(line + b"\n")]))))["short_message"] == line.decode()
        [small] = sender.encode([lines(b"small\n")])
        assert json.loads(plain(small))["short_message"] == "small"


# --- json-file ------------------------------------------------------------------------------------


def test_a_line_of_json_is_the_same_whether_it_has_odd_letters_or_not(tmp_path: Path) -> None:
    sender = JsonFileSender(subject(tmp_path, tag="t"))
    [plain] = sender.encode([lines(b"one\ntwo\n")])
    end = b'\\n","stream":"stdout","attrs":{"tag":"t"},"time":"2023-11-14T22:13:20.123456789Z"}\n'
    assert plain == b'{"log":"one' + end + b'{"log":"two' + end
    [odd] = sender.encode([lines(HOSTILE)])
    found = [json.loads(line)["log"] for line in odd.decode().split("\n")[:-1]]
    assert found == [HOSTILE.split(b"\n")[0].decode(errors="replace") + "\n", HOSTILE.split(b"\n")[1].decode() + "\n"]
    assert b"\\u003c" in odd
    assert b"\\u2028" in odd
    assert odd.count(b"\n") == 2
    parts = sender.encode([lines(b"a", part=Part("i", 1, last=False)), lines(b"b", part=Part("i", 2, last=True))])
    assert [json.loads(part)["log"] for part in parts] == ["a", "b\n"]


async def test_a_torn_line_of_a_crash_is_cut_off(tmp_path: Path) -> None:
    facts = subject(tmp_path)
    facts.file.write_bytes(b'{"log":"whole"}\n{"log":"to')
    sender = JsonFileSender(facts)
    await sender.open()
    await sender.send([b'{"log":"next"}\n'])
    await sender.close()
    assert facts.file.read_bytes() == b'{"log":"whole"}\n{"log":"next"}\n'
