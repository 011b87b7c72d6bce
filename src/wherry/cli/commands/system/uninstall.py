"""``wherry system uninstall``: remove the command ``docker`` that is wherry."""

from __future__ import annotations

from wherry.cli.commands.system.install import DIRECTORY
from wherry.cli.console import write
from wherry.cli.daemon.docker_names import uninstall
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "--docker-names [OPTIONS]",
    "Remove what 'wherry system install' has installed",
    (
        DIRECTORY,
        Flag("docker-names", "", BOOL, "Remove 'docker', if wherry made it"),
    ),
    max_args=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove it, and say where it was."""
    if not options["docker-names"]:
        raise InvalidInput("nothing to remove was named", hint="--docker-names removes wherry's command 'docker'")
    write("{}\n", uninstall(options["directory"]))
    return 0
