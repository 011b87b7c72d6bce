"""Answers of the Engine API about images. The order of the fields is the order of the members in JSON."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

__all__ = [
    "GraphDriver",
    "HistoryStep",
    "ImageDeleted",
    "ImageInspect",
    "ImageMetadata",
    "ImageSummary",
    "ImagesPruneReport",
    "ImagesUsage",
    "Listing",
    "RootFs",
    "Steps",
]


class ImageSummary(Struct, rename="pascal", kw_only=True):
    """An element of ImageList."""

    id: str
    parent_id: str = ""
    repo_tags: list[str]
    repo_digests: list[str]
    created: int  #: seconds since the epoch
    size: int
    virtual_size: int
    shared_size: int  #: -1: not asked for
    labels: dict[str, str] | None
    containers: int  #: that use it; -1: not asked for
    blobs_size: int | UnsetType = UNSET  #: wherry's own, in SystemDataUsage: how much of the size is blobs


class GraphDriver(Struct, rename="pascal"):
    """Where the layers of an image are."""

    name: str
    data: dict[str, str]


class RootFs(Struct, rename="pascal"):
    """The diff IDs of an image's layers."""

    type: str
    layers: list[str]


class ImageMetadata(Struct, rename="pascal"):
    """What the engine knows of an image, and its configuration does not say."""

    last_tag_time: str


class ImageInspect(Struct, rename="pascal", kw_only=True):
    """The body of ImageInspect. ``Config``, ``Descriptor`` and ``Manifests`` are the image's own documents."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str
    comment: str
    created: str
    docker_version: str
    author: str
    config: dict[str, Any]
    architecture: str
    os: str
    size: int
    virtual_size: int
    graph_driver: GraphDriver
    root_fs: RootFs = field(name="RootFS")
    metadata: ImageMetadata
    variant: str | UnsetType = UNSET
    os_version: str | UnsetType = UNSET
    descriptor: dict[str, Any] | UnsetType = UNSET
    manifests: list[dict[str, Any]] | UnsetType = UNSET


class HistoryStep(Struct, rename="pascal", kw_only=True):
    """An element of ImageHistory."""

    id: str = "<missing>"
    created: int
    created_by: str
    tags: list[str] | None = None
    size: int
    comment: str


Listing = list[ImageSummary]
"""The body of ImageList."""

Steps = list[HistoryStep]
"""The body of ImageHistory."""


class ImageDeleted(Struct, rename="pascal", kw_only=True, frozen=True):
    """An element of the body of ImageDelete: a name that went, or the ID of an image or of a layer."""

    untagged: str | UnsetType = UNSET
    deleted: str | UnsetType = UNSET


class ImagesPruneReport(Struct, rename="pascal"):
    """The body of ImagePrune."""

    images_deleted: list[ImageDeleted] | None
    space_reclaimed: int


class ImagesUsage(Struct, rename="pascal"):
    """What images take up; a part of SystemDataUsage."""

    layers_size: int
    blobs_size: int
    images: list[ImageSummary]
