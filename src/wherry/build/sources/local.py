"""Directories of a client's: ``local://NAME``.

What a client sends is kept, so that the next build's client sends only what has changed. A directory that a build
uses is its own until it is closed: another build with the same directory meanwhile gets another one.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from wherry.build.model.progress import TransferProgress
from wherry.build.model.session import Selection, UsedDirectory
from wherry.build.model.snapshot import PASSING, Snapshot, SnapshotLayer
from wherry.build.sources.contract import Directories, Fetch, KeptDirectory, SourceKey, SourceRequest
from wherry.content.threads import in_thread
from wherry.errors import InvalidInput, OutOfSpace
from wherry.linux import trees
from wherry.oci.digest import Digest

__all__ = ["LocalSource"]

# The number of a layer that is a client's directory, which is kept, and none of `LayerStore`.
KEPT: Final = -1
_KIND: Final = "source.local"
_MAX_PATTERNS: Final = 100_000
_SHOWN: Final = 0.1  # seconds between two states of the transfer


class LocalSource:
    """Opens directories of clients.

    :param directories: where they are kept.
    """

    def __init__(self, directories: Directories) -> None:
        self._directories = directories

    def open(self, request: SourceRequest) -> Fetch:
        """Begin.

        :raises InvalidInput: an attribute is no list of patterns.
        """
        name = request.op.identifier.partition("://")[2]
        if not name:
            raise InvalidInput("a directory of the client's needs a name")
        attributes = request.op.attributes
        selection = Selection(
            include=_patterns(attributes, "local.includepattern"),
            exclude=_patterns(attributes, "local.excludepatterns"),
            follow=_patterns(attributes, "local.followpaths"),
        )
        return _LocalFetch(self._directories, request, name, selection)


class _LocalFetch:
    def __init__(self, directories: Directories, request: SourceRequest, name: str, selection: Selection) -> None:
        self._directories = directories
        self._request = request
        self._name = name
        self._selection = selection
        self._used: KeptDirectory | UsedDirectory | None = None
        self._layers: tuple[SnapshotLayer, ...] = ()
        self._transfer = _Transfer(request, name)

    async def key(self) -> SourceKey:
        """Nothing is known of the files but where they are: what is taken of them counts, by its content."""
        if self._used is None:
            await self._synchronise()
        return SourceKey(
            key=f"local {self._request.session.id} {self._name} {self._digest()}",
            kind=_KIND,
            description=f"local source for {self._name}",
            keep=False,
        )

    async def _synchronise(self) -> None:
        session, attributes = self._request.session, self._request.op.attributes
        hint = attributes.get("local.sharedkeyhint", "")
        other = attributes.get("local.session", "")
        self._transfer.begin()
        try:
            if other in ("", session.id):
                used = await session.directory(self._name, self._selection, self._transfer.moved)
                if used is not None:
                    self._used = used
                    self._layers = tuple(SnapshotLayer(PASSING, str(place)) for place in used.places)
                    return
            place = json.dumps([session.shared_key or f"session {session.id}", hint, self._name])
            kept = self._used = await self._directories.acquire(_KIND, place, f"local source for {self._name}")
            self._layers = (SnapshotLayer(KEPT, str(kept.path)),)
            try:
                await session.sync(self._name, kept.path, self._selection, self._transfer.moved, session=other)
            except OutOfSpace:
                await in_thread(_empty, kept.path)  # what came is no use, and nothing else has room
                raise
        finally:
            self._transfer.end()

    def _digest(self) -> str:
        selection = self._selection
        text = json.dumps([selection.include, selection.exclude, selection.follow])
        return Digest.from_bytes(text.encode()).hex

    async def snapshot(self) -> Snapshot:
        """The directory itself."""
        assert self._used is not None, "the key comes first"
        return Snapshot(self._layers)

    async def close(self) -> None:
        """From now on another build may have the directory."""
        if self._used is not None:
            self._used.release()


def _empty(directory: Path) -> None:
    """Remove what is in a directory, as far as that can be done."""
    for name in os.listdir(directory):
        with suppress(OSError):
            trees.remove(directory / name)


class _Transfer:
    """The bytes that come, as progress."""

    def __init__(self, request: SourceRequest, name: str) -> None:
        self._request = request
        self._name = f"transferring {name}"
        self._current = 0
        self._started = self._shown = 0

    def begin(self) -> None:
        self._started = time.time_ns()
        self._show()

    def moved(self, count: int) -> None:
        self._current += count
        if time.time_ns() - self._shown > _SHOWN * 1e9:
            self._show()

    def end(self) -> None:
        self._show(completed=time.time_ns())

    def _show(self, **more: Any) -> None:
        self._shown = time.time_ns()
        self._request.progress(
            TransferProgress(
                id=self._name,
                vertex=self._request.vertex,
                name=self._name,
                current=self._current,
                at=self._shown,
                started=self._started,
                **more,
            )
        )


def _patterns(attributes: dict[str, str], name: str) -> tuple[str, ...]:
    """A JSON list of texts."""
    if not (text := attributes.get(name)):
        return ()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput(f"{name} is no list of patterns", cause=str(exc)) from exc
    if not isinstance(found, list) or not all(isinstance(one, str) and "\0" not in one for one in found):
        raise InvalidInput(f"{name} is no list of patterns")
    if len(found) > _MAX_PATTERNS:
        raise InvalidInput(f"{name} has {len(found)} patterns, where {_MAX_PATTERNS} are allowed")
    return tuple(found)
