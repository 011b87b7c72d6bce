"""Filters of lists and removals, as callers give them: names, and for each name its values."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from typing import Final

from wherry.docker import times
from wherry.errors import InvalidInput

__all__ = ["Filters", "check_names", "check_prune", "has_label", "may_be_pruned", "parse_filters"]

Filters = Mapping[str, list[str]]

FILTER_LIMIT: Final = 10_000  #: values of all filters of a request
_PRUNE: Final = ("label", "label!", "until")  #: filters that select unused objects for removal


def parse_filters(given: Mapping[str, object]) -> dict[str, list[str]]:
    """Parse decoded filters: ``{"name": ["a"]}`` or, as old clients send, ``{"name": {"a": true}}``.

    :raises InvalidInput: a value is neither, or there are more than anybody needs.
    """
    found = {name: _values(values) for name, values in given.items()}
    if sum(map(len, found.values())) > FILTER_LIMIT:
        raise InvalidInput(f"invalid filter: more than {FILTER_LIMIT} values")
    return found


def _values(given: object) -> list[str]:
    if given is None:
        return []
    if isinstance(given, list) and all(value is None or isinstance(value, str) for value in given):
        return [value or "" for value in given]
    if isinstance(given, dict) and all(on is None or isinstance(on, bool) for on in given.values()):
        return [value for value, on in given.items() if on]
    raise InvalidInput("invalid filter")


def check_names(filters: Filters, known: Container[str]) -> None:
    """Check that an operation knows all filters.

    :raises InvalidInput: there is one, in dockerd's words.
    """
    for name in filters:
        if name not in known:
            raise InvalidInput(f"invalid filter '{name}'")


def check_prune(filters: Filters, *others: str) -> None:
    """Check the filters of a prune, before anything is compared with them.

    :param others: names that are known besides those of all removals.
    :raises InvalidInput: they do not, in dockerd's words.
    """
    check_names(filters, {*_PRUNE, *others})
    until = filters.get("until") or []
    if len(until) > 1:
        raise InvalidInput("more than one until filter specified")
    for text in until:
        times.moment(text)


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether labels contain ``key`` or ``key=value``."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def may_be_pruned(created: int, labels: Mapping[str, str], filters: Filters) -> bool:
    """Whether an unused object passes filters that `check_prune` accepted.

    :param created: nanoseconds since the epoch.
    """
    until = [times.moment(text) for text in filters.get("until") or []]
    return (
        all(created <= moment for moment in until or [time.time_ns()])
        and all(has_label(labels, wanted) for wanted in filters.get("label") or [])
        and not any(has_label(labels, wanted) for wanted in filters.get("label!") or [])
    )
