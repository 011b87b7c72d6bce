"""The directories of a container."""

from __future__ import annotations

import os

from wherry.content.durable import remove_tree
from wherry.engine.container.container import Container

__all__ = ["make_data_directories", "make_run_directory", "remove_run_directory", "remove_tree"]


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
