"""``wherry network disconnect``: take a container off a network."""

from __future__ import annotations

from wherry.cli.flags import BOOL, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    "Take a container off a network",
    (Flag("force", "f", BOOL, "Even if the kernel objects"),),
    least=2,
    most=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Take it off."""
    context.client.networks.disconnect(arguments[0], arguments[1], force=options["force"])
    return 0
