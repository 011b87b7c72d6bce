"""``wherry explain``: a container's isolation, shared resources, limits and usage, in plain sentences."""

from __future__ import annotations

from wherry.cli.console import printable, write_page
from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Explain a container: what isolates it, what it shares, what limits it",
    (OBJECT_FORMAT,),
    min_args=1,
    max_args=1,
    aliases="wherry container explain, wherry explain",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Explain the container."""
    found = context.client.containers.explain(arguments[0])
    if options["format"]:
        from wherry.cli.output.inspect import print_inspected

        return print_inspected(arguments, lambda _: found, options["format"])
    from wherry.cli.output.explain import explain_text

    write_page(explain_text(printable(found)))
    return 0
