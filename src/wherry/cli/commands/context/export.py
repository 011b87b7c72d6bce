"""``wherry context export``: write a context to an archive."""

from __future__ import annotations

import os
import sys

from wherry.cli.console import write_error
from wherry.cli.daemon.context_archive import pack
from wherry.cli.daemon.contexts import Contexts
from wherry.cli.flags.parser import Command
from wherry.cli.terminal.streams import write_all
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTEXT [FILE|-]",
    "Export a context to a tar archive FILE or a tar stream on STDOUT",
    min_args=1,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Write it, with its certificates: for its owner's eyes only. A file that is there stays."""
    name = arguments[0]
    target = arguments[1] if len(arguments) > 1 else f"{name}.dockercontext"
    store = Contexts()
    data = pack(store.metadata(name), store.tls(name))
    if target == "-":
        if sys.stdout.isatty():
            raise InvalidInput("cowardly refusing to export to a terminal, specify a file path")
        write_all(1, data)
        return 0
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    write_error('Written file "{}"\n', target)
    return 0
