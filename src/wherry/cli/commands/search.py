"""``wherry search``: look for images in a registry."""

from __future__ import annotations

from wherry.cli.credentials import encoded, find, server_of
from wherry.cli.filters import gather
from wherry.cli.flags import BOOL, FILTER, INT, STRING, Command, Flag
from wherry.cli.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

_HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}
_LONGEST = 45

COMMAND = Command(
    "[OPTIONS] [REGISTRY/]TERM",
    "Look for images in a registry",
    (
        Flag("filter", "f", FILTER, "Only some (is-official=true, stars=3)"),
        Flag("format", "", STRING, "How to print: table, json, or a Go template"),
        Flag("limit", "", INT, "At most so many"),
        Flag("no-trunc", "", BOOL, "Don't cut descriptions"),
    ),
    least=1,
    most=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print what matches."""
    term = arguments[0]
    first, slash, _ = term.partition("/")
    known = find(server_of(first if slash and ("." in first or ":" in first) else ""))
    found = context.client.images.search(
        term,
        limit=options["limit"],
        filters=gather(options["filter"]),
        headers={"X-Registry-Auth": encoded(known)} if known else None,
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
