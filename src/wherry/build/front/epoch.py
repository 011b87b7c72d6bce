"""SOURCE_DATE_EPOCH: the date of everything that is new; a number of seconds, or the name of what has a date."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from wherry.build.front import drafts
from wherry.build.front.bases import Bases
from wherry.build.front.gateway import Gateway
from wherry.build.front.options import FrontOptions
from wherry.build.front.scope import Scope
from wherry.build.model.graph import Edge, SourceOp, topological
from wherry.errors import InvalidInput, WherryError
from wherry.layers.limits import Limits
from wherry.layers.source import Source
from wherry.layers.tar.entry import Kind
from wherry.layers.tar.reader import TarReader

__all__ = ["epoch_of", "with_epoch"]

_NAME: Final = "SOURCE_DATE_EPOCH"
_CONTEXT: Final = "context"
_SECOND: Final = 1_000_000_000
_SHOWN: Final = 200
_ARCHIVE_LIMIT: Final = 16 << 20
"""Bytes of an archive that is looked into; of larger ones no date is known."""
_LIMITS: Final = Limits(max_bytes=1 << 30, max_entries=1_000_000)
_DATED: Final = ("git://", "http://", "https://")
"""Sources with a date: of the commit, or ``Last-Modified``. A directory of the client's has none."""


async def epoch_of(scope: Scope, bases: Bases, gateway: Gateway) -> int | None:
    """The date that was asked for, in seconds; None: none was, or what was named has none.

    ``context`` is the build's context, other names are those of named contexts.

    :raises InvalidInput: it is no date.
    """
    text = scope.options.build_args.get(_NAME, scope.arguments.get(_NAME, ""))
    if not text:
        return None
    if re.fullmatch(r"[+-]?[0-9]{1,12}", text):
        return int(text)
    if text == _CONTEXT:
        return await _date_of(scope.context, gateway)
    try:
        named = bases.find(text, scope.target)
    except InvalidInput:
        named = None
    if named is None:
        raise InvalidInput(f"invalid {_NAME}: {text[:_SHOWN]}")
    return await _date_of((await bases.context(named, scope.target, tuple)).source, gateway)


async def _date_of(source: drafts.Source, gateway: Gateway) -> int | None:
    edge = await gateway.in_thread(_dated, source)
    if edge is None:
        return None
    moment = await gateway.modified(edge) or await _newest_entry(edge, gateway)
    return moment // _SECOND or None


async def _newest_entry(edge: Edge, gateway: Gateway) -> int:
    """Of an archive whose server says no date: when the newest file in it was changed, in nanoseconds; 0: unknown."""
    op = edge.vertex.op
    assert isinstance(op, SourceOp)
    if not (name := op.attributes.get("http.filename", "")):
        return 0
    data = await gateway.read_file(edge, name, limit=_ARCHIVE_LIMIT + 1)
    return await gateway.in_thread(_newest_of, data) if len(data) <= _ARCHIVE_LIMIT else 0


def _newest_of(data: bytes) -> int:
    try:
        with Source(io.BytesIO(data), _LIMITS, hashed=False) as stream:
            times = (entry.mtime for entry in TarReader(stream, _LIMITS) if entry.kind is Kind.FILE)
            return max(times, default=0)
    except WherryError:  # it is no archive
        return 0


def _dated(source: drafts.Source) -> Edge | None:
    """The one source that everything comes from, if it has a date."""
    if isinstance(source, drafts.Draft) and callable(source.op):
        return None
    edge = drafts.Workshop().edge(source)
    vertices = topological([edge]) if edge is not None else []
    sources = [(vertex, vertex.op) for vertex in vertices if isinstance(vertex.op, SourceOp)]
    if len(sources) != 1 or not sources[0][1].identifier.startswith(_DATED):
        return None
    return sources[0][0].output()


def with_epoch(
    options: FrontOptions, arguments: Mapping[str, str], epoch: int | None
) -> tuple[FrontOptions, dict[str, str]]:
    """Options and arguments before the first FROM that have the date where they had its name; none, if it has none."""
    return replace(options, build_args=_changed(options.build_args, epoch)), _changed(arguments, epoch)


def _changed(values: Mapping[str, str], epoch: int | None) -> dict[str, str]:
    changed = dict(values)
    if _NAME in changed:
        changed[_NAME] = str(epoch)
        if epoch is None:
            del changed[_NAME]
    return changed
