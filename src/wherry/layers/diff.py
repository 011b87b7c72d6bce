"""What a container changed: as a list, and as a layer's archive.

Both come from the writable directory of its overlay mounts: what is there was added or modified, whiteouts and opaque
directories say what was deleted. A directory that is there only because something in it is, and looks as it does
below, counts as modified by what happened in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from typing import Any, NamedTuple

from wherry.content.durable import disk_errors
from wherry.layers.merged import MergedDirectory, MergedEntry
from wherry.layers.overlay import OverlayMount
from wherry.layers.pack import Packer

__all__ = ["Change", "ChangeKind", "changes", "write_layer"]


class ChangeKind(IntEnum):
    """The numbers that Docker's API uses."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """One path that differs from the image."""

    path: str
    kind: ChangeKind

    def json(self) -> dict[str, Any]:
        """As Docker's API gives it."""
        return {"Path": self.path, "Kind": int(self.kind)}


def changes(mounts: Sequence[OverlayMount]) -> list[Change]:
    """All differences between a container and its image, sorted by path.

    :param mounts: the container's overlay mounts; they don't have to be mounted.
    """
    found: dict[bytes, ChangeKind] = {}
    with disk_errors("compare a container with its image"):
        for mount in mounts:
            with MergedDirectory.open_root([mount.upper]) as upper, MergedDirectory.open_root(mount.lower) as image:
                for path, kind in _compare(upper, image, os.fsencode(mount.target.strip("/"))):
                    found[path] = kind
                    if kind is not ChangeKind.MODIFIED:
                        _touch_parents(found, path)
    ordered = sorted((b"/" + path, kind) for path, kind in found.items())
    return [Change(os.fsdecode(path), kind) for path, kind in ordered]


def _touch_parents(found: dict[bytes, ChangeKind], path: bytes) -> None:
    """Something came or went: so the directories that hold it were modified."""
    while path := path.rpartition(b"/")[0]:
        found.setdefault(path, ChangeKind.MODIFIED)


def _compare(upper: MergedDirectory, image: MergedDirectory | None, path: bytes) -> Iterator[tuple[bytes, ChangeKind]]:
    """The changes in one directory.

    :param image: the same directory of the image; None where it has none.
    """
    for entry in upper.entries(whiteouts=True):
        here = path + b"/" + entry.name if path else entry.name
        former = image.find(entry.name) if image else None
        if entry.is_whiteout:
            if former is not None:
                yield here, ChangeKind.DELETED
            continue
        if former is None:
            yield here, ChangeKind.ADDED
        elif not stat.S_ISDIR(entry.status.st_mode) or _differs(entry.status, former.status):
            yield here, ChangeKind.MODIFIED
        with _both(upper, image, entry) as (inner, model):
            if inner is not None:
                yield from _compare(inner, model, here)
                yield from _hidden(inner, model, here)


def _hidden(upper: MergedDirectory, image: MergedDirectory | None, path: bytes) -> Iterator[tuple[bytes, ChangeKind]]:
    """What an opaque directory hides of the image's, without having it again itself."""
    if image is not None and upper.is_opaque:
        present = {entry.name for entry in upper.entries(whiteouts=True)}
        for entry in image.entries():
            if entry.name not in present:
                yield path + b"/" + entry.name, ChangeKind.DELETED


@contextmanager
def _both(
    upper: MergedDirectory, image: MergedDirectory | None, entry: MergedEntry
) -> Iterator[tuple[MergedDirectory | None, MergedDirectory | None]]:
    """The directory called as `entry` in the writable layer and in the image, as far as each is one."""
    with ExitStack() as stack:
        inner = upper.open(entry.name) if stat.S_ISDIR(entry.status.st_mode) else None
        model = image.open(entry.name) if image and inner else None
        for one in (inner, model):
            if one is not None:
                stack.enter_context(one)
        yield inner, model


def _differs(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether a directory itself was changed, not just something in it: overlayfs copies all attributes up."""
    wanted = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    return any(getattr(one, name) != getattr(other, name) for name in wanted)


def write_layer(mounts: Sequence[OverlayMount], write: Callable[[bytes], object]) -> None:
    """Write the archive of a layer that turns the image into the container as it is now.

    :param mounts: the container's overlay mounts.
    :param write: takes the archive's bytes, piece by piece.
    """
    packer = Packer(write)
    with disk_errors("pack a container's changes"):
        for mount in mounts:
            with MergedDirectory.open_root([mount.upper]) as upper, MergedDirectory.open_root(mount.lower) as image:
                _pack(packer, upper, image, os.fsencode(mount.target.strip("/")))
    packer.finish()


def _pack(packer: Packer, upper: MergedDirectory, image: MergedDirectory | None, path: bytes) -> None:
    for entry in upper.entries(whiteouts=True):
        here = path + b"/" + entry.name if path else entry.name
        if entry.is_whiteout:
            if image is not None and image.find(entry.name) is not None:
                packer.add_whiteout(path, entry.name)
            continue
        packer.add(here, entry)
        with _both(upper, image, entry) as (inner, model):
            if inner is None:
                continue
            hides = model is not None and inner.is_opaque
            if hides:
                packer.add_opaque(here)
            _pack(packer, inner, None if hides else model, here)
