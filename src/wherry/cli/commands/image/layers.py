"""``wherry image layers``: layers, the images that share them, and the files that each adds, replaces and deletes."""

from __future__ import annotations

from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT
from wherry.cli.flags.parser import Command
from wherry.cli.output.image_row import short_id
from wherry.cli.output.table import write_rows
from wherry.cli.output.times import ellipsis
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [IMAGE]",
    "Show the layers of an image, lowest first: files added, replaced and deleted, images that share it; or all layers",
    (
        TABLE_FORMAT,
        NO_TRUNC,
    ),
    max_args=1,
)

HEADERS = {
    "Layer": "LAYER",
    "Size": "SIZE",
    "Added": "ADDED",
    "Replaced": "REPLACED",
    "Deleted": "DELETED",
    "SharedWith": "SHARED WITH",
    "Images": "IMAGES",
    "Saved": "SAVED BY SHARING",
    "CreatedBy": "CREATED BY",
}
ONE = ("Layer", "Size", "Added", "Replaced", "Deleted", "SharedWith", "CreatedBy")
ALL = ("Layer", "Size", "Saved", "Images")
WIDTH = 45


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the layers."""
    storage, short = context.client.storage, not options["no-trunc"]
    if arguments:
        rows = [_step(layer, short=short) for layer in storage.layers(arguments[0])]
        write_rows(rows, ONE, HEADERS, options["format"])
        return 0
    write_rows(_layers(storage.sharing(), short=short), ALL, HEADERS, options["format"])
    return 0


def _step(layer: dict[str, Any], *, short: bool) -> dict[str, Any]:
    made_by = layer["CreatedBy"].replace("\t", " ")
    return {
        "Layer": short_id(layer["ChainID"], short=short),
        "Size": human_size(layer["Size"]),
        "Added": _count(layer["Added"]),
        "Replaced": _count(layer["Replaced"]),
        "Deleted": str(layer["Deleted"]["Files"]),
        "SharedWith": ", ".join(layer["SharedWith"]),
        "CreatedBy": ellipsis(made_by, WIDTH) if short else made_by,
    }


def _count(counted: dict[str, int]) -> str:
    return f"{counted['Files']} ({human_size(counted['Bytes'])})" if counted["Files"] else "0"


def _layers(sharing: dict[str, Any], *, short: bool) -> Iterator[dict[str, Any]]:
    names = {image["Id"]: (image["RepoTags"] or [short_id(image["Id"])])[0] for image in sharing["Images"]}
    for layer in sharing["Layers"]:
        users = [names[identifier] for identifier in layer["Images"]]
        yield {
            "Layer": short_id(layer["ChainID"], short=short),
            "Size": human_size(layer["Size"]),
            "Saved": human_size(layer["Size"] * max(len(users) - 1, 0)),
            "Images": ", ".join(users),
        }
