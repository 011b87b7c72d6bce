"""``wherry events``: what happens in the daemon, as it happens."""

from __future__ import annotations

import sys

from wherry.cli.filters import gather
from wherry.cli.flags import FILTER, STRING, Command, Flag
from wherry.cli.human import stamp, timestamp
from wherry.cli.leave import Leave
from wherry.cli.signals import default_interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "line", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Show what happens, as it happens",
    (
        Flag("filter", "f", FILTER, "Only events for which this is true (container=x, event=die, type=image ...)"),
        Flag("format", "", STRING, "How to print: json, or a Go template"),
        Flag("since", "", STRING, "Begin with what happened at a time or so long ago (42m)"),
        Flag("until", "", STRING, "End at a time"),
    ),
    most=0,
    aliases="wherry system events, wherry events",
)


def line(event: dict[str, Any]) -> str:
    """``time type action id (attribute=value, ...)``."""
    moment = event.get("timeNano") or event.get("time", 0) * 1_000_000_000
    actor = event.get("Actor") or {}
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    text = f"{stamp(moment)} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    return f"{text} ({attributes})" if attributes else text


def _printer(format: str) -> Callable[[dict[str, Any]], str]:
    if not format:
        return line
    from wherry.cli.gotemplate import Template, TemplateError
    from wherry.cli.gotemplate.printing import go_json

    if format == "json":
        return go_json
    try:
        return Template(format).render
    except TemplateError as error:
        raise Leave(64, f"Error parsing format: {error}") from None


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show events until there are no more, or ctrl-c."""
    default_interrupt()
    written = _printer(options["format"])
    events = context.client.system.events(
        since=timestamp(options["since"], "since"),
        until=timestamp(options["until"], "until"),
        filters=gather(options["filter"]),
    )
    for event in events:
        sys.stdout.write(written(event) + "\n")
        sys.stdout.flush()
    return 0
