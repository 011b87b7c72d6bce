"""``wherry system fsck``: verify everything on the disk against its digest."""

from __future__ import annotations

from wherry.cli.console import printable, write, write_page
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Verify blobs against their digests, and unpacked layers against their tree digests",
    (
        Flag("repair", "", BOOL, "Unpack damaged layers again, fetch damaged blobs again, remove orphans"),
        Flag("verbose", "v", BOOL, "Show what is sound, too"),
    ),
    max_args=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Verify everything. :returns: 1 when something is damaged and was not repaired."""
    summary: dict[str, Any] = {}
    for finding in context.client.storage.check(repair=options["repair"]):
        if "Summary" in finding:
            summary = finding["Summary"]
        elif options["verbose"] or finding["Verdict"] != "sound":
            write_page(_line(printable(finding)))
    for orphan in summary["Orphans"]:
        write("orphan    {} ({})\n", orphan["Path"], human_size(orphan["Bytes"]))
    repaired = f", {summary['Repaired']} repaired" if summary["Repaired"] else ""
    write(
        "{} sound ({}){}, {} damaged, {} orphans\n",
        summary["Sound"], human_size(summary["Bytes"]), repaired, summary["Damaged"], len(summary["Orphans"]),
    )  # fmt: skip
    return 1 if summary["Damaged"] else 0


def _line(finding: dict[str, Any]) -> str:
    name = finding["Name"].removeprefix("sha256:")[:12]
    parts = [f"{finding['Verdict']:<9} {finding['Kind']} {name}"]
    if finding["Images"]:
        parts.append(f" of {', '.join(finding['Images'])}")
    if finding["Why"]:
        parts.append(f": {finding['Why']}")
    if finding["Hint"]:
        parts.append(f" ({finding['Hint']})")
    return "".join(parts) + "\n"
