"""The directories of a container."""

from __future__ import annotations

import os
from typing import Final

from wherry.content.durable import remove_tree
from wherry.engine.container.container import Container

__all__ = [
    "make_data_directories",
    "make_run_directory",
    "remove_run_directory",
    "remove_tree",
    "try_remove_run_directory",
]

_FEW: Final = 16  # the FIFOs and records of a container, and of some programs that were executed in it


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


def try_remove_run_directory(container: Container) -> bool:
    """Remove the run directory if that takes no time: nothing but a few files is in it. Returns whether it is gone."""
    path = container.run_directory
    try:
        names = os.listdir(path)
        if len(names) > _FEW:
            return False
        for name in names:
            os.unlink(path / name)
        os.rmdir(path)
    except FileNotFoundError:
        return not os.path.lexists(path)
    except OSError:
        return False
    return True
