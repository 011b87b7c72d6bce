"""``wherry-oci`` of this tree as one program, for callers that want a path."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

__all__ = ["COMMAND", "launcher"]

ENTRY = Path(__file__).resolve().parents[2] / "src/wherry/ociruntime/entry.py"
COMMAND = [sys.executable, "-I", "-S", str(ENTRY)]


def launcher(directory: Path) -> Path:
    """Make the program in a directory."""
    path = directory / "wherry-oci"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    path.chmod(0o755)
    return path
