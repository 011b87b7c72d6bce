"""``wherry images --tree``: images with their platforms below them."""

from __future__ import annotations

from wherry.cli.output.image_row import short_id
from wherry.cli.output.table import align
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = ["platform_tree"]

HEADING = ("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "IN USE")


def platform_tree(images: Iterable[dict[str, Any]]) -> str:
    """The tree of the API's image summaries (requested with their manifests)."""
    lines: list[tuple[str, ...]] = [HEADING]
    for image in images:
        lines.extend(_image(image))
    return align(lines)


def _image(image: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    names = image.get("RepoTags") or ["<untagged>"]
    manifests = [one for one in image.get("Manifests") or () if one.get("Kind") == "image"]
    content = sum(one["Size"]["Content"] for one in manifests) if manifests else image["Size"]
    used = image.get("Containers", 0) > 0 or any(one["ImageData"].get("Containers") for one in manifests)
    yield names[0], short_id(image["Id"]), human_size(image["Size"]), human_size(content), "yes" if used else ""
    for name in names[1:]:
        yield name, "", "", "", ""
    for at, one in enumerate(manifests):
        branch = "└─" if at == len(manifests) - 1 else "├─"
        yield _platform(branch, one)


def _platform(branch: str, one: dict[str, Any]) -> tuple[str, ...]:
    platform = one["ImageData"]["Platform"]
    parts = [platform.get("os"), platform.get("architecture"), platform.get("variant")]
    name = f"{branch} {'/'.join(part for part in parts if part)}"
    size, used = one["Size"], "yes" if one["ImageData"].get("Containers") else ""
    missing = "" if one.get("Available", True) else " (not here)"
    return name + missing, short_id(one["ID"]), human_size(size["Total"]), human_size(size["Content"]), used
