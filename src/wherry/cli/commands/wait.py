"""``wherry wait``: wait for containers to end."""

from __future__ import annotations

from wherry.cli.attached import exit_status
from wherry.cli.each import for_each
from wherry.cli.flags import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Wait until containers end, then print their exit codes",
    least=1,
    aliases="wherry container wait, wherry wait",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Wait for each, print its exit code. :returns: 1 when waiting failed."""
    containers = context.client.containers
    codes: dict[str, int] = {}

    def wait(ref: str) -> None:
        codes[ref] = exit_status(containers.wait_begin(ref))

    return for_each(arguments, wait, say=lambda ref: str(codes[ref]))
