"""``wherry image tree``: each image below its base image, and the disk space that sharing saves."""

from __future__ import annotations

from wherry.cli.output.image_row import short_id
from wherry.cli.output.table import align
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

__all__ = ["image_tree", "savings_line"]

HEADING = ("IMAGE", "ID", "LAYERS", "ADDS", "TOTAL")


def image_tree(sharing: Json) -> str:
    """The tree of the images: below each one those that begin with all its layers."""
    images = sorted(
        (image for image in sharing["Images"] if not image["BuiltIn"]),
        key=lambda image: (len(image["Layers"]), _name(image)),
    )
    sizes = {layer["ChainID"]: layer["Size"] for layer in sharing["Layers"]}
    children: dict[str, list[Json]] = {}
    for image in images:
        children.setdefault(_parent(image, images), []).append(image)
    tree = _Tree(children, sizes)
    for image in children.get("", []):
        tree.draw(image, 0, "", "")
    return align([HEADING, *tree.lines])


def _parent(image: Json, images: list[Json]) -> str:
    """The ID of the image with the most layers that `image` begins with; empty when no image has any."""
    own = image["Layers"]
    best: Json | None = None
    for other in images:
        theirs = other["Layers"]
        if other["Id"] == image["Id"] or not theirs or own[: len(theirs)] != theirs:
            continue
        if len(theirs) == len(own) and other["Id"] > image["Id"]:
            continue  # the same layers, another configuration: the first by its ID counts as the parent
        if best is None or len(theirs) > len(best["Layers"]):
            best = other
    return str(best["Id"]) if best else ""


class _Tree:
    """The state of drawing.

    :param children: the images by the ID of their base image.
    :param sizes: the bytes of each layer.
    """

    def __init__(self, children: dict[str, list[Json]], sizes: dict[str, int]) -> None:
        self.lines: list[tuple[str, ...]] = []
        self._children = children
        self._sizes = sizes

    def draw(self, image: Json, inherited: int, branch: str, indent: str) -> None:
        """Draw one image and the images below it; the first ``inherited`` layers are those of the image above."""
        added = image["Layers"][inherited:]
        adds = human_size(sum(self._sizes[chain] for chain in added))
        name = branch + ", ".join(image["RepoTags"] or ["<none>"])
        self.lines.append((name, short_id(image["Id"]), str(len(added)), adds, human_size(image["Size"])))
        below = self._children.get(image["Id"], [])
        for child in below:
            own, rest = ("└─ ", "   ") if child is below[-1] else ("├─ ", "│  ")
            self.draw(child, len(image["Layers"]), indent + own, indent + rest)


def savings_line(sharing: Json) -> str:
    """A line with the disk space that sharing saves."""
    users = {layer["ChainID"]: len(layer["Images"]) for layer in sharing["Layers"]}
    stored = sum(layer["Size"] for layer in sharing["Layers"] if layer["Images"])
    shared = [layer for layer in sharing["Layers"] if users[layer["ChainID"]] > 1]
    saved = sum(layer["Size"] * (users[layer["ChainID"]] - 1) for layer in shared)
    return (
        f"{len(sharing['Images'])} images of {human_size(stored + saved)} take {human_size(stored)}: "
        f"{len(shared)} of {len(users)} layers are shared, which saves {human_size(saved)}\n"
    )


def _name(image: Json) -> str:
    return str((image["RepoTags"] or [image["Id"]])[0])
