"""``wherry create``: create a container without starting it."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.create.create import build_body
from wherry.cli.create.create import create as create_container
from wherry.cli.flags.container import CONTAINER_FLAGS
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container from an image, without starting it",
    CONTAINER_FLAGS,
    min_args=1,
    interspersed=False,
    aliases="wherry container create, wherry create",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create a container and print its ID."""
    write("{}\n", create_container(context, options, build_body(options, arguments)))
    return 0
