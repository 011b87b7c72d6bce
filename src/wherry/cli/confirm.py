"""Ask before something is lost."""

from __future__ import annotations

import sys

__all__ = ["confirmed"]


def confirmed(warning: str) -> bool:
    """Ask, and read an answer from standard input; anything but ``y`` is no."""
    sys.stdout.write(f"{warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "y"
