"""Copies of volumes in the making: whole, and on the disk, before anybody sees them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wherry.content.durable import disk_errors
from wherry.errors import InvalidInput
from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.files import syncfs
from wherry.linux.trees import DIRECTORY
from wherry.volumes.copy_up import DATA
from wherry.volumes.tree_copy import Copied, DirectorySource, copy_tree

__all__ = ["DATA", "begin_draft", "fill_draft", "split_name", "sync_draft"]

_LINKS: Final = "links"
_OWNERS_ONLY: Final = 0o701  # containers with a user namespace of their own have to get through to `DATA`


def begin_draft(draft: Path, limit: Callable[[Path], object] = lambda draft: None) -> None:
    """Make the directory of a volume to be, with an empty `DATA` in it.

    :param limit: keeps what will be in it to a size.
    """
    with disk_errors("make a directory for a volume"):
        draft.mkdir(0o700)
        draft.chmod(_OWNERS_ONLY)
        limit(draft)
        (draft / DATA).mkdir(0o755)


def fill_draft(draft: Path, source: str, check: Callable[[], object]) -> Copied:
    """Copy a volume's files into a draft.

    :param source: their directory; containers may change it meanwhile.
    :param check: raises where the work is not wanted any more.
    :raises OutOfSpace: the disk is full.
    """
    with disk_errors("copy a volume"):
        links = draft / _LINKS
        links.mkdir(0o700)
        with (
            DirectorySource.open_path(source) as come_from,
            Fd(os.open(draft / DATA, DIRECTORY)) as into,
            Fd(os.open(links, DIRECTORY)) as beside,
        ):
            copied = copy_tree(come_from, into.fileno(), beside.fileno(), check=check)
        trees.remove(links)
    return copied


def sync_draft(draft: Path) -> None:
    """Bring a draft to the disk: what gets its name afterwards is whole."""
    with disk_errors("write a volume to the disk"), Fd(os.open(draft, DIRECTORY)) as directory:
        syncfs(directory)


def split_name(text: str) -> tuple[str, str]:
    """Divide ``VOLUME@SNAPSHOT``; the second is empty where only a volume is named.

    :raises InvalidInput: one of the two is missing.
    """
    volume, at, name = text.partition("@")
    if not volume or (at and not name):
        raise InvalidInput(f"'{text}' is not the name of a snapshot", hint="as in VOLUME@SNAPSHOT")
    return volume, name
