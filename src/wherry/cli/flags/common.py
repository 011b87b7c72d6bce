"""Flags that several verbs have in common: ``--format``, ``--filter``, ``--no-trunc``, ``--force``."""

from __future__ import annotations

from wherry.cli.flags.parser import BOOL, FILTER, STRING, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NO_TRUNC", "OBJECT_FORMAT", "PRUNE_FILTER", "PRUNE_FORCE", "TABLE_FORMAT", "filter_map"]

TABLE_FORMAT = Flag("format", "", STRING, "Format output: table, json, 'table TEMPLATE' or a Go template")
OBJECT_FORMAT = Flag("format", "f", STRING, "Format output with json or a Go template")
NO_TRUNC = Flag("no-trunc", "", BOOL, "Don't truncate output")
PRUNE_FILTER = Flag("filter", "", FILTER, "Filter: only those for which this is true (until=24h, label=x)")
PRUNE_FORCE = Flag("force", "f", BOOL, "Do not prompt for confirmation")


def filter_map(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The filters in the API's form: a map from each key to its values."""
    result: dict[str, list[str]] = {}
    for key, value in pairs:
        result.setdefault(key, []).append(value)
    return result
