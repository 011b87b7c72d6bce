"""Log drivers that send logs elsewhere, and the file of ``json-file``: with real containers, and a real rsyslogd."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import unixhttp
from support.daemons import Daemon
from support.engine_fixtures import import_busybox
from support.needs import need, program
from support.ports import free_port

pytestmark = [need("root", "busybox", "overlay"), pytest.mark.usefixtures("clean", "busybox")]

PATIENCE = 60.0


def body(script: str, driver: str, **options: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    host = {"NetworkMode": "none", "LogConfig": {"Type": driver, "Config": named}}
    return {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host, "StopSignal": "KILL"}


def run(daemon: Daemon, script: str, driver: str, **options: str) -> str:
    answer = daemon.request("POST", "/containers/create", body(script, driver, **options))
    assert answer.status == 201, answer.body
    container = str(answer.json["Id"])
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    daemon.request("POST", f"/containers/{container}/wait")
    return container


def logs(daemon: Daemon, container: str) -> bytes:
    answer = daemon.request("GET", f"/containers/{container}/logs", stdout=1, stderr=1)
    return b"".join(data for _, data in unixhttp.frames(answer.body))


def until(condition: Callable[[], bool]) -> None:
    """Wait until another process has done something that it is known to do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


class Sink:
    """Takes connections on a port, in a thread, and keeps what comes."""

    def __init__(self, port: int = 0) -> None:
        self.data = bytearray()
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=True)  # another one may take over
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._readers: list[threading.Thread] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._readers.append(threading.Thread(target=self._read, args=(connection,), daemon=True))
            self._readers[-1].start()

    def _read(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(1 << 16):
                self.data += data
        except OSError:
            return

    def read_to_the_end(self) -> None:
        """Read what senders have sent that are gone by now."""
        for reader in self._readers:
            reader.join(PATIENCE)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):  # the other side may have reset it
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextmanager
def rsyslogd(root: Path, port: int) -> Iterator[Path]:
    """A real rsyslogd in the foreground: a socket of datagrams in `root`, a port of TCP, a file with what came."""
    path = program("rsyslogd") or "rsyslogd"
    (root / "rsyslog.conf").write_text(
        f'module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" Socket="{root}/log")\n'
        f'module(load="imptcp")\ninput(type="imptcp" address="127.0.0.1" port="{port}")\n'
        'template(name="all" type="string" string="%pri-text% %syslogtag% %protocol-version%%msg%\\n")\n'
        f'action(type="omfile" file="{root}/out" template="all")\n'
    )
    process = subprocess.Popen([path, "-n", "-f", str(root / "rsyslog.conf"), "-i", str(root / "pid")])
    try:
        until((root / "log").exists)
        yield root / "out"
    finally:
        process.terminate()
        process.wait(PATIENCE)


@need("rsyslogd")
def test_rsyslog_gets_every_line_and_logs_shows_them_too(daemon: Daemon, tmp_path: Path) -> None:
    port = free_port()
    with rsyslogd(tmp_path, port) as out:
        container = run(
            daemon, "echo one; echo two >&2; seq 3000", "syslog", syslog_address=f"unixgram://{tmp_path}/log",
            tag="{{.ImageName}}/{{.Name}}", syslog_facility="local3",
        )  # fmt: skip
        until(lambda: out.exists() and out.read_bytes().count(b"\n") == 3002)
        lines = out.read_text().splitlines()
        name = daemon.request("GET", f"/containers/{container}/json").json["Name"]
        assert lines[0].startswith(f"local3.info busybox{name}[")
        assert next(line for line in lines if line.startswith("local3.err")).endswith("]: 0 two")
        assert [line.split()[-1] for line in lines if line.split()[-1].isdigit()] == [str(n) for n in range(1, 3001)]
        assert logs(daemon, container).count(b"\n") == 3002
        parts = {"syslog_address": f"tcp://127.0.0.1:{port}", "syslog_format": "rfc5424micro", "tag": "a b/{{.ID}}"}
        run(daemon, "echo '<13>1 not a message'; echo last", "syslog", **parts)
        until(lambda: out.read_bytes().count(b"\n") == 3004)
        first, second = out.read_text().splitlines()[-2:]
        assert re.fullmatch(r"daemon\.info a_b/\w+\[\d+\] 1<13>1 not a message", first), first
        assert second.endswith(" 1last")


