"""``wherry stats``: what containers use."""

from __future__ import annotations

import sys
import time

from wherry.cli.filters import FORMAT_HELP
from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.signals import default_interrupt
from wherry.cli.table import render
from wherry.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [CONTAINER...]",
    "Show what containers use, again and again",
    (
        Flag("all", "a", BOOL, "Those that do not run, too"),
        Flag("format", "", STRING, FORMAT_HELP),
        Flag("no-stream", "", BOOL, "Show it once"),
        Flag("no-trunc", "", BOOL, "Shorten nothing"),
    ),
    aliases="wherry container stats, wherry stats",
)

HEADERS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
CLEAR = "\x1b[H\x1b[J"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it once, or until ctrl-c."""
    default_interrupt()
    while True:
        page = _page(context, options, arguments)
        sys.stdout.write((CLEAR if sys.stdout.isatty() else "") + page)
        sys.stdout.flush()
        if options["no-stream"]:
            return 0
        time.sleep(1)


def _page(context: Context, options: Options, refs: list[str]) -> str:
    """Ask about each container; the daemon measures over a second of its own."""
    from wherry.cli.stats_row import stats_row

    rows = []
    for ref in refs or _running(context, all=options["all"]):
        sample = _sample(context, ref, missing_ok=not refs)
        if sample is not None:
            rows.append(stats_row(ref, sample, short=not options["no-trunc"]))
    return render(rows, COLUMNS, HEADERS, options["format"])


def _running(context: Context, *, all: bool) -> list[str]:
    return [one["Id"] for one in context.client.containers.list(all=all)]


def _sample(context: Context, ref: str, *, missing_ok: bool) -> dict[str, Any] | None:
    try:
        return next(iter(context.client.containers.stats(ref)), None)
    except NotFound:
        if missing_ok:
            return None  # it ended between the list and the question
        raise
