"""``wherry images``: list images."""

from __future__ import annotations

from wherry.cli.console import write_page, write_raw
from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT, filter_map
from wherry.cli.flags.parser import BOOL, FILTER, Command, Flag
from wherry.cli.output.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    (
        Flag("all", "a", BOOL, "Show all images, also intermediate ones"),
        Flag("digests", "", BOOL, "Show digests"),
        Flag(
            "filter",
            "f",
            FILTER,
            "Filter output: only those for which this is true (dangling=true, label=x, before=y ...)",
        ),
        TABLE_FORMAT,
        NO_TRUNC,
        Flag("quiet", "q", BOOL, "Only show image IDs"),
        Flag("tree", "", BOOL, "List multi-platform images as a tree"),
    ),
    max_args=1,
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
    """List the images."""
    filters = filter_map(options["filter"])
    if arguments:
        filters["reference"] = [*filters.get("reference", []), arguments[0]]
    found = context.client.images.list(all=options["all"], manifests=options["tree"], filters=filters)
    if options["tree"]:
        from wherry.cli.output.image_platforms import platform_tree

        write_page(platform_tree(found))
        return 0
    from wherry.cli.output.image_row import image_rows

    digests = options["digests"] or ".Digest" in options["format"]
    rows: list[dict[str, Any]] = [
        row for one in found for row in image_rows(one, short=not options["no-trunc"], digests=digests)
    ]
    if options["quiet"] and not options["format"]:
        write_raw("".join(f"{row['ID']}\n" for row in rows))
        return 0
    write_rows(rows, DIGEST_COLUMNS if options["digests"] else COLUMNS, HEADERS, options["format"])
    return 0
