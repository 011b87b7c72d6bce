"""``wherry system shutdown`` returns when the daemon's process is gone, not when its socket is."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from wherry.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

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
        connection.sendall(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
        time.sleep({LINGERS})
        sys.exit()
"""


def test_it_waits_for_the_end_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "wherry.sock"
    with subprocess.Popen(
        [sys.executable, "-c", A_DAEMON_THAT_LINGERS, path], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline() == "listening\n"
        began = time.monotonic()
        assert run(["-H", f"unix://{path}", "system", "shutdown"]) == 0
        assert time.monotonic() - began >= LINGERS
        assert daemon.wait(1) == 0
    assert run(["-H", f"unix://{path}", "system", "shutdown"]) == 0
