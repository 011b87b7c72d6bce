"""Answers of wherry's own about what is stored: bytes by owner, layers and who shares them, differences, checks.

All sizes are in bytes.
"""

from __future__ import annotations

from msgspec import Struct, field

__all__ = [
    "Accounts",
    "CheckSummary",
    "CheckTotals",
    "Finding",
    "ImageDifference",
    "LayerChanges",
    "LayerStep",
    "LayerView",
    "Orphan",
    "OwnerBytes",
    "SharedLayer",
    "Sharing",
    "SharingImage",
]


class OwnerBytes(Struct, rename="pascal", frozen=True):
    """What one owner takes up."""

    owner: str
    bytes: int


class Orphan(Struct, rename="pascal", frozen=True):
    """A file or directory that has no owner."""

    path: str
    bytes: int


class Accounts(Struct, rename="pascal", kw_only=True):
    """The bytes under a data root; the owner who has most comes first."""

    root: str
    owners: list[OwnerBytes]
    orphans: list[Orphan]
    bytes: int


class LayerView(Struct, rename="pascal", kw_only=True):
    """One layer.

    :ivar parent: the chain ID of the one below it; empty for the lowest.
    """

    chain_id: str = field(name="ChainID")
    diff_id: str = field(name="DiffID")
    parent: str
    size: int


class SharedLayer(LayerView):
    """One layer, and the IDs of the images that have it."""

    images: list[str]


class SharingImage(Struct, rename="pascal", kw_only=True):
    """One image, and the chain IDs of its layers, lowest first."""

    id: str
    repo_tags: list[str]
    size: int
    built_in: bool
    layers: list[str]


class Sharing(Struct, rename="pascal", kw_only=True):
    """All images with their layers, all layers with their images."""

    images: list[SharingImage]
    layers: list[SharedLayer]


class LayerChanges(Struct, rename="pascal"):
    """How many files, and bytes in them, a layer adds (or replaces, or deletes)."""

    files: int = 0
    bytes: int = 0


class LayerStep(LayerView):
    """One layer of an image, with what it does.

    :ivar shared_with: the names of other images that have it.
    """

    created_by: str
    shared_with: list[str]
    added: LayerChanges
    replaced: LayerChanges
    deleted: LayerChanges


class ImageDifference(Struct, rename="pascal", kw_only=True):
    """One path that two images have differently.

    :ivar kind: as in ContainerChanges.
    :ivar before: the file's size in the first image; 0 where it has none, or it is no regular file.
    :ivar after: the same of the second.
    """

    path: str
    kind: int
    before: int
    after: int


class Finding(Struct, rename="pascal", kw_only=True):
    """What the check says about one thing that is stored."""

    kind: str
    name: str
    verdict: str
    bytes: int
    images: list[str]
    why: str
    hint: str


class CheckTotals(Struct, rename="pascal", kw_only=True):
    """How many things were found in which state."""

    sound: int = 0
    repaired: int = 0
    damaged: int = 0
    bytes: int
    orphans: list[Orphan]


class CheckSummary(Struct, rename="pascal"):
    """The last line of a check."""

    summary: CheckTotals
