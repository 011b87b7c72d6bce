"""``wherry images``: which images there are."""

from __future__ import annotations

import sys

from wherry.cli.filters import FORMAT_HELP, gather
from wherry.cli.flags import BOOL, FILTER, STRING, Command, Flag
from wherry.cli.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    (
        Flag("all", "a", BOOL, "Intermediate ones, too"),
        Flag("digests", "", BOOL, "Show digests"),
        Flag("filter", "f", FILTER, "Only those for which this is true (dangling=true, label=x, before=y ...)"),
        Flag("format", "", STRING, FORMAT_HELP),
        Flag("no-trunc", "", BOOL, "Shorten nothing"),
        Flag("quiet", "q", BOOL, "Only IDs"),
        Flag("tree", "", BOOL, "Show an image's platforms below it"),
    ),
    most=1,
    aliases="wherry image ls, wherry image list, wherry images",
)

HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}
COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
DIGEST_COLUMNS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List them."""
    filters = gather(options["filter"])
    if arguments:
        filters["reference"] = [*filters.get("reference", []), arguments[0]]
    found = context.client.images.list(all=options["all"], manifests=options["tree"], filters=filters)
    if options["tree"]:
        from wherry.cli.image_tree import tree

        sys.stdout.write(tree(found))
        return 0
    from wherry.cli.image_row import image_rows

    digests = options["digests"] or ".Digest" in options["format"]
    rows: list[dict[str, Any]] = [
        row for one in found for row in image_rows(one, short=not options["no-trunc"], digests=digests)
    ]
    if options["quiet"] and not options["format"]:
        sys.stdout.write("".join(f"{row['ID']}\n" for row in rows))
        return 0
    write_rows(rows, DIGEST_COLUMNS if options["digests"] else COLUMNS, HEADERS, options["format"])
    return 0
