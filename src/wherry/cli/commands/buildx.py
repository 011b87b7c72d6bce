"""``wherry buildx``: hand over to BuildKit's client for docker."""

from __future__ import annotations

from wherry.cli.flags.parser import Command
from wherry.cli.hand_over import hand_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[OPTIONS] COMMAND", "Docker Buildx: build with several builders", passes_on=True)

MISSING = "Docker Buildx is not installed"
HINT = "'wherry build' does without; Docker's package docker-buildx-plugin has it"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Become the program."""
    offline = not arguments or arguments[0].startswith("-") or arguments[0] in ("help", "version")
    return hand_over(context, "buildx", arguments, offline=offline, missing=MISSING, hint=HINT)
