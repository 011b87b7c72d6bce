"""The greeting of a manager over D-Bus."""

from __future__ import annotations

import socket
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
