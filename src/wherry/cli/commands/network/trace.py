"""``wherry network trace``: trace a connection, and show what stops it."""

from __future__ import annotations

from wherry.cli.console import printable, write_page, write_raw
from wherry.cli.flags.parser import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] FROM TO [PORT[/PROTO]]",
    "Trace a connection between containers, host or outside: does it work, and which rule, route or name stops it",
    (Flag("format", "", STRING, "Format output: json"),),
    min_args=2,
    max_args=3,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the steps. :returns: 0 when the target is reached, else 1."""
    found = context.client.networks.trace(*arguments)
    if options["format"] == "json":
        from wherry.docker.gotemplate.printing import go_json

        write_raw(go_json(found) + "\n")
    else:
        write_page("".join(f"{line}\n" for line in _lines(printable(found))))
    return 0 if found["Reaches"] else 1


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{'ok  ' if step['Passes'] else 'STOP'}  {step['What']}: {step['Why']}" for step in found["Steps"]]
    verdict = "reaches" if found["Reaches"] else "does not reach"
    lines.append(f"{found['From']} {verdict} {found['To']}: {found['Because']}")
    if found["Hint"]:
        lines.append(f"Hint: {found['Hint']}")
    return lines
