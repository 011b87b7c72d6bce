"""``wherry system df``: disk usage of images, containers and volumes."""

from __future__ import annotations

from wherry.cli.console import write_page
from wherry.cli.flags.common import TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.table import write_rows
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Show disk usage",
    (
        TABLE_FORMAT,
        Flag("verbose", "v", BOOL, "Show detailed information: each image, container and volume"),
    ),
    max_args=0,
)

HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the disk usage."""
    usage = context.client.system.disk_usage()
    if options["verbose"] and not options["format"]:
        from wherry.cli.output.disk_details import details

        write_page(details(usage))
        return 0
    rows = [_images(usage), _containers(usage), _volumes(usage), _build_cache(usage)]
    write_rows(rows, tuple(HEADERS), HEADERS, options["format"])
    return 0


def _row(kind: str, total: int, active: int, size: int, reclaimable: int, *, percent: bool = True) -> dict[str, Any]:
    text = human_size(reclaimable, 4)
    if percent and size > 0:
        text += f" ({reclaimable * 100 // size}%)"
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human_size(size, 4),
        "Reclaimable": text,
    }


def _images(usage: dict[str, Any]) -> dict[str, Any]:
    images = usage.get("Images") or []
    whole = usage.get("LayersSize") or 0
    used = sum(one["Size"] - max(one.get("SharedSize", 0), 0) for one in images if one.get("Containers", 0) > 0)
    active = sum(one.get("Containers", 0) > 0 for one in images)
    return _row("Images", len(images), active, whole, max(whole - used, 0))


def _containers(usage: dict[str, Any]) -> dict[str, Any]:
    containers = usage.get("Containers") or []
    running = [one for one in containers if one["State"] in ("running", "paused", "restarting")]
    size = sum(one.get("SizeRw", 0) for one in containers)
    free = size - sum(one.get("SizeRw", 0) for one in running)
    return _row("Containers", len(containers), len(running), size, free)


def _volumes(usage: dict[str, Any]) -> dict[str, Any]:
    data = [one.get("UsageData") or {} for one in usage.get("Volumes") or ()]
    size = sum(max(one.get("Size", 0), 0) for one in data)
    used = [one for one in data if one.get("RefCount", 0) > 0]
    return _row("Local Volumes", len(data), len(used), size, size - sum(max(one["Size"], 0) for one in used))


def _build_cache(usage: dict[str, Any]) -> dict[str, Any]:
    records = usage.get("BuildCache") or []
    size = sum(one["Size"] for one in records if not one.get("Shared"))
    used = [one for one in records if one.get("InUse")]
    free = size - sum(one["Size"] for one in used if not one.get("Shared"))
    return _row("Build Cache", len(records), len(used), size, free, percent=False)
