"""``wherry image tree``: which image stands on which."""

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
    "Show which image stands on which, and how much disk sharing layers saves",
    (Flag("format", "", STRING, "How to print: json"),),
    most=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it."""
    from wherry.cli.image_family import family, savings
    from wherry.client.storage import Storage

    sharing = Storage(context.client).sharing()
    if options["format"] == "json":
        from wherry.client.codec import encode

        sys.stdout.write(encode(sharing).decode() + "\n")
        return 0
    sys.stdout.write(f"{family(sharing)}\n{savings(sharing)}")
    return 0
