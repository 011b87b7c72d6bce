"""``wherry network disconnect``: disconnect a container from a network."""

from __future__ import annotations

from wherry.cli.flags.parser import BOOL, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    "Disconnect a container from a network",
    (Flag("force", "f", BOOL, "Force the disconnection, even if the kernel objects"),),
    min_args=2,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Disconnect the container."""
    context.client.networks.disconnect(arguments[0], arguments[1], force=options["force"])
    return 0
