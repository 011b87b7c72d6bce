"""Where the daemon listens, and where it refuses to."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.needs import ROOT
from wherry.daemon import listeners, notify, options
from wherry.daemon.listeners import Listener, open_listeners
from wherry.daemon.lock import DataRootLock, ExecRootLock
from wherry.errors import Conflict, InvalidInput, SystemFault


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    """Listeners that are closed after the test."""
    made: list[Listener] = []
    yield made
    for listener in made:
        listener.close()


def options_of(*hosts: str) -> options.Options:
    return replace(options.parse(["--data-root", "/nowhere"]), hosts=hosts)


def test_a_unix_socket_is_for_its_owner_and_group_only(tmp_path: Path, opened: list[Listener]) -> None:
    opened += open_listeners(options_of(f"unix://{tmp_path}/dir/s"), {})
    mode = (tmp_path / "dir/s").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_the_socket_goes_with_its_listener(tmp_path: Path) -> None:
    (listener,) = open_listeners(options_of(f"unix://{tmp_path}/s"), {})
    listener.close()
    assert not (tmp_path / "s").exists()


def test_a_stale_socket_is_replaced(tmp_path: Path, opened: list[Listener]) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
        stale.listen()
    opened += open_listeners(options_of(f"unix://{tmp_path}/s"), {})
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))


def test_a_living_socket_is_not_taken_from_its_owner(tmp_path: Path, opened: list[Listener]) -> None:
    opened += open_listeners(options_of(f"unix://{tmp_path}/s"), {})
    with pytest.raises(Conflict, match="another process listens there"):
        open_listeners(options_of(f"unix://{tmp_path}/s"), {})
    assert (tmp_path / "s").exists()


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(Conflict, match="is not a socket"):
        open_listeners(options_of(f"unix://{tmp_path}/s"), {})
    assert (tmp_path / "s").read_text() == "precious"


def test_dockers_own_socket_is_listened_on_when_asked_for(
    tmp_path: Path, opened: list[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "DOCKER_SOCKET", tmp_path / "docker.sock")
    opened += open_listeners(replace(options_of(f"unix://{tmp_path}/s"), docker_socket=True), {})
    assert [listener.path for listener in opened] == [tmp_path / "s", tmp_path / "docker.sock"]


def test_when_one_listener_fails_none_is_left(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        open_listeners(options_of(f"unix://{tmp_path}/s", "nonsense"), {})
    assert not (tmp_path / "s").exists()


def test_a_path_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match=r"unable to listen on unix://.*too long"):
        open_listeners(options_of(f"unix://{tmp_path}/{'x' * 120}"), {})


@pytest.mark.parametrize("host", ["nonsense", "unix://relative", "http://localhost", "tcp:/x", "npipe:////./pipe/x"])
def test_a_host_that_is_not_understood_is_quoted(host: str) -> None:
    with pytest.raises(InvalidInput, match=f'invalid host "{host}"'):
        open_listeners(options_of(host), {})


def test_tcp_without_mutual_tls_is_refused() -> None:
    with pytest.raises(InvalidInput, match="without mutual TLS: whoever reaches it would be root"):
        open_listeners(options_of("tcp://127.0.0.1:0"), {})


def test_sockets_of_systemd_are_taken_only_when_they_are_for_this_process() -> None:
    with pytest.raises(InvalidInput, match="no sockets were passed by systemd"):
        open_listeners(options_of("fd://"), {"LISTEN_FDS": "1", "LISTEN_PID": "1"})


ACTIVATED = """
import os, socket, sys
os.dup2(int(sys.argv[1]), 3)
from dataclasses import replace
from wherry.daemon import options
from wherry.daemon.listeners import open_listeners
parsed = replace(options.parse(["--data-root", "/nowhere"]), hosts=("fd://",))
(listener,) = open_listeners(parsed, {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
connection, _ = listener.socket.accept()
connection.sendall(b"hello")
"""


def test_a_socket_of_systemd_is_listened_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(tmp_path / "s"))
        passed.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(passed.fileno())],
            pass_fds=[passed.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        with process, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(tmp_path / "s"))
            assert client.recv(5) == b"hello"


def test_a_second_daemon_on_a_data_root_is_told_who_has_it(tmp_path: Path) -> None:
    lock = DataRootLock(tmp_path)
    with pytest.raises(Conflict, match=rf"{tmp_path} is in use by another daemon \(pid {os.getpid()}\)"):
        DataRootLock(tmp_path)
    lock.release()
    DataRootLock(tmp_path).release()


def test_a_second_daemon_on_an_exec_root_is_refused(tmp_path: Path) -> None:
    exec_root = tmp_path / "run"
    exec_root.mkdir()
    lock = ExecRootLock(exec_root, tmp_path)
    with pytest.raises(Conflict, match=f"the exec root {exec_root} is in use by another daemon"):
        ExecRootLock(exec_root, tmp_path)
    lock.release()
    assert not exec_root.exists()


def test_containers_that_a_daemon_left_running_are_kept_from_one_with_another_data_root(tmp_path: Path) -> None:
    first, second, exec_root = (tmp_path / name for name in ("first", "second", "run"))
    for directory in (first, second, exec_root / "containers" / "abc"):
        directory.mkdir(parents=True)
    ExecRootLock(exec_root, first).release()
    with pytest.raises(Conflict, match=f"the exec root {exec_root} has containers of the data root {first}"):
        ExecRootLock(exec_root, second)
    ExecRootLock(exec_root, first).release()
    (exec_root / "containers" / "abc").rmdir()
    ExecRootLock(exec_root, second).release()


@pytest.mark.parametrize("name", ["{}/notify", "@wherry-test-{}"])
def test_the_service_manager_is_told(tmp_path: Path, name: str) -> None:
    address = name.format(tmp_path if name.startswith("{") else os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind(address.replace("@", "\0", 1))
        notify.notify("READY=1", {"NOTIFY_SOCKET": address})
        assert manager.recv(100) == b"READY=1"


def test_without_a_service_manager_nobody_is_told() -> None:
    notify.notify("READY=1", {})
