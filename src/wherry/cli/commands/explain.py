"""``wherry explain``: what a container shares, what isolates it, what limits it, and what it has cost so far."""

from __future__ import annotations

import sys

from wherry.cli.flags import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Explain a container: what isolates it, what it shares, what limits it",
    (Flag("format", "f", STRING, "How to print: json, or a Go template"),),
    least=1,
    most=1,
    aliases="wherry container explain, wherry explain",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Explain it."""
    found = context.client.containers.explain(arguments[0])
    if options["format"]:
        from wherry.cli.inspection import print_inspected

        return print_inspected(arguments, lambda _: found, options["format"])
    from wherry.cli.explanation import explanation

    sys.stdout.write(explanation(found))
    return 0
