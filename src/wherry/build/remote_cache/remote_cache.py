"""Cache from elsewhere and to elsewhere, for builds: all of it in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from wherry.build.cache.directories import KeptDirectories
from wherry.build.cache.mounts import CacheMount
from wherry.build.cache.remote import CacheEntry
from wherry.build.exporters.contract import Layers, Registries
from wherry.build.exporters.options import boolean
from wherry.build.model.progress import ProgressSink, WarningProgress, legal_text
from wherry.build.model.request import CacheTarget
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import Snapshot
from wherry.build.remote_cache.exports import CacheExporter, inline_cache, selected
from wherry.build.remote_cache.imports import CacheImporter, Imports, Snapshots, wanted_imports
from wherry.build.remote_cache.mounts import MOUNTS, MountContents
from wherry.content.threads import Worker
from wherry.errors import InvalidInput, WherryError
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest

__all__ = ["RemoteCache", "title_of"]

_TITLES: Final = {"registry": "exporting cache to registry", "local": "exporting cache to client directory"}
_INLINE: Final = "inline"


def title_of(target: CacheTarget) -> str:
    """What an export is called where it is shown; BuildKit's words."""
    return _TITLES.get(target.type, f"exporting cache to {target.type}")


class RemoteCache:
    """Imports and exports the cache of builds. To be made, used and closed on one event loop.

    :param snapshots: makes snapshots of what comes.
    :param layers: gives snapshots' blobs.
    :param directories: the cache mounts.
    :param own: copies a directory into layers.
    """

    def __init__(
        self,
        store: ImageStore,
        snapshots: Snapshots,
        layers: Layers,
        registries: Registries,
        *,
        directories: KeptDirectories,
        own: Callable[[Snapshot], Awaitable[Snapshot]],
    ) -> None:
        self._worker = Worker(name="build cache")
        self._importer = CacheImporter(store, snapshots, registries, self._worker)
        self.mounts: Final = MountContents(directories, own, layers, snapshots, self._worker)
        self._exporter = CacheExporter(store, layers, registries, self._worker, self.mounts)

    def imports(self) -> Imports:
        """What one build imports: nothing as yet."""
        return self._importer.imports()

    async def open(
        self,
        imports: Imports,
        given: Sequence[CacheTarget],
        options: Mapping[str, str],
        *,
        session: BuildSession,
        progress: ProgressSink,
    ) -> None:
        """Look at the caches of a request, and of a frontend's options; one that cannot be had is left out.

        :raises InvalidInput: an option makes no sense.
        """
        await self._importer.open(imports, wanted_imports(given, options), session, progress)

    @staticmethod
    def inline(
        targets: Sequence[CacheTarget], entries: Callable[[], Sequence[CacheEntry]]
    ) -> Callable[[Snapshot], bytes | None] | None:
        """What makes the cache that goes into an image; None where none is wanted.

        :raises InvalidInput: an option makes no sense.
        """
        inline = [target for target in targets if target.type == _INLINE]
        if any(boolean(target.attributes, MOUNTS, False) for target in inline):
            raise InvalidInput("cache mounts cannot be in an image", hint="export to type=registry or type=local")
        if inline:
            return partial(inline_cache, list(entries()))
        return None

    @staticmethod
    def elsewhere(targets: Sequence[CacheTarget]) -> list[CacheTarget]:
        """The targets that are no image."""
        return [target for target in targets if target.type != _INLINE]

    async def export(
        self,
        target: CacheTarget,
        entries: Sequence[CacheEntry],
        results: Sequence[Snapshot],
        imports: Imports,
        *,
        mounts: Sequence[CacheMount],
        session: BuildSession,
        progress: ProgressSink,
        vertex: Digest,
    ) -> dict[str, str]:
        """Export to one target, and say what the client is told.

        :param results: of the build.
        :param imports: of the build.
        :param mounts: the cache mounts of the build, which go along where the target says so.
        :raises WherryError: it cannot be had, and ``ignore-error`` is not set: with that it is a warning.
        """
        ignores = boolean(target.attributes, "ignore-error", False)
        try:
            some = selected(target, entries, results)
            taken = mounts if boolean(target.attributes, MOUNTS, False) else ()
            return await self._exporter.export(
                target, some, imports, mounts=taken, session=session, progress=progress, vertex=vertex
            )
        except WherryError as error:
            if not ignores:
                raise
            progress(WarningProgress(vertex=vertex, level=1, short=legal_text(f"failed to export cache: {error}")))
            return {}

    def close(self) -> None:
        """End the threads."""
        self._worker.close()
