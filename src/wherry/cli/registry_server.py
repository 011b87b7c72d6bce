"""Passing a ``wherry registry`` command on to the program that knows registries.

The command line knows the API of a daemon and nothing else; a registry is a program of its own, and takes our place.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.flags import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from wherry.cli.flags import Options

__all__ = ["COMMON", "become", "words"]

COMMON = (
    Flag("config", "", STRING, "Settings, in TOML"),
    Flag("log-level", "", STRING, "debug, info, warning or error"),
    Flag("root", "", STRING, "Directory that the registry keeps everything in"),
)


def words(verb: str, command: Command, options: Options) -> list[str]:
    """A command line that says what was typed."""
    said = [verb]
    for flag in command.flags:
        if flag.name not in options.given:
            continue
        value = options[flag.name]
        if value is True:
            said.append(f"--{flag.name}")
        elif value is not False:
            said.append(f"--{flag.name}={value}")
    return said


def become(verb: str, command: Command, options: Options) -> NoReturn:
    """Go on as that program."""
    import wherry

    source = os.path.dirname(os.path.dirname(os.path.abspath(wherry.__file__)))
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != source]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, *others])}
    sys.stdout.flush()
    command_line = [sys.executable, "-m", "wherry.registry.server", *words(verb, command, options)]
    os.execve(sys.executable, command_line, environment)
