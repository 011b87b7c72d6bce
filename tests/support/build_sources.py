"""What the builder gives its sources, in a directory of the test's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from wherry.build.model.graph import CacheSharing, SourceOp
from wherry.build.model.progress import Progress
from wherry.build.model.session import NoSession, Selection
from wherry.build.model.snapshot import Snapshot, SnapshotLayer
from wherry.build.sources.contract import SourceRequest
from wherry.errors import NotFound
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci.digest import Digest

__all__ = ["ClientSession", "Directories", "Drafts", "Memory", "content_of", "request_for"]

VERTEX = Digest.from_bytes(b"a vertex")


class _Draft:
    def __init__(self, drafts: Drafts, number: int) -> None:
        self._drafts, self._number = drafts, number
        self.path = drafts.root / str(number)
        self.path.mkdir(parents=True)
        drafts.open.add(number)

    @property
    def overlay(self) -> OverlayMount:
        return OverlayMount("/", (), str(self.path), str(self.path) + "w")

    async def commit(self) -> Snapshot:
        self._drafts.open.remove(self._number)
        return Snapshot((SnapshotLayer(self._number, str(self.path)),))

    async def discard(self) -> None:
        self._drafts.open.discard(self._number)


class Drafts:
    """Layers as plain directories; `open` are those that are neither finished nor removed."""

    def __init__(self, root: Path) -> None:
        self.root, self.open, self.begun = root, set[int](), 0

    async def draft(self, base: Snapshot) -> _Draft:
        assert base == Snapshot()
        self.begun += 1
        return _Draft(self, self.begun)


class _Kept:
    def __init__(self, directories: Directories, key: str, path: Path, is_new: bool) -> None:
        self._directories, self._key, self.path, self.is_new = directories, key, path, is_new

    def release(self) -> None:
        self._directories.used.discard(self.path)


class Directories:
    """Kept directories; `used` are those that are in use."""

    def __init__(self, root: Path) -> None:
        self.root, self.used = root, set[Path]()
        self._known: dict[tuple[str, str], list[Path]] = {}

    async def acquire(
        self, kind: str, key: str, description: str, *, sharing: CacheSharing = CacheSharing.PRIVATE,
        waits: Callable[[], object] = lambda: None,
    ) -> _Kept:  # fmt: skip
        known = self._known.setdefault((kind, key), [])
        free = [path for path in known if path not in self.used]
        assert free or not known or sharing is CacheSharing.PRIVATE, "it would wait"
        if not free:
            path = self.root / f"{kind}-{sum(map(len, self._known.values()))}"
            path.mkdir(parents=True)
            known.append(path)
            free = [path]
        self.used.add(free[0])
        return _Kept(self, key, free[0], not any(free[0].iterdir()))

    def paths(self, kind: str) -> Sequence[tuple[str, Path]]:
        return [(key, path) for (one, key), paths in self._known.items() if one == kind for path in paths]


class Memory:
    """Remembers in memory."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def recall(self, name: str) -> str | None:
        return self.known.get(name)

    def remember(self, name: str, value: str) -> None:
        self.known[name] = value


def _replace(directory: Path, files: dict[str, bytes]) -> None:
    for path in directory.iterdir():
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)


class ClientSession(NoSession):
    """A client with directories, secrets and uploads."""

    id = "session-1"

    def __init__(self, **directories: dict[str, bytes]) -> None:
        self.directories = directories
        self.secrets: dict[str, bytes] = {}
        self.uploads: dict[str, list[bytes]] = {}
        self.asked: list[Any] = []
        self.shared_key = "a place"

    async def sync(
        self, name: str, destination: Path, selection: Selection, progress: Callable[[int], None], *, session: str = ""
    ) -> None:
        self.asked.append((name, selection, session))
        if name not in self.directories:
            raise NotFound(f"no local sources enabled: {name}")
        _replace(destination, self.directories[name])
        progress(sum(map(len, self.directories[name].values())))

    async def secret(self, identifier: str) -> bytes:
        if identifier not in self.secrets:
            raise NotFound(f"secret {identifier}: not found")
        return self.secrets[identifier]

    async def upload(self, url: str) -> AsyncIterator[bytes]:
        for piece in self.uploads[url]:
            yield piece


def request_for(
    identifier: str,
    session: Any = None,
    progress: list[Progress] | None = None,
    platform: Any = None,
    **attributes: str,
) -> SourceRequest:
    """A request; attributes have ``__`` for the point in their names."""
    op = SourceOp(identifier, {name.replace("__", "."): value for name, value in attributes.items()})
    sink: list[Progress] = progress if progress is not None else []
    return SourceRequest(op=op, platform=platform, session=session or NoSession(), vertex=VERTEX, progress=sink.append)


def content_of(snapshot: Snapshot) -> dict[str, str]:
    """The files of a snapshot of one layer: path to content, or ``-> target``."""
    (layer,) = snapshot.layers
    found = {}
    for directory, _, names in os.walk(layer.path):
        for path in (Path(directory, name) for name in names):
            shown = f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
            found[str(path.relative_to(layer.path))] = shown
    return found
