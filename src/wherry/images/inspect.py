"""One image in the JSON of Docker's API: inspect and history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from wherry.images.image import Image, seconds
from wherry.oci.image_config import History

__all__ = ["history", "inspect"]

Json = dict[str, Any]


def inspect(image: Image) -> Json:
    """The body of ImageInspect."""
    document = image.document
    shown: Json = {
        "Id": str(image.id),
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": document.parent,
        "Comment": document.comment or _last_comment(image),
        "Created": image.created or "0001-01-01T00:00:00Z",
        "DockerVersion": document.docker_version,
        "Author": document.author,
        "Config": image.config,
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "overlay2", "Data": _directories(image)},
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in document.rootfs.diff_ids]},
        "Metadata": {"LastTagTime": _timestamp(image.added)},
    }
    if image.variant:
        shown["Variant"] = image.variant
    if document.os_version:
        shown["OsVersion"] = document.os_version
    return shown


def history(image: Image, images: Iterable[Image] = ()) -> list[Json]:
    """The body of ImageHistory: how the image was made, the last step first.

    :param images: all that are here; a step after which one of them was finished has its ID and its names.
    """
    sizes = [layer.size for layer in image.layers]
    steps = _steps(image)
    ancestors = {(len(_steps(one)), one.layers): one for one in images if one.id != image.id}
    rows, used = [], 0
    for number, step in enumerate(steps, 1):
        has_layer = not step.empty_layer and used < len(sizes)
        row = _step(step, sizes[used] if has_layer else 0)
        used += has_layer
        ancestor = ancestors.get((number, image.layers[:used]))
        if ancestor is not None and number < len(steps) and _steps(ancestor) == steps[:number]:
            row |= {"Id": str(ancestor.id), "Tags": ancestor.repo_tags or None}
        rows.append(row)
    if rows:
        rows[-1] |= {"Id": str(image.id), "Tags": image.repo_tags or None}
    return rows[::-1]


def _steps(image: Image) -> list[History]:
    return image.document.history or [History() for _ in image.layers]


def _step(step: History, size: int) -> Json:
    return {
        "Id": "<missing>",
        "Created": seconds(step.created or ""),
        "CreatedBy": step.created_by,
        "Tags": None,
        "Size": size,
        "Comment": step.comment,
    }


def _last_comment(image: Image) -> str:
    return image.document.history[-1].comment if image.document.history else ""


def _directories(image: Image) -> dict[str, str]:
    """Where the layers are, in the terms of Docker's overlay2 driver."""
    paths = [str(image.layers_root / str(layer.number)) for layer in reversed(image.layers)]
    shown = {"UpperDir": paths[0]} if paths else {}
    if paths[1:]:
        shown["LowerDir"] = ":".join(paths[1:])
    return shown


def _timestamp(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 1_000_000_000:09d}Z"
