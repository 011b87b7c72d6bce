"""``wherry registry`` verbs are run by the registry server, a program of its own, which replaces this process.

The command line knows the API of a daemon and nothing else.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.console import flush
from wherry.cli.flags.parser import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from wherry.cli.flags.parser import Options

__all__ = ["COMMON", "exec_server", "server_arguments"]

COMMON = (
    Flag("config", "", STRING, "Configuration file (TOML)"),
    Flag("log-level", "", STRING, "Logging level: debug, info, warning or error"),
    Flag("root", "", STRING, "Root directory of the registry's data"),
)


def server_arguments(verb: str, command: Command, options: Options) -> list[str]:
    """The arguments of the server's own command line, from the flags that were typed."""
    arguments = [verb]
    for flag in command.flags:
        if flag.name not in options.given:
            continue
        value = options[flag.name]
        if value is True:
            arguments.append(f"--{flag.name}")
        elif value is not False:
            arguments.append(f"--{flag.name}={value}")
    return arguments


def exec_server(verb: str, command: Command, options: Options) -> NoReturn:
    """Replace this process by the registry server (execve(2))."""
    import wherry

    source = os.path.dirname(os.path.dirname(os.path.abspath(wherry.__file__)))
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != source]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, *others])}
    flush()
    command_line = [sys.executable, "-m", "wherry.registry.server", *server_arguments(verb, command, options)]
    os.execve(sys.executable, command_line, environment)
