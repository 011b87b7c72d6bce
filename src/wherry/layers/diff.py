"""A container's changes: as a list, and as a layer's archive.

Both come from the writable directory of its overlay mounts: what is there was added or modified, whiteouts and opaque
directories say what was deleted. A directory that is there only because something in it is, and looks as it does
below, counts as modified by what happened in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from wherry.content.durable import disk_errors
from wherry.errors import TooLarge
from wherry.layers.overlay_paths import OverlayMount
from wherry.layers.overlay_view import MergedEntry, MergedTree
from wherry.layers.pack import Packer
from wherry.layers.tar.entry import MAX_NAME
from wherry.layers.whiteouts import check_name
from wherry.linux.trees import unrolled

__all__ = ["Change", "ChangeKind", "changes", "write_layer"]

# Bytes of paths in one list; it is in memory whole, several times over. That is a million paths as people have them,
# and ten thousand directories one in another, whose paths are longer than all their content.
_MAX_LIST: Final = 64 << 20


class ChangeKind(IntEnum):
    """The numbers that Docker's API uses."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """One path that differs from the image."""

    path: str
    kind: ChangeKind


def changes(mounts: Sequence[OverlayMount]) -> list[Change]:
    """All differences between a container and its image, sorted by path.

    :param mounts: the container's overlay mounts; they don't have to be mounted.
    :raises TooLarge: there are too many to be listed.
    """
    found: dict[bytes, ChangeKind] = {}
    touched: set[bytes] = set()
    with disk_errors("compare a container with its image"):
        for mount in mounts:
            with MergedTree.open([mount.upper]) as upper, MergedTree.open(mount.lower) as image:
                for path, kind in _bounded(unrolled(_compare(upper, image, _prefix(mount)))):
                    found[path] = kind
                    if kind is not ChangeKind.MODIFIED:
                        _touch_parents(found, touched, path)
    ordered = sorted((b"/" + path, kind) for path, kind in found.items())
    return [Change(os.fsdecode(path), kind) for path, kind in ordered]


def _prefix(mount: OverlayMount) -> bytes:
    target = os.fsencode(mount.target.strip("/"))
    return target and target + b"/"


def _bounded(found: Iterable[tuple[bytes, ChangeKind]]) -> Iterator[tuple[bytes, ChangeKind]]:
    total = 0
    for path, kind in found:
        total += len(path)
        if total > _MAX_LIST:
            raise TooLarge("the container has changed more than can be listed", hint="export has everything")
        yield path, kind


def _touch_parents(found: dict[bytes, ChangeKind], touched: set[bytes], path: bytes) -> None:
    """Something came or went: so the directories that hold it were modified.

    :param touched: those of which, and of whose parents, this is known already.
    """
    while (path := path.rpartition(b"/")[0]) and path not in touched:
        touched.add(path)
        found.setdefault(path, ChangeKind.MODIFIED)


def _compare(upper: MergedTree, image: MergedTree | None, prefix: bytes) -> Generator[Any, None, None]:
    """The changes in the present directory, as pairs of path and kind; those in others are yielded for `unrolled`.

    :param image: at the same directory of the image; None where it has none.
    """
    for entry in upper.entries(whiteouts=True):
        here = prefix + upper.path(entry.name)
        former = image.find(entry.name) if image else None
        if entry.is_whiteout:
            if former is not None:
                yield here, ChangeKind.DELETED
            continue
        if former is None:
            yield here, ChangeKind.ADDED
        elif not entry.is_directory or _differs(entry.status, former.status):
            yield here, ChangeKind.MODIFIED
        del here  # deep down, the paths of all directories above would be most of the memory
        if entry.is_directory and upper.enter(entry.name):
            model = _enter_too(image, entry)
            yield _compare(upper, model, prefix)
            if model is not None:
                yield from _hidden(upper, model, prefix)
                model.leave()
            upper.leave()


def _enter_too(image: MergedTree | None, entry: MergedEntry) -> MergedTree | None:
    return image if image is not None and image.enter(entry.name) else None


def _hidden(upper: MergedTree, image: MergedTree, prefix: bytes) -> Iterator[tuple[bytes, ChangeKind]]:
    """Files of the image that an opaque directory hides and does not replace."""
    if upper.is_opaque:
        present = {entry.name for entry in upper.entries(whiteouts=True)}
        for entry in image.entries():
            if entry.name not in present:
                yield prefix + image.path(entry.name), ChangeKind.DELETED


def _differs(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether a directory itself was changed, not just something in it: overlayfs copies all attributes up."""
    wanted = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    return any(getattr(one, name) != getattr(other, name) for name in wanted)


def write_layer(
    mounts: Sequence[OverlayMount], write: Callable[[bytes], object], room: Callable[[int], object] = lambda size: None
) -> None:
    """Write the archive of a layer that turns the image into the container as it is now.

    :param mounts: the container's overlay mounts.
    :param write: takes the archive's bytes, piece by piece.
    :param room: asked whether there is room for a large file.
    :raises InvalidInput: a file is called as an archive calls what was deleted.
    :raises TooLarge: a name is longer than an image's may be.
    """
    packer = Packer(write, MAX_NAME, room=room)
    with disk_errors("pack a container's changes"):
        for mount in mounts:
            with MergedTree.open([mount.upper]) as upper, MergedTree.open(mount.lower) as image:
                for _ in unrolled(_pack(packer, upper, image, _prefix(mount))):
                    pass
    packer.finish()


def _pack(packer: Packer, upper: MergedTree, image: MergedTree | None, prefix: bytes) -> Generator[Any, None, None]:
    for entry in upper.entries(whiteouts=True):
        if entry.is_whiteout:
            if image is not None and image.find(entry.name) is not None:
                packer.add_whiteout((prefix + upper.path(b""))[:-1], entry.name)
            continue
        check_name(prefix + upper.path(entry.name))
        packer.add(prefix + upper.path(entry.name), entry, upper.directory(entry))
        if entry.is_directory and upper.enter(entry.name):
            model = _enter_too(image, entry)
            hides = model is not None and upper.is_opaque
            if hides:
                packer.add_opaque((prefix + upper.path(b""))[:-1])
            yield _pack(packer, upper, None if hides else model, prefix)
            if model is not None:
                model.leave()
            upper.leave()
