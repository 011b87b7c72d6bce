"""One request for each of several objects: print the successes, report the failures and go on, set the exit code."""

from __future__ import annotations

from wherry.cli.console import flush, write, write_error_page

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["for_each"]


def for_each(
    refs: Iterable[str],
    act: Callable[[str], object],
    *,
    result: Callable[[str], str] | None = str,
    missing_ok: bool = False,
) -> int:
    """Call ``act`` for each.

    :param refs: names or IDs.
    :param act: what to do.
    :param result: makes the line to print after a success, by default the name; None prints nothing.
    :param missing_ok: a missing object is reported, but is not a failure.
    :returns: 0, or 1 when anything failed.
    """
    code = 0
    for ref in refs:
        try:
            act(ref)
        except Exception as error:
            from wherry.cli.errors import error_message
            from wherry.errors import NotFound, WherryError

            if not isinstance(error, WherryError):
                raise
            flush()
            write_error_page(f"{error_message(error)}\n")
            if not (missing_ok and isinstance(error, NotFound)):
                code = 1
        else:
            if result is not None:
                write("{}\n", result(ref))
            flush()
    return code
