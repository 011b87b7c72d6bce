"""Compare images: shared layers, and differences file by file."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from wherry.content.durable import disk_errors
from wherry.docker.storage_answers import ImageDifference, LayerChanges, LayerStep, SharedLayer, Sharing, SharingImage
from wherry.images.image import Image
from wherry.layers.diff import ChangeKind, changes
from wherry.layers.overlay_paths import OverlayMount
from wherry.layers.overlay_view import MergedEntry, MergedTree
from wherry.layers.store import EMPTY_LAYER, Layer, LayerStore
from wherry.linux.trees import unrolled

__all__ = ["differences", "layer_steps", "sharing"]

_PIECE: Final = 1 << 18


def sharing(images: Iterable[Image], layers: LayerStore) -> Sharing:
    """All images with their layers, and all layers with the images that have them."""
    shown = [image for image in images if not image.removed]
    users: dict[Layer, list[str]] = {layer: [] for layer in layers}
    for image in shown:
        for layer in image.layers:
            users.setdefault(layer, []).append(str(image.id))
    layers_by_age = sorted(users.items(), key=lambda one: one[0].number)
    return Sharing(
        images=[_image(image) for image in shown],
        layers=[SharedLayer(**_layer(layer), images=owners) for layer, owners in layers_by_age],
    )


def layer_steps(image: Image, images: Iterable[Image], layers: LayerStore) -> list[LayerStep]:
    """An image's layers, lowest first: sharing, history, and counts of changes."""
    steps = [step.created_by for step in image.document.history or [] if not step.empty_layer]
    steps += [""] * (len(image.layers) - len(steps))
    others = [other for other in images if not other.removed and other.id != image.id]
    found = []
    for number, layer in enumerate(image.layers):
        sharers = [_name(other) for other in others if layer in other.layers]
        below = [str(layers.path(one)) for one in reversed(image.layers[:number])]
        counted = _counted(str(layers.path(layer)), below or [str(layers.root / EMPTY_LAYER)])
        found.append(LayerStep(
            **_layer(layer), created_by=steps[number], shared_with=sharers, added=counted[ChangeKind.ADDED],
            replaced=counted[ChangeKind.MODIFIED], deleted=counted[ChangeKind.DELETED],
        ))  # fmt: skip
    return found


def _counted(upper: str, below: Sequence[str]) -> dict[ChangeKind, LayerChanges]:
    """How many files, and bytes in them, a layer adds, replaces, and deletes."""
    counted = {kind: LayerChanges() for kind in ChangeKind}
    seen: set[int] = set()  # a file with several names takes its place once
    for change in changes([OverlayMount("/", tuple(below), upper, "")]):
        if change.kind is ChangeKind.DELETED:
            counted[ChangeKind.DELETED].files += 1
            continue
        try:
            status = os.lstat(upper + change.path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a directory that is named only because something in it was deleted
        if not stat.S_ISDIR(status.st_mode):
            entry = counted[change.kind]
            entry.files += 1
            if stat.S_ISREG(status.st_mode) and status.st_ino not in seen:
                entry.bytes += status.st_size
                seen.add(status.st_ino)
    return counted


def differences(first: Image, second: Image) -> list[ImageDifference]:
    """The changes from one image's files to another's, sorted by path."""
    one, other = (image.overlay(Path("/nowhere"))[0].lower for image in (first, second))
    with (
        disk_errors("compare two images"),
        MergedTree.open(one) as before,
        MergedTree.open(other) as after,
    ):
        found = [*unrolled(_compare(before, after))]
    return sorted(found, key=lambda difference: difference.path)


def _compare(before: MergedTree | None, after: MergedTree | None) -> Generator[Any, None, None]:
    """The differences in the present directory; None where an image has no such. Others are yielded for `unrolled`."""
    if before is not None and after is not None and before.identity == after.identity:
        return  # the same directories of the same layers
    old = {entry.name: entry for entry in before.entries()} if before else {}
    new = {entry.name: entry for entry in after.entries()} if after else {}
    for name in sorted(old.keys() | new.keys()):
        former, latter = old.get(name), new.get(name)
        kind = _kind(before, former, after, latter)
        if kind is not None:
            tree = before or after
            assert tree is not None
            path = "/" + os.fsdecode(tree.path(name))
            yield ImageDifference(path=path, kind=kind, before=_size(former), after=_size(latter))
        inner = [
            tree if tree is not None and entry is not None and entry.is_directory and tree.enter(name) else None
            for tree, entry in ((before, former), (after, latter))
        ]
        if any(inner):
            yield _compare(inner[0], inner[1])
        for opened in inner:
            if opened is not None:
                opened.leave()


def _kind(
    before: MergedTree | None, former: MergedEntry | None, after: MergedTree | None, latter: MergedEntry | None
) -> ChangeKind | None:
    if former is None or before is None:
        return ChangeKind.ADDED
    if latter is None or after is None:
        return ChangeKind.DELETED
    return None if _is_same(before, former, after, latter) else ChangeKind.MODIFIED


def _is_same(before: MergedTree, former: MergedEntry, after: MergedTree, latter: MergedEntry) -> bool:
    one, other = former.status, latter.status
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return True
    names = ["st_mode", "st_uid", "st_gid", "st_rdev"]
    if not stat.S_ISDIR(one.st_mode):
        names += ["st_size", "st_mtime_ns"]
    if any(getattr(one, name) != getattr(other, name) for name in names):
        return False
    directories = [before.directory(former), after.directory(latter)]
    if stat.S_ISLNK(one.st_mode):
        targets = [os.readlink(former.name, dir_fd=directory) for directory in directories]
        return targets[0] == targets[1]
    return not stat.S_ISREG(one.st_mode) or _same_content(former.name, directories)


def _same_content(name: bytes, directories: Sequence[int]) -> bool:
    files = [os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory) for directory in directories]
    try:
        while True:
            pieces = [os.read(fd, _PIECE) for fd in files]
            if pieces[0] != pieces[1]:
                return False
            if not pieces[0]:
                return True
    finally:
        for fd in files:
            os.close(fd)


def _size(entry: MergedEntry | None) -> int:
    return entry.status.st_size if entry is not None and stat.S_ISREG(entry.status.st_mode) else 0


def _image(image: Image) -> SharingImage:
    return SharingImage(
        id=str(image.id),
        repo_tags=image.repo_tags,
        size=image.size,
        built_in=image.built_in,
        layers=[str(layer.chain_id) for layer in image.layers],
    )


def _layer(layer: Layer) -> dict[str, Any]:
    """The members of a `LayerView`."""
    return {
        "chain_id": str(layer.chain_id),
        "diff_id": str(layer.diff_id),
        "parent": str(layer.parent) if layer.parent else "",
        "size": layer.size,
    }


def _name(image: Image) -> str:
    return image.repo_tags[0] if image.repo_tags else image.id.short
