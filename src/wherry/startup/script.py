"""What the scripts that pip makes begin with: they execute the startup snapshot, or the program without ``site``.

A script of pip's is Python, with ``site`` and all; so it costs more than the one in a clone, which a shell runs, and
far less than importing the program.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["begin"]


def begin(package: str, name: str, otherwise: Callable[[], object]) -> NoReturn:
    """Become a program; does not return.

    :param package: the directory with its ``entry.py``, and with its snapshots in ``__pycache__``.
    :param name: of the snapshot, before the boot's ID.
    :param otherwise: runs the program in this process, where the interpreter alone does not find what it needs.
    """
    snapshot = _snapshot(f"{package}/__pycache__/{name}")
    if snapshot:
        _execute([snapshot, *sys.argv[1:]])
    # Only in a virtual environment all that is needed is where entry.py looks for it.
    if sys.prefix != sys.base_prefix:
        _execute([sys.executable, "-I", "-S", f"{package}/entry.py", *sys.argv[1:]])
    otherwise()
    sys.exit()


def _snapshot(place: str) -> str:
    """The snapshot of this boot, if there is one and it is this user's; empty otherwise."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            path = f"{place}.{file.read().strip()}"
        found = os.stat(path)
    except OSError:
        return ""
    return path if found.st_uid == os.geteuid() and found.st_mode & 0o100 else ""


def _execute(command: list[str]) -> None:
    try:
        os.execv(command[0], command)
    except OSError:  # it has just gone; there is another way
        return
