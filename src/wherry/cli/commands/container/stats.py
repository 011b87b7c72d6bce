"""``wherry stats``: resource usage statistics of containers."""

from __future__ import annotations

import sys
import time

from wherry.cli.console import can_draw, draw, flush, write_raw
from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.table import render
from wherry.cli.terminal.signals import default_interrupt
from wherry.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of resource usage statistics (CPU, memory, network, disk)",
    (
        Flag("all", "a", BOOL, "Show all containers, also those that do not run"),
        TABLE_FORMAT,
        Flag("no-stream", "", BOOL, "Disable streaming: show the first result only"),
        NO_TRUNC,
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
    """Print the statistics once, or until ctrl-c."""
    default_interrupt()
    while True:
        page = _page(context, options, arguments)
        if can_draw(sys.stdout) and not options["no-stream"]:
            draw(CLEAR, sys.stdout)
        write_raw(page)
        flush()
        if options["no-stream"]:
            return 0
        time.sleep(1)


def _page(context: Context, options: Options, refs: list[str]) -> str:
    """Request a sample of each container; the daemon measures for one second each."""
    from wherry.cli.output.stats_row import stats_row

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
            return None  # it exited between the two requests
        raise
