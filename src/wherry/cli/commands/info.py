"""``wherry info``: the daemon and the machine."""

from __future__ import annotations

import sys

from wherry.cli.flags import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Show what the daemon knows about itself and the machine",
    (Flag("format", "f", STRING, "How to print: json, or a Go template"),),
    most=0,
    aliases="wherry system info, wherry info",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it."""
    info = context.client.system.info()
    if options["format"] == "json":
        from wherry.cli.gotemplate.printing import go_json

        sys.stdout.write(go_json(info) + "\n")
    elif options["format"]:
        from wherry.cli.gotemplate import Template

        sys.stdout.write(Template(options["format"]).render(info) + "\n")
    else:
        from wherry.cli.info_text import info_text

        sys.stdout.write(info_text(info))
    sys.stdout.flush()
    for warning in info.get("Warnings") or ():
        sys.stderr.write(f"{warning}\n")
    return 0
