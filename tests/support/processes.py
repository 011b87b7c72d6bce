"""Processes of this machine, and waiting for what they do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["children", "processes", "wait_for"]


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


def children() -> list[int]:
    """The IDs of this process's children, with those that have ended and were not waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(path.parent.name))
    return sorted(found)


def wait_for(condition: Callable[[], object], patience: float = 120) -> None:
    """Wait, with patience for a loaded machine."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
