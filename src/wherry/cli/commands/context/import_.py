"""``wherry context import``: make a context of an archive."""

from __future__ import annotations

import sys

from wherry.cli.console import write, write_error
from wherry.cli.daemon.context_archive import MOST_BYTES, unpack
from wherry.cli.daemon.contexts import Contexts, check_new_name
from wherry.cli.flags.parser import Command
from wherry.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("CONTEXT FILE|-", "Import a context from a tar or zip file", min_args=2, max_args=2)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Read the archive, and write the context under its new name."""
    name, source = arguments
    store = Contexts()
    check_new_name(name)
    if store.exists(name):
        raise Conflict(f'context "{name}" already exists')
    if source == "-":
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
    else:
        with open(source, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    metadata, tls = unpack(data)
    store.write({**metadata, "Name": name}, tls)
    write("{}\n", name)
    write_error('Successfully imported context "{}"\n', name)
    return 0
