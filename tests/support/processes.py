"""Processes of this machine, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["processes", "wait_for"]


def processes(command: str) -> list[str]:
    """The IDs of processes with a command line, in whatever namespace."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().replace(b"\0", b" ").strip() == command.encode():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], object], patience: float = 120) -> None:
    """Wait, with patience for a loaded machine."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
