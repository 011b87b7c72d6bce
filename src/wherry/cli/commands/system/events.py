"""``wherry events``: real time events from the daemon."""

from __future__ import annotations

from wherry.cli.console import flush, printable, write_raw
from wherry.cli.exit import Exit
from wherry.cli.flags.common import filter_map
from wherry.cli.flags.parser import FILTER, STRING, Command, Flag
from wherry.cli.output.times import local_rfc3339, timestamp
from wherry.cli.terminal.signals import default_interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "line", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Get real time events from the daemon",
    (
        Flag(
            "filter",
            "f",
            FILTER,
            "Filter output: only those for which this is true (container=x, event=die, type=image ...)",
        ),
        Flag("format", "", STRING, "Format output with json or a Go template"),
        Flag("since", "", STRING, "Show events created since a timestamp, or relative (42m)"),
        Flag("until", "", STRING, "Stream events until this timestamp"),
    ),
    max_args=0,
    aliases="wherry system events, wherry events",
)


def line(event: dict[str, Any]) -> str:
    """``time type action id (attribute=value, ...)``."""
    event = printable(event)
    moment = event.get("timeNano") or event.get("time", 0) * 1_000_000_000
    actor = event.get("Actor") or {}
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    text = f"{local_rfc3339(moment)} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    return f"{text} ({attributes})" if attributes else text


def _printer(format: str) -> Callable[[dict[str, Any]], str]:
    if not format:
        return line
    from wherry.cli.output.format import formatter
    from wherry.docker.gotemplate import TemplateError

    try:
        return formatter(format)
    except TemplateError as error:
        raise Exit(64, f"Error parsing format: {error}") from None


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print events until ``--until`` or ctrl-c."""
    default_interrupt()
    written = _printer(options["format"])
    since, until = timestamp(options["since"]), timestamp(options["until"])
    events = context.client.system.events(since=since, until=until, filters=filter_map(options["filter"]))
    for event in events:
        write_raw(written(event) + "\n")
        flush()
    return 0
