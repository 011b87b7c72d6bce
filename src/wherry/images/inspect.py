"""One image in the JSON of Docker's API: inspect and history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import UNSET

from wherry.docker.image_answers import GraphDriver, HistoryStep, ImageInspect, ImageMetadata, RootFs
from wherry.images.image import Image, seconds
from wherry.oci.image_config import History

__all__ = ["history", "inspect"]


def inspect(image: Image) -> ImageInspect:
    """The body of ImageInspect."""
    document = image.document
    return ImageInspect(
        id=str(image.id),
        repo_tags=image.repo_tags,
        repo_digests=image.repo_digests,
        parent=document.parent,
        comment=document.comment or _last_comment(image),
        created=image.created or "0001-01-01T00:00:00Z",
        docker_version=document.docker_version,
        author=document.author,
        config=image.config,
        architecture=image.architecture,
        os=image.os,
        size=image.size,
        virtual_size=image.size,
        graph_driver=GraphDriver("overlay2", _directories(image)),
        root_fs=RootFs("layers", [str(diff_id) for diff_id in document.rootfs.diff_ids]),
        metadata=ImageMetadata(_timestamp(image.added)),
        variant=image.variant or UNSET,
        os_version=document.os_version or UNSET,
    )


def history(image: Image, images: Iterable[Image] = ()) -> list[HistoryStep]:
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
            row.id, row.tags = str(ancestor.id), ancestor.repo_tags or None
        rows.append(row)
    if rows:
        rows[-1].id, rows[-1].tags = str(image.id), image.repo_tags or None
    return rows[::-1]


def _steps(image: Image) -> list[History]:
    return image.document.history or [History() for _ in image.document.rootfs.diff_ids]


def _step(step: History, size: int) -> HistoryStep:
    return HistoryStep(created=seconds(step.created or ""), created_by=step.created_by, size=size, comment=step.comment)


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
