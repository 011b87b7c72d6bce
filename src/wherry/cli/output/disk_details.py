"""``wherry system df -v``: the disk usage of each image, container and volume."""

from __future__ import annotations

from wherry.cli.output.cache_row import cache_row
from wherry.cli.output.container_row import container_row
from wherry.cli.output.image_row import image_rows
from wherry.cli.output.table import align
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["details"]


def details(usage: dict[str, Any]) -> str:
    """Three tables of the API's disk usage."""
    parts = [
        "Images space usage:\n\n" + align(_images(usage)),
        _blobs(usage),
        "\nContainers space usage:\n\n" + align(_containers(usage)),
        "\nLocal Volumes space usage:\n\n" + align(_volumes(usage)),
        f"\nBuild cache usage: {human_size(sum(one['Size'] for one in usage.get('BuildCache') or ()))}\n\n",
        align(_build_cache(usage)),
    ]
    return "".join(parts)


def _images(usage: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"
    for one in usage.get("Images") or ():
        for row in image_rows(one, short=True, digests=False):
            names = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
            yield tuple(row[name] for name in names)


def _build_cache(usage: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"
    for one in usage.get("BuildCache") or ():
        row = cache_row(one)
        names = ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared")
        yield tuple(row[name] for name in names)


def _blobs(usage: dict[str, Any]) -> str:
    """The size of the blobs in the images' size, if the daemon reports it."""
    size = usage.get("BlobsSize")
    return "" if size is None else f"\nOf that, blobs (layers as they came, manifests): {human_size(size)}\n"


def _containers(usage: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"
    for one in usage.get("Containers") or ():
        row = container_row({**one, "SizeRootFs": 0}, short=True)
        names = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
        yield tuple(row[name] for name in names)


def _volumes(usage: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "VOLUME NAME", "LINKS", "SIZE"
    for one in usage.get("Volumes") or ():
        data = one.get("UsageData") or {}
        size = data.get("Size", -1)
        yield one["Name"], str(data.get("RefCount", 0)), "N/A" if size < 0 else human_size(size)
