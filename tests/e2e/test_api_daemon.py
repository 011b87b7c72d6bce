"""The daemon's life: it starts, is refused, is reloaded, dies and comes back, and its containers do not mind."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quiet import in_time
from support import unixhttp
from support.daemons import Daemon
from support.needs import need
from support.ports import free_port

pytestmark = need("root")


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def run(daemon: Daemon, *command: str) -> str:
    host = {"NetworkMode": "none"}
    body = {"Image": "busybox", "Cmd": list(command), "HostConfig": host, "StopSignal": "SIGKILL"}
    identifier = daemon.request("POST", "/containers/create", body).json["Id"]
    answer = daemon.request("POST", f"/containers/{identifier}/start")
    assert answer.status == 204, answer.body
    return str(identifier)


def state(daemon: Daemon, container: str) -> dict[str, object]:
    found: dict[str, object] = daemon.request("GET", f"/containers/{container}/json").json["State"]
    return found


def test_a_second_daemon_on_the_data_root_is_refused_by_the_firsts_pid(own_daemon: Daemon) -> None:
    command = [*own_daemon.command, "-H", f"unix://{own_daemon.root}/other.sock"]
    second = subprocess.run(
        command, env=own_daemon.environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert second.returncode == 1
    assert f"is in use by another daemon (pid {own_daemon.pid})" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert own_daemon.request("GET", "/_ping").status == 200


@need("busybox")
def test_a_second_daemon_cannot_take_the_firsts_containers_from_its_keeper(mortal: Daemon, tmp_path: Path) -> None:
    container = run(mortal, "sleep", "1000")
    command = [*mortal.command, "--data-root", f"{tmp_path}/d", "-H", f"unix://{tmp_path}/s"]

    def refusal() -> str:
        second = subprocess.run(
            command, env=mortal.environment, capture_output=True, text=True, check=False, timeout=30
        )
        assert second.returncode == 1
        return second.stderr

    assert "is in use by another daemon (give this one a directory of its own: --exec-root)" in refusal()
    assert mortal.stop() == 0
    assert "has containers of the data root" in refusal()
    mortal.start()
    assert state(mortal, container)["Running"] is True


def test_the_socket_is_for_owner_and_group_and_goes_with_the_daemon(own_daemon: Daemon) -> None:
    path = Path(own_daemon.socket)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert own_daemon.stop() == 0
    assert not path.exists()
    assert not (own_daemon.exec_root / "wherryd.pid").exists()
    own_daemon.start()


@need("busybox")
@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_containers_outlive_the_daemon(mortal: Daemon, end: str) -> None:
    script = "echo first; while [ ! -e /go ]; do sleep 0.05; done; echo second; exit 5"
    container = run(mortal, "sh", "-c", script)
    idle = run(mortal, "sleep", "600")
    pid, keeper = state(mortal, container)["Pid"], mortal.keeper_pid
    getattr(mortal, end)()
    Path(f"/proc/{pid}/root/go").touch()  # it goes on, and ends, while nobody is there
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    mortal.start()
    assert mortal.keeper_pid == keeper
    assert state(mortal, idle)["Running"] is True
    wait_until(lambda: state(mortal, container)["Status"] == "exited")
    assert state(mortal, container)["ExitCode"] == 5
    log = mortal.request("GET", f"/containers/{container}/logs", stdout=True).body
    assert b"".join(data for _, data in unixhttp.frames(log)) == b"first\nsecond\n"
    assert mortal.request("POST", f"/containers/{idle}/kill").status == 204
    wait_until(lambda: state(mortal, idle)["ExitCode"] == 137)


@need("busybox")
def test_a_shutdown_without_kill_leaves_containers_running(mortal: Daemon) -> None:
    container = run(mortal, "sleep", "600")
    assert mortal.request("POST", "/wherry/shutdown").status == 204
    assert mortal.process
    assert mortal.process.wait(60) == 0
    mortal.start()
    assert state(mortal, container)["Running"] is True


@need("busybox")
def test_a_shutdown_with_kill_answers_when_nothing_is_left(mortal: Daemon) -> None:
    pid = state(mortal, run(mortal, "sleep", "600"))["Pid"]
    keeper = mortal.keeper_pid
    assert mortal.request("POST", "/wherry/shutdown", kill=True).status in (200, 204)
    assert not Path(f"/proc/{pid}").exists()
    wait_until(lambda: not Path(f"/proc/{keeper}").exists())  # its parent still has to notice
    assert mortal.process
    assert mortal.process.wait(60) == 0
    assert mortal.leftovers() == []


def test_a_reload_changes_labels_and_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"labels": ["a=1"]}))
    daemon = Daemon("--config-file", str(config))
    try:
        daemon.start()
        assert daemon.request("GET", "/info").json["Labels"] == ["a=1"]
        config.write_text(json.dumps({"labels": ["a=2"], "log-level": "debug"}))
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: daemon.request("GET", "/info").json["Labels"] == ["a=2"])
        config.write_text("{")
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: "unable to reload the configuration" in daemon.log_tail())
        assert daemon.request("GET", "/info").json["Labels"] == ["a=2"]
    finally:
        daemon.shut_down()


def test_in_the_background_the_command_returns_when_the_daemon_answers() -> None:
    daemon = Daemon("--daemonize")
    try:
        command = subprocess.run(daemon.command, env=daemon.environment, capture_output=True, check=False, timeout=30)
        assert (command.returncode, command.stdout, command.stderr) == (0, b"", b"")
        assert daemon.request("GET", "/_ping").status == 200
        again = subprocess.run(
            daemon.command, env=daemon.environment, capture_output=True, text=True, check=False, timeout=30
        )
        assert again.returncode == 1
        assert "is in use by another daemon" in again.stderr
        pid = int((daemon.exec_root / "wherryd.pid").read_text())
        assert os.getsid(pid) != os.getsid(0)
        assert daemon.request("POST", "/wherry/shutdown", kill=True).status in (200, 204)
        wait_until(lambda: not daemon.leftovers())
    finally:
        daemon.shut_down()
        daemon.destroy()


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.execve(sys.argv[2], sys.argv[2:], {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
"""


