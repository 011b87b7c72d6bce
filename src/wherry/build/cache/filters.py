"""Filters of records: containerd's syntax, which BuildKit's API has, and Docker's, which ``POST /build/prune`` has.

A filter is a list of conditions, parted by commas, all of which have to hold: ``type==regular``, ``id~=^ab``,
``parents!=x``, or a field alone: it has a value, or is true. Of several filters one has to fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from wherry.build.model.service import CacheRecord, PruneOptions
from wherry.docker.units import parse_duration
from wherry.errors import InvalidInput
from wherry.oci.go_patterns import Expression

__all__ = ["docker_options", "fits_any"]

_CONDITION: Final = re.compile(r'\s*([A-Za-z][\w.-]*)\s*(?:(==|!=|~=)\s*("(?:[^"\\]|\\.)*"|[^,]*))?\s*(?:,|$)')
_LONGEST: Final = 16 << 10  # characters of a filter
_MOST: Final = 100  # conditions of a request
_FLAGS: Final = ("inuse", "mutable", "immutable", "shared", "private")

Condition = Callable[[CacheRecord], bool]


def fits_any(filters: Sequence[str]) -> Condition:
    """What says whether a record fits one of some filters; without any, each does.

    :raises InvalidInput: one of them is wrong.
    """
    parsed = [_parse(one) for one in filters if one]
    if sum(map(len, parsed)) > _MOST:
        raise InvalidInput("too many filters")
    if not parsed:
        return lambda record: True
    return lambda record: any(all(condition(record) for condition in conditions) for conditions in parsed)


def _parse(text: str) -> list[Condition]:
    conditions: list[Condition] = []
    at = 0
    if len(text) > _LONGEST:
        raise InvalidInput("a filter is too long")
    while at < len(text):
        found = _CONDITION.match(text, at)
        if found is None or found.end() == at:
            raise InvalidInput(f'invalid filter: "{text}"')
        conditions.append(_condition(*found.groups()))
        at = found.end()
    return conditions


def _condition(field: str, operator: str | None, value: str | None) -> Condition:
    wanted = (value or "").strip()
    if wanted.startswith('"'):
        wanted = re.sub(r"\\(.)", r"\1", wanted[1:-1])
    if operator == "==":
        return lambda record: _value(record, field) == wanted
    if operator == "!=":
        return lambda record: _value(record, field) != wanted
    if operator == "~=":
        expression = Expression(wanted)
        return lambda record: (text := _value(record, field)) is not None and expression.found_in(text)
    return lambda record: _value(record, field) is not None


def _value(record: CacheRecord, field: str) -> str | None:
    """A field's value; a flag that is set has an empty one."""
    if field in _FLAGS:
        flags = {
            "inuse": record.in_use,
            "mutable": record.mutable,
            "immutable": not record.mutable,
            "shared": record.shared,
            "private": not record.shared,
        }
        return "" if flags[field] else None
    texts = {
        "id": record.id,
        "parents": ";".join(record.parents),
        "description": record.description,
        "type": record.kind,
    }
    return texts.get(field) or None


def docker_options(
    filters: Mapping[str, Sequence[str]],
    *,
    all_records: bool = False,
    reserved_space: int = 0,
    max_used_space: int = 0,
    min_free_space: int = 0,
) -> PruneOptions:
    """The options of ``POST /build/prune``.

    :param filters: as Docker has them: ``until``, ``unused-for``, ``id``, ``parents``, ``type``, ``description``, and
        the flags ``inuse``, ``mutable``, ``immutable``, ``shared``, ``private``.
    :raises InvalidInput: one of them is wrong.
    """
    conditions: list[str] = []
    duration = 0
    for name, values in filters.items():
        if len(values) != 1:
            raise InvalidInput(f'filters expect only one value: "{name}"')
        [value] = values
        if name in ("until", "unused-for"):
            duration = _duration(name, value)
        elif name in _FLAGS:
            conditions.append(name)
        elif name in ("id", "parents", "description"):
            conditions.append(f"{name}~={_quoted(value)}")
        elif name == "type":
            conditions.append(f"{name}=={_quoted(value)}")
        else:
            raise InvalidInput(f"invalid filter '{name}'")
    return PruneOptions(
        all=all_records,
        filters=(",".join(conditions),) if conditions else (),
        keep_duration=duration,
        reserved_space=reserved_space,
        max_used_space=max_used_space,
        min_free_space=min_free_space,
    )


def _duration(name: str, value: str) -> int:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise InvalidInput(f'filter "{name}" expects a duration (e.g., "24h")', cause=str(error)) from None


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
