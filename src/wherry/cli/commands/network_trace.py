"""``wherry network trace``: does one reach the other, and if not, what stops it."""

from __future__ import annotations

import sys

from wherry.cli.flags import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] FROM TO [PORT[/PROTO]]",
    "Say whether one reaches the other (containers, host, outside), and which rule, route or name stops it",
    (Flag("format", "", STRING, "json: print what the daemon answers"),),
    least=2,
    most=3,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Trace. :returns: 0 if it reaches, 1 if it does not."""
    found = context.client.networks.trace(*arguments)
    if options["format"] == "json":
        from wherry.cli.gotemplate.printing import go_json

        sys.stdout.write(go_json(found) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(found)))
    return 0 if found["Reaches"] else 1


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{'ok  ' if step['Passes'] else 'STOP'}  {step['What']}: {step['Why']}" for step in found["Steps"]]
    verdict = "reaches" if found["Reaches"] else "does not reach"
    lines.append(f"{found['From']} {verdict} {found['To']}: {found['Because']}")
    if found["Hint"]:
        lines.append(f"Hint: {found['Hint']}")
    return lines