def test_fluentd_gets_what_was_written_while_it_was_gone_and_the_daemon_was_killed(
    own_daemon: Daemon, busybox_archive: bytes
) -> None:
    import_busybox(own_daemon, busybox_archive)
    sink = Sink()
    script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.01; done"
    options = {"fluentd_address": f"127.0.0.1:{sink.port}", "tag": "t.{{.Name}}"}
    answer = own_daemon.request("POST", "/containers/create?name=flu", body(script, "fluentd", **options))
    assert answer.status == 201, answer.body
    assert own_daemon.request("POST", "/containers/flu/start").status == 204
    until(lambda: b"line 20" in sink.data)
    own_daemon.kill9()
    sink.read_to_the_end()
    again = Sink(sink.port)
    sink.close()
    own_daemon.start()
    own_daemon.request("POST", "/containers/flu/wait")
    until(lambda: b"line 400" in again.data)
    seen = {int(number) for data in (sink.data, again.data) for number in re.findall(rb"line (\d+)", data)}
    assert seen >= set(range(1, 401))
    begin = b"\x93\xa5t.flu"
    tag, ((_, record), *_), _ = msgspec.msgpack.decode(begin + bytes(sink.data).split(begin)[1])
    assert (tag, record["container_name"], record["source"]) == ("t.flu", "/flu", "stdout")
    again.close()


def test_a_container_does_not_start_without_its_receiver_and_says_why_as_docker_does(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = f"failed to initialize logging driver: dial tcp 127.0.0.1:{port}: connect: connection refused"
    for driver, options in (
        ("fluentd", {"fluentd_address": f"127.0.0.1:{port}"}),
        ("syslog", {"syslog_address": f"tcp://127.0.0.1:{port}"}),
    ):
        container = daemon.request("POST", "/containers/create", body("true", driver, **options)).json["Id"]
        answer = daemon.request("POST", f"/containers/{container}/start")
        assert answer.status == 500
        assert said in answer.json["message"]
    waiting = body("echo hello", "fluentd", fluentd_address=f"127.0.0.1:{port}", fluentd_async="true")
    container = daemon.request("POST", "/containers/create", waiting).json["Id"]
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    daemon.request("POST", f"/containers/{container}/wait")
    sink = Sink(port)
    until(lambda: b"hello" in sink.data)
    sink.close()


def test_what_is_removed_at_its_end_was_delivered_before(daemon: Daemon) -> None:
    sink = Sink()
    asked = body("seq 2000", "syslog", syslog_address=f"tcp://127.0.0.1:{sink.port}")
    asked["HostConfig"]["AutoRemove"] = True
    container = daemon.request("POST", "/containers/create", asked).json["Id"]
    daemon.request("POST", f"/containers/{container}/start")
    daemon.request("POST", f"/containers/{container}/wait?condition=removed")
    until(lambda: sink.data.count(b"\n") == 2000)
    sink.close()


def test_log_path_is_a_file_for_who_asks_for_one(daemon: Daemon) -> None:
    container = run(daemon, "echo hello; echo oops >&2", "json-file", file="true", tag="{{.Name}}")
    shown = daemon.request("GET", f"/containers/{container}/json").json
    path = Path(shown["LogPath"])
    assert path.name == f"{container}-json.log"
    until(lambda: path.exists() and path.read_bytes().count(b"\n") == 2)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((line["stream"], line["log"]) for line in found) == [("stderr", "oops\n"), ("stdout", "hello\n")]
    assert {line["attrs"]["tag"] for line in found} == {shown["Name"][1:]}
    assert logs(daemon, container).count(b"\n") == 2
    daemon.request("DELETE", f"/containers/{container}")
    until(lambda: not os.path.exists(path))


def test_info_lists_them_and_a_log_that_is_only_sent_cannot_be_read(daemon: Daemon) -> None:
    listed = daemon.request("GET", "/info").json["Plugins"]["Log"]
    assert listed == ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"]
    sink = Sink()
    address = f"tcp://127.0.0.1:{sink.port}"
    container = run(daemon, "echo x", "gelf", gelf_address=address, cache_disabled="true")
    answer = daemon.request("GET", f"/containers/{container}/logs", stdout=1)
    assert (answer.status, answer.json["message"]) == (501, "configured logging driver does not support reading")
    until(lambda: b"\0" in sink.data)
    message = json.loads(bytes(sink.data[:-1]))
    assert (message["short_message"], message["level"], message["_container_id"]) == ("x", 6, container)
    sink.close()
