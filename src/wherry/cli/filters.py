"""``--filter key=value``, any number of times."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FORMAT_HELP", "gather"]

FORMAT_HELP = "How to print: table, json, 'table TEMPLATE' or a Go template"


def gather(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Bring filters into the API's form: a map of lists."""
    result: dict[str, list[str]] = {}
    for key, value in pairs:
        result.setdefault(key, []).append(value)
    return result
