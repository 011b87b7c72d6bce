"""``wherry compose``: hand over to Docker Compose."""

from __future__ import annotations

from wherry.cli.flags.parser import Command
from wherry.cli.hand_over import hand_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[OPTIONS] COMMAND", "Docker Compose: run projects of several containers", passes_on=True)

MISSING = "Docker Compose is not installed"
HINT = "'pip install wherry[compose]' has it, or Docker's package docker-compose-plugin"
_WITHOUT_DAEMON = frozenset(("", "--help", "-h", "--version", "-v", "config", "convert", "help", "version"))


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Become the program."""
    words = {word for word in arguments if not word.startswith("-")} or {""}
    offline = bool(_WITHOUT_DAEMON & {*arguments, *words})
    return hand_over(context, "compose", arguments, offline=offline, missing=MISSING, hint=HINT)
