"""Each image, container and volume, and what it takes up."""

from __future__ import annotations

from wherry.cli.container_row import container_row
from wherry.cli.human import human_size
from wherry.cli.image_row import image_rows
from wherry.cli.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["details"]


def details(usage: dict[str, Any]) -> str:
    """Write three tables of the API's disk usage."""
    parts = [
        "Images space usage:\n\n" + align(_images(usage)),
        "\nContainers space usage:\n\n" + align(_containers(usage)),
        "\nLocal Volumes space usage:\n\n" + align(_volumes(usage)),
        f"\nBuild cache usage: {human_size(sum(one['Size'] for one in usage.get('BuildCache') or ()))}\n\n",
        "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n",
    ]
    return "".join(parts)


def _images(usage: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"
    for one in usage.get("Images") or ():
        for row in image_rows(one, short=True, digests=False):
            names = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
            yield tuple(row[name] for name in names)


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
