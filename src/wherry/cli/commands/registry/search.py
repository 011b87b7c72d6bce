"""``wherry search``: search a registry for images."""

from __future__ import annotations

from wherry.cli.flags.common import NO_TRUNC, filter_map
from wherry.cli.flags.parser import FILTER, INT, STRING, Command, Flag
from wherry.cli.output.table import write_rows
from wherry.cli.registry.credentials import encode_auth, lookup, server_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

_HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}
_LONGEST = 45

COMMAND = Command(
    "[OPTIONS] [REGISTRY/]TERM",
    "Search a registry for images",
    (
        Flag("filter", "f", FILTER, "Filter output (is-official=true, stars=3)"),
        Flag("format", "", STRING, "Format output: table, json, or a Go template"),
        Flag("limit", "", INT, "Maximum number of results"),
        NO_TRUNC,
    ),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the matches."""
    term = arguments[0]
    first, slash, _ = term.partition("/")
    known = lookup(server_key(first if slash and ("." in first or ":" in first) else ""))
    found = context.client.images.search(
        term,
        limit=options["limit"],
        filters=filter_map(options["filter"]),
        headers={"X-Registry-Auth": encode_auth(known)} if known else None,
    )
    rows = [
        {
            "Name": one["name"],
            "Description": _cut(one.get("description") or "", whole=options["no-trunc"]),
            "StarCount": str(one.get("star_count", 0)),
            "IsOfficial": "[OK]" if one.get("is_official") else "",
        }
        for one in found
    ]
    write_rows(rows, list(_HEADERS), _HEADERS, options["format"])
    return 0


def _cut(text: str, *, whole: bool) -> str:
    line = " ".join(text.split())
    return line if whole or len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
