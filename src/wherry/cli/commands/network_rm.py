"""``wherry network rm``: remove networks."""

from __future__ import annotations

import sys

from wherry.cli.flags import BOOL, Command, Flag
from wherry.cli.report import sentence
from wherry.errors import NotFound, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "NETWORK [NETWORK...]",
    "Remove networks that nobody is on",
    (Flag("force", "f", BOOL, "No complaint when there is no such network"),),
    least=1,
    aliases="wherry network rm, wherry network remove",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove them. :returns: 1 when one failed."""
    code = 0
    for ref in arguments:
        try:
            context.client.networks.remove(ref)
        except WherryError as error:
            if options["force"] and isinstance(error, NotFound):
                continue
            sys.stdout.flush()
            sys.stderr.write(f"{sentence(error)}\n")
            code = 1
            continue
        sys.stdout.write(f"{ref}\n")
    return code
