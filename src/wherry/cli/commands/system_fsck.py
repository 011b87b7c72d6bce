"""``wherry system fsck``: is everything on the disk still what it was?"""

from __future__ import annotations

import sys

from wherry.cli.flags import BOOL, Command, Flag
from wherry.cli.human import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Check blobs against their digests, and unpacked layers against what was unpacked",
    (
        Flag("repair", "", BOOL, "Unpack damaged layers again, fetch damaged blobs again, remove orphans"),
        Flag("verbose", "v", BOOL, "Name what is sound, too"),
    ),
    most=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Check, and return 1 when something is damaged and stays so."""
    from wherry.client.storage import Storage

    summary: dict[str, Any] = {}
    for finding in Storage(context.client).check(repair=options["repair"]):
        if "Summary" in finding:
            summary = finding["Summary"]
        elif options["verbose"] or finding["Verdict"] != "sound":
            sys.stdout.write(_line(finding))
    for orphan in summary["Orphans"]:
        sys.stdout.write(f"orphan    {orphan['Path']} ({human_size(orphan['Bytes'])})\n")
    repaired = f", {summary['Repaired']} repaired" if summary["Repaired"] else ""
    sys.stdout.write(
        f"{summary['Sound']} sound ({human_size(summary['Bytes'])}){repaired}, {summary['Damaged']} damaged, "
        f"{len(summary['Orphans'])} orphans\n"
    )
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
