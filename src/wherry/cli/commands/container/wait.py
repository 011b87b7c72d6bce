"""``wherry wait``: block until containers stop."""

from __future__ import annotations

from wherry.cli.flags.parser import Command
from wherry.cli.for_each import for_each
from wherry.cli.terminal.session import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Block until one or more containers stop, then print their exit codes",
    min_args=1,
    aliases="wherry container wait, wherry wait",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Wait for each container and print its exit code. :returns: 1 when waiting failed."""
    containers = context.client.containers
    codes: dict[str, int] = {}

    def wait(ref: str) -> None:
        codes[ref] = exit_status(containers.wait_begin(ref))

    return for_each(arguments, wait, result=lambda ref: str(codes[ref]))
