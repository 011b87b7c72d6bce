"""``wherry-oci list``: show the containers of a root."""

from __future__ import annotations

from wherry.errors import InvalidInput
from wherry.ociruntime.call import Call
from wherry.ociruntime.container import containers, state_text
from wherry.ociruntime.flags import parse

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS = {"format": True, "quiet": False}
ARGUMENTS = ""


def run(call: Call, arguments: list[str]) -> int:
    """Print a table, JSON, or their names."""
    flags, rest = parse(arguments, FLAGS, short={"f": "format", "q": "quiet"})
    form = flags.text("format", "table")
    if rest or form not in ("table", "json"):
        raise InvalidInput(f"invalid format option {form!r}" if not rest else '"list" takes no arguments')
    found = [(record, record.status()) for record in containers(call.root)]
    if flags.is_on("quiet"):
        print("".join(f"{record.id}\n" for record, _ in found), end="")
        return 0
    if form == "json":
        print(f"[{','.join(state_text(record, status) for record, status in found)}]")
        return 0
    table = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    for record, status in found:
        pid = 0 if status == "stopped" else record.pid
        table.append((record.id, str(pid), status, record.bundle, record.created, "root"))
    widths = [max(12, *(len(row[column]) + 3 for row in table)) for column in range(6)]
    for row in table:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
