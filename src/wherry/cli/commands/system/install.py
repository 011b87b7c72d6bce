"""``wherry system install``: a command ``docker`` that is wherry."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.daemon.docker_names import DEFAULT_FOLDER, install
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "DIRECTORY", "run"]

DIRECTORY = Flag("directory", "", STRING, "The folder of the command", DEFAULT_FOLDER)

COMMAND = Command(
    "--docker-names [OPTIONS]",
    "Install a command 'docker' that is wherry, where docker's client is not installed",
    (
        DIRECTORY,
        Flag("docker-names", "", BOOL, "Install 'docker', which stock 'docker -H ssh://HOST' calls on this machine"),
    ),
    max_args=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Install it, and say where."""
    if not options["docker-names"]:
        raise InvalidInput("nothing to install was named", hint="--docker-names installs a command 'docker'")
    write("{}\n", install(options["directory"]))
    return 0
