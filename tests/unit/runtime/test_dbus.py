"""The greeting of a manager over D-Bus."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wherry.runtime.cgroups import dbus

pytest.importorskip("jeepney")


def test_who_overlooks_a_greeting_is_greeted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a systemd does that has just begun, once in a hundred times."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(dbus, "_GREETING", 0.05)
    (tmp_path / "systemd").mkdir()
    greeted = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "systemd/private"))
        listener.listen()

        def answer() -> None:
            overlooked, _ = listener.accept()
            heard, _ = listener.accept()
            with overlooked, heard:
                greeted.append(heard.recv(100))
                heard.sendall(b"OK 1234\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        dbus.Conversation(user=True).close()
        thread.join()
    assert greeted[0].startswith(b"\0AUTH EXTERNAL ")


def test_in_a_user_namespace_it_says_who_it_is_outside() -> None:
    """There podman's runtime is root, and systemd sees the user."""
    source = str(Path(__file__).resolve().parents[3] / "src")
    code = f"import sys; sys.path.insert(0, {source!r})\nfrom wherry.runtime.cgroups import dbus as d\n"
    code += "print(d._uid_outside())"
    command = ["unshare", "--user", "--map-user=4711", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces: {done.stderr}")
    assert done.stdout == f"{os.geteuid()}\n", done
