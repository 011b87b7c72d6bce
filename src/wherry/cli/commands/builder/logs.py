"""``wherry builder logs``: all that a build has said, afterwards or while it runs."""

from __future__ import annotations

from wherry.cli.build.display import log_display_of
from wherry.cli.console import flush, write_error_page
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.legible import lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "LAST", "run"]

LAST = "^0"  #: the last build

COMMAND = Command(
    "[OPTIONS] [BUILD]",
    "Show the whole log of a build: the last one, or by its ID or image",
    (
        Flag("follow", "f", BOOL, "Follow a build that runs"),
        Flag("progress", "", STRING, "How it is shown: plain or rawjson", "plain"),
    ),
    max_args=1,
    aliases="wherry build logs, wherry builder logs",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show the log, on standard output; what the build failed with, on standard error."""
    try:
        display = log_display_of(options["progress"])
    except ValueError as error:
        raise Exit(1, str(error)) from error
    with display:
        for message in context.client.builds.logs(arguments[0] if arguments else LAST, follow=options["follow"]):
            if message.get("error"):
                raise Exit(1, f"the log ends here: {message['error']}")
            display.take(message)
            if options["follow"]:
                flush()
    failure = str(display.steps.record.get("Error", ""))
    if failure and options["progress"] != "rawjson":
        flush()
        write_error_page(f"ERROR: failed to build: {lines(failure)}\n")
    return 0
