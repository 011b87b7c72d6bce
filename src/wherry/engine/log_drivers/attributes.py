"""What the options ``labels``, ``env`` and their expressions select, to go along with a container's log."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wherry.engine.log_drivers.contract import Subject
from wherry.oci.go_patterns import Expression

__all__ = ["extra_attributes"]


def extra_attributes(subject: Subject, rename: Callable[[str], str] = str) -> dict[str, str]:
    """The labels and variables that were asked for.

    :param rename: gives their names at the receiver; what gets none is left out.
    """
    options = subject.options
    environment = dict(entry.partition("=")[::2] for entry in subject.env if "=" in entry)
    found = {
        **_chosen(subject.labels, options.get("labels", ""), options.get("labels-regex", "")),
        **_chosen(environment, options.get("env", ""), options.get("env-regex", "")),
    }
    return {name: value for key, value in found.items() if (name := rename(key))}


def _chosen(values: Mapping[str, str], names: str, pattern: str) -> dict[str, str]:
    wanted = frozenset(names.split(","))
    fits = Expression(pattern).found_in if pattern else wanted.__contains__
    return {name: value for name, value in values.items() if name in wanted or fits(name)}
