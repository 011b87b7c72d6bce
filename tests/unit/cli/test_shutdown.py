"""``wherry system shutdown`` returns when the daemon's process is gone, not when its socket is."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from wherry.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LINGERS = 0.5  # seconds
A_DAEMON_THAT_LINGERS = f"""
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    connection = listener.accept()[0]
    if connection.recv(65536):
        os.unlink(sys.argv[1])
        listener.close()
        connection.sendall(sys.argv[2].replace("|", "\\r\\n").encode())
        time.sleep({LINGERS})
        sys.exit()
"""


NOTHING = "HTTP/1.1 204 No Content||"
SOMETHING = '{"Warnings": ["forwarding stays on"]}'


@pytest.mark.slow
def test_it_waits_for_the_end_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "wherry.sock"
    with subprocess.Popen(
        [sys.executable, "-c", A_DAEMON_THAT_LINGERS, path, NOTHING], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline() == "listening\n"
        began = time.monotonic()
        assert run(["-H", f"unix://{path}", "system", "shutdown"]) == 0
        assert time.monotonic() - began >= LINGERS
        assert daemon.wait(1) == 0
    assert run(["-H", f"unix://{path}", "system", "shutdown"]) == 0


def test_where_no_daemon_is_nobody_thinks_that_containers_were_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = f"unix://{tmp_path}/nobody.sock"
    assert run(["-H", host, "system", "shutdown", "--kill"]) == 0
    assert capsys.readouterr().err == f"No daemon answers at {host}: no container was ended.\n"
    assert run(["-H", host, "system", "shutdown"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_what_the_daemon_has_to_leave_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wherry.sock"
    answer = f"HTTP/1.1 200 OK|Content-Type: application/json|Content-Length: {len(SOMETHING)}||{SOMETHING}"
    with subprocess.Popen(
        [sys.executable, "-c", A_DAEMON_THAT_LINGERS, path, answer], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline() == "listening\n"
        assert run(["-H", f"unix://{path}", "system", "shutdown", "--kill"]) == 0
    assert capsys.readouterr().err == "WARNING: forwarding stays on\n"
