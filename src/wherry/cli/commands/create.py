"""``wherry create``: make a container without starting it."""

from __future__ import annotations

import sys

from wherry.cli.container_flags import CONTAINER_FLAGS
from wherry.cli.creation import build_body
from wherry.cli.creation import create as create_container
from wherry.cli.flags import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Make a container of an image without starting it",
    CONTAINER_FLAGS,
    least=1,
    passes_on=True,
    aliases="wherry container create, wherry create",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make a container and print its ID."""
    sys.stdout.write(create_container(context, options, build_body(options, arguments)) + "\n")
    return 0
