"""``wherryd``: by its startup snapshot where there is one, else in the ordinary way.

Little is imported here, for the snapshot has everything; see :mod:`wherry.daemon.snapshot`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until it is asked to end.

    :param arguments: without the program's name; by default the command line's.
    :returns: the exit code: 0, or 1 after an error, which was written to standard error.
    """
    from wherry.daemon.snapshot import Start, execute  # noqa: PLC0415 - it may be all that this process ever imports

    if arguments is None:
        execute()
    from wherry.daemon.program import run  # noqa: PLC0415 - as above

    return run(sys.argv[1:] if arguments is None else arguments, Start())


if __name__ == "__main__":
    sys.exit(main())
