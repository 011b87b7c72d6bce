"""The directories of a container."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.content.durable import remove_tree
from wherry.engine.container import etc_files
from wherry.engine.container.container import Container
from wherry.keeper import exec_root

__all__ = [
    "make_data_directories",
    "make_run_directory",
    "remove_run_directory",
    "remove_tree",
    "try_remove_data",
    "try_remove_run_directory",
]

_EMPTY: Final = ("upper", "work/work", "work")  # of an overlay: its writable directory, and the kernel's own


def make_data_directories(container: Container) -> None:
    """Make the directory that holds a container's writable layer.

    :raises SystemFault: it cannot be made; ``OutOfSpace`` comes from the caller's translation.
    """
    os.mkdir(container.directory, 0o710)


def make_run_directory(container: Container) -> None:
    """Make the directory of what does not outlive a reboot: the container's FIFOs.

    A container can write to nothing in it: it is memory, and the whole engine's.
    """
    os.makedirs(container.run_directory, 0o710, exist_ok=True)


def remove_run_directory(container: Container) -> None:
    """Remove the run directory; nothing happens when there is none."""
    remove_tree(container.run_directory)


def try_remove_data(directory: Path) -> bool:
    """Remove the data of a container that has written nothing. Returns whether it is gone.

    A third of the calls that `remove_tree` makes, for which what is not as here is left.

    :param directory: the container's, or what it is called by now.
    """
    try:
        for name in _EMPTY:
            with suppress(FileNotFoundError):
                os.rmdir(directory / name)
        for name in etc_files.NAMES:
            with suppress(FileNotFoundError):
                os.unlink(directory / name)
        os.rmdir(directory)
    except OSError:
        return False
    return True


def try_remove_run_directory(container: Container) -> bool:
    """Remove the run directory if nothing is in it but what each container has. Returns whether it is gone."""
    directory = str(container.run_directory)
    if not os.path.lexists(directory):
        return True
    try:
        for name in exec_root.OF_CONTAINER:
            with suppress(FileNotFoundError):
                os.unlink(f"{directory}/{name}")
        with suppress(FileNotFoundError):
            os.rmdir(directory)
    except OSError:
        return False
    return True
