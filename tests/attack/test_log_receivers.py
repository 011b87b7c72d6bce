"""Containers that flood the receivers of logs, and receivers that do not read, hang up, or say what nobody asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support import unixhttp
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay"), pytest.mark.usefixtures("clean", "busybox", "unharmed")]

MOST_MEMORY = 48 << 20  # bytes by which the daemon may grow for a container


class Deaf:
    """Accepts connections, and never reads."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.accepted: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.accepted.append(self.listener.accept()[0])

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.accepted:
            connection.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    receiver = Deaf()
    yield receiver
    receiver.close()


def start(daemon: Daemon, script: str, driver: str, **options: str) -> str:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    body = {
        "Image": "busybox", "Cmd": ["sh", "-c", script], "StopSignal": "KILL",
        "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": driver, "Config": named}},
    }  # fmt: skip
    answer = daemon.request("POST", "/containers/create", body)
    assert answer.status == 201, answer.body
    container = str(answer.json["Id"])
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    return container


def memory(daemon: Daemon) -> int:
    """The daemon's highest use of memory so far."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) << 10


@pytest.mark.parametrize(
    "script", ["yes '' | head -n 10000000", "yes | head -c 30000000", "head -c 60000000 /dev/zero"]
)
def test_a_flood_to_a_receiver_that_never_reads_fills_nothing(daemon: Daemon, deaf: Deaf, script: str) -> None:
    """Lines of nothing, lines of a letter, and one line without end."""
    before = memory(daemon)
    options = {"mode": "non-blocking", "cache_max_size": "1m", "cache_max_file": "2"}
    flood = start(daemon, script, "gelf", gelf_address=deaf.address, **options)
    assert daemon.request("POST", f"/containers/{flood}/wait").json["StatusCode"] == 0, "it was not made to wait"
    assert memory(daemon) - before < MOST_MEMORY
    assert daemon.request("DELETE", f"/containers/{flood}").status == 204


def test_who_waits_for_a_receiver_can_be_killed_and_its_log_is_read(daemon: Daemon, deaf: Deaf) -> None:
    options = {"cache_max_size": "64k", "cache_max_file": "2"}
    container = start(daemon, "seq 10000000", "syslog", syslog_address=deaf.address, **options)
    other = start(daemon, "echo done", "json-file")
    assert daemon.request("POST", f"/containers/{other}/wait").json["StatusCode"] == 0, "no other one waits"
    answer = daemon.request("GET", f"/containers/{container}/logs", stdout=1)
    assert b"".join(data for _, data in unixhttp.frames(answer.body)).startswith(b"1\n2\n")
    assert daemon.request("GET", f"/containers/{container}/json").json["State"]["Running"]
    assert daemon.request("DELETE", f"/containers/{container}", force=1).status == 204


def test_a_receiver_that_hangs_up_or_babbles_is_asked_again_and_not_believed(daemon: Daemon) -> None:
    """It gets the same line each time, as it never had it; the daemon keeps no word of what it says."""
    before = memory(daemon)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = {"fluentd_address": f"127.0.0.1:{port}", "fluentd_request_ack": "true", "fluentd_async": "true"}
        container = start(daemon, "echo believe", "fluentd", fluentd_retry_wait="10ms", **options)
        for said in (b"", b"\xc1" * 65536, b"\x81\xa3ack\xa3lie", b"\xdd\xff\xff\xff\xff" * 100, b"\x91" * 3000):
            connection, _ = listener.accept()
            with connection:
                received = b""
                while b"believe" not in received:
                    received += connection.recv(65536)
                with suppress(OSError):
                    connection.sendall(said)
                connection.settimeout(60)
                if said:
                    with suppress(ConnectionError):
                        assert connection.recv(65536) == b"", "it is hung up on"
        daemon.request("POST", f"/containers/{container}/wait")
        assert memory(daemon) - before < MOST_MEMORY
        assert daemon.request("DELETE", f"/containers/{container}").status == 204


def test_a_line_that_looks_like_a_message_is_a_line(daemon: Daemon) -> None:
    forged: Any = {"version": "1.1", "host": "other", "short_message": "forged", "_container_id": "other"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        script = f"printf '%s' '{json.dumps(forged)}'; printf '\\0'; printf '{{}}\\n'"
        container = start(daemon, script, "gelf", gelf_address=address)
        connection, _ = listener.accept()
        with connection:
            received = b""
            while b"\0" not in received:
                received += connection.recv(65536)
        message = json.loads(received.rstrip(b"\0"))
        assert message["short_message"] == json.dumps(forged) + "\0{}"
        assert message["_container_id"] == container
