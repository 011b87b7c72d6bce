"""What a step left in its writable directory, looked through once before that becomes a layer."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from wherry.layers.overlay_view import MergedTree
from wherry.layers.whiteouts import OPAQUE_ATTRIBUTE, is_opaque
from wherry.linux.trees import Descent, unrolled

__all__ = ["tidy"]


def tidy(upper: Path, lower: Sequence[str]) -> int:
    """Take away marks that say nothing, and measure.

    Overlayfs makes each new directory opaque, for its own speed. Where the layers below have no such directory, that
    hides nothing; but laid upon other layers (LLB's merge) it would.

    :param upper: the writable directory; no mount may use it any more.
    :param lower: the layers below, top first.
    :return: the sum of its files' sizes in bytes; a file with several links counts once.
    :raises OSError: the disk fails.
    """
    with os.scandir(upper) as scan:
        has_folders = any(entry.is_dir(follow_symlinks=False) for entry in scan)
    total = 0
    with Descent.open(upper) as way, MergedTree.open(lower if has_folders else ()) as model:
        for size in unrolled(_look(way, model if lower else None, set())):
            total += size
    return total


def _look(way: Descent, model: MergedTree | None, linked: set[int]) -> Generator[Any, None, None]:
    """The sizes of the files in the present directory; of those below, generators for `unrolled`."""
    folders, total = [], 0
    with os.scandir(way.fileno()) as scan:
        for entry in scan:
            if entry.is_dir(follow_symlinks=False):
                folders.append(os.fsencode(entry.name))
            elif entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink == 1 or status.st_ino not in linked:
                    total += status.st_size
                if status.st_nlink > 1:
                    linked.add(status.st_ino)
    yield total
    for name in folders:
        way.enter(name)
        below = model if model is not None and _is_directory(model, name) and model.enter(name) else None
        if below is None and is_opaque(way.fileno()):
            os.removexattr(way.fileno(), OPAQUE_ATTRIBUTE)
        yield _look(way, below, linked)
        if below is not None:
            below.leave()
        way.leave()


def _is_directory(model: MergedTree, name: bytes) -> bool:
    found = model.find(name)
    return found is not None and stat.S_ISDIR(found.status.st_mode)
