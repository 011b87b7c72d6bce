"""The command ``wherry``: runs what was typed, and ends the process with its exit code.

Nothing else is imported before the verb is known: an import here is paid for by every command.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


__all__ = ["main", "run"]


def run(words: Sequence[str]) -> int:
    """Run one command line.

    :param words: the arguments, without the program's name.
    :returns: the exit code.
    """
    from wherry.cli.dispatch import dispatch

    try:
        return dispatch(list(words))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _abandon_output()
        return 141  # as if SIGPIPE had ended us: nobody reads on


def _abandon_output() -> None:
    """Let the interpreter's last flush go nowhere, instead of complaining about the broken pipe."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> NoReturn:
    """Run this process's command line and end the process.

    It ends by ``os._exit`` after a flush: tearing the interpreter down costs two milliseconds and does nothing for us.
    """
    import os

    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 141
    os._exit(code)


if __name__ == "__main__":
    main()
