"""The directories and generated files of a container."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from wherry.engine.container import Container
from wherry.engine.network_files import write_in_place
from wherry.errors import SystemFault

__all__ = ["make_data_directories", "make_run_directory", "remove_run_directory", "remove_tree", "set_aside"]


def make_data_directories(container: Container) -> None:
    """Make the directory that holds a container's writable layer.

    :raises SystemFault: it cannot be made; ``OutOfSpace`` comes from the caller's translation.
    """
    os.mkdir(container.directory, 0o710)


def make_run_directory(container: Container, texts: Mapping[str, str]) -> None:
    """Make what exists of a container only while the machine runs: FIFOs' place and the files in its /etc.

    :param texts: what stands in those files, by name.
    """
    directory = container.run_directory
    os.makedirs(directory, 0o710, exist_ok=True)
    if container.host.ipc_mode == "shareable" and not (directory / "shm").is_dir():
        os.mkdir(directory / "shm")
        os.chmod(directory / "shm", 0o1777)
    for name, text in texts.items():
        write_in_place(directory / name, text)
    container.hosts = texts.get("hosts", "")


def remove_run_directory(container: Container) -> None:
    """Remove the run directory; nothing happens when there is none."""
    shutil.rmtree(container.run_directory, ignore_errors=True)


def set_aside(container: Container, trash: Path) -> Path | None:
    """Move a container's data out of the way in one step; what is returned is to be removed with `remove_tree`."""
    target = trash / f"removed-{container.id}"
    try:
        os.rename(container.directory, target)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SystemFault(f"cannot remove the directory '{container.directory}'", cause=str(exc)) from exc
    return target


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is below it; a missing one is no error."""
    shutil.rmtree(path, ignore_errors=True)
