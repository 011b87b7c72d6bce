"""Do the same to several things: say what was done, go on after a failure, and tell about it in the exit code."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["for_each"]


def for_each(
    refs: Iterable[str], act: Callable[[str], object], *, say: Callable[[str], str] = str, missing_ok: bool = False
) -> int:
    """Act on each.

    :param refs: names or IDs.
    :param act: what to do.
    :param say: what to print when it was done.
    :param missing_ok: that one is not there is told, but no failure.
    :returns: 0, or 1 when anything failed.
    """
    code = 0
    for ref in refs:
        try:
            act(ref)
        except Exception as error:
            from wherry.cli.report import sentence
            from wherry.errors import NotFound, WherryError

            if not isinstance(error, WherryError):
                raise
            sys.stdout.flush()
            sys.stderr.write(f"{sentence(error)}\n")
            if not (missing_ok and isinstance(error, NotFound)):
                code = 1
        else:
            sys.stdout.write(f"{say(ref)}\n")
            sys.stdout.flush()
    return code