def test_systemd_may_open_the_socket_and_is_told_when_all_is_ready(tmp_path: Path) -> None:
    daemon = Daemon("-H", "fd://")
    with socket.socket(socket.AF_UNIX) as passed, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        daemon.exec_root.mkdir(parents=True)
        passed.bind(daemon.socket)
        passed.listen()
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        daemon.process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(passed.fileno()), *daemon.command],
            pass_fds=[passed.fileno()],
            env={**daemon.environment, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert manager.recv(100) == b"READY=1"
            assert daemon.request("GET", "/_ping").body == b"OK"
            daemon.stop()
            assert manager.recv(100) == b"STOPPING=1"
            assert Path(daemon.socket).exists()  # it is systemd's
        finally:
            daemon.flags = ()
            Path(daemon.socket).unlink(missing_ok=True)
            daemon.start()
            daemon.shut_down()


@need("openssl")
def test_tcp_lets_in_only_clients_with_a_certificate(tmp_path: Path) -> None:
    _make_certificates(tmp_path)
    port = free_port()
    files = [
        "--tlscacert",
        f"{tmp_path}/ca.pem",
        "--tlscert",
        f"{tmp_path}/server.pem",
        "--tlskey",
        f"{tmp_path}/server.key",
    ]
    daemon = Daemon("--tlsverify", *files, "-H", f"tcp://127.0.0.1:{port}")
    daemon.flags = (*daemon.flags, "-H", daemon.host)
    try:
        daemon.start()
        context = ssl.create_default_context(cafile=f"{tmp_path}/ca.pem")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _ping_tls(context, port)
        context.load_cert_chain(f"{tmp_path}/client.pem", f"{tmp_path}/client.key")
        assert _ping_tls(context, port).startswith(b"HTTP/1.1 200 OK")
    finally:
        daemon.shut_down()


def _ping_tls(context: ssl.SSLContext, port: int) -> bytes:
    raw = socket.create_connection(("127.0.0.1", port), 20)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as client:
        client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        received = client.recv(4096)
        if not received:
            raise ConnectionError("closed without an answer")
        return received


USAGE = "keyUsage=critical,keyCertSign,cRLSign"  # Python 3.13 checks strictly (RFC 5280)


def _make_certificates(directory: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(
        "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2", "-addext", USAGE
    )
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (directory / "extension").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.pem", "-days", "2", "-extfile", "extension"),
        )


def test_an_idle_daemon_and_its_keeper_sleep(own_daemon: Daemon) -> None:
    def wakeups() -> list[int]:
        pids = (own_daemon.pid, own_daemon.keeper_pid)
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        return [int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in texts]

    # Others' network interfaces come and go, and the start leaves namespaces to be made; a clock never stops.
    woken = []
    for _ in range(5):
        before = wakeups()
        time.sleep(3)
        woken.append([now - then for then, now in zip(before, wakeups(), strict=True)])
        if woken[-1] == [0, 0]:
            return
    in_time(False, f"wherryd and keeper wake up, in five times three seconds: {woken}")
