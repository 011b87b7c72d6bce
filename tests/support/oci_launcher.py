"""``wherry-oci`` of this tree as one program, for callers that want a path."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from wherry.linux._libc import ARCHITECTURE
from wherry.startup.machine_code import LISTINGS

__all__ = ["COMMAND", "launcher", "snapshot_of"]

ENTRY = Path(__file__).resolve().parents[2] / "src/wherry/ociruntime/entry.py"
COMMAND = [sys.executable, "-I", "-S", str(ENTRY)]


def launcher(directory: Path) -> Path:
    """Make the program in a directory."""
    path = directory / "wherry-oci"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    path.chmod(0o755)
    return path


def snapshot_of(directory: Path) -> list[str]:
    """The command by its startup snapshot, made in a directory; the ordinary one where there are none."""
    if ARCHITECTURE not in LISTINGS or sys.version_info >= (3, 14):
        return COMMAND
    path = directory / "wherry-oci"
    subprocess.run([*COMMAND[:-1], "-X", f"snapshot={path}", COMMAND[-1]], check=True, stdin=subprocess.DEVNULL)
    return [str(path)]
