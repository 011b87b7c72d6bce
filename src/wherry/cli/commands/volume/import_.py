"""``wherry volume import``: make a volume of an archive."""

from __future__ import annotations

import sys

from wherry.cli.console import write
from wherry.cli.exit import Exit
from wherry.cli.flags.kinds import LABEL
from wherry.cli.flags.parser import Command, Flag
from wherry.cli.output.archives import read_chunks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] FILE|- NEW",
    "Make a new volume of a tar archive, compressed or not",
    (Flag("label", "", LABEL, "Set metadata for the new volume"),),
    min_args=2,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make it and print its name."""
    path, new = arguments
    labels = dict(options["label"])
    if path == "-":
        made = context.client.volumes.import_archive(read_chunks(sys.stdin.buffer), new, labels)
    else:
        with _opened(path) as file:
            made = context.client.volumes.import_archive(read_chunks(file), new, labels)
    write("{}\n", made["Name"])
    return 0


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise Exit(1, f"cannot read {path}: {(error.strerror or '').lower()}") from error
