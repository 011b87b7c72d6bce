"""The question before something is removed."""

from __future__ import annotations

import sys

from wherry.cli.console import flush, write_page
from wherry.cli.exit import Exit

__all__ = ["confirm"]


def confirm(warning: str, what: str) -> None:
    """Print a warning, and read an answer from standard input.

    :param what: the operation, for the message: "image prune".
    :raises wherry.cli.exit.Exit: the answer is not ``y``.
    """
    write_page(f"{warning}\nAre you sure you want to continue? [y/N] ")
    flush()
    if sys.stdin.readline().strip().lower() != "y":
        raise Exit(1, f"{what} has been cancelled")
