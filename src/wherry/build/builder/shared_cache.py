"""The cache that one build imports, and what of it is exported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from wherry.build.cache.remote import ImportedCache
from wherry.build.model.progress import ProgressSink, VertexProgress
from wherry.build.model.request import CacheOptions
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import Snapshot
from wherry.build.remote_cache.remote_cache import RemoteCache, title_of
from wherry.build.solver.context import CANCELLED
from wherry.build.solver.resolution import Resolution
from wherry.oci.digest import Digest

__all__ = ["SharedCache"]


class SharedCache:
    """What one build takes from the cache of others, and gives to them.

    :param remote: None: nothing.
    :param token: unique to the build.
    """

    def __init__(self, remote: RemoteCache | None, options: CacheOptions, token: str) -> None:
        self._remote = remote
        self._options = options
        self._token = token
        self._imports = remote.imports() if remote else None

    @property
    def imports(self) -> ImportedCache | None:
        """What is imported, as far as it was opened."""
        return self._imports

    async def open(self, options: Mapping[str, str], session: BuildSession, show: ProgressSink) -> None:
        """Look at the caches that the request and a frontend's options name.

        :raises InvalidInput: an option makes no sense.
        """
        if self._remote is not None and self._imports is not None:
            await self._remote.open(self._imports, self._options.imports, options, session=session, progress=show)

    def inline(self, resolution: Resolution) -> Callable[[Snapshot], bytes | None] | None:
        """What makes the cache that goes into an image."""
        if self._remote is None:
            return None
        return self._remote.inline(self._options.exports, resolution.entries)

    async def export(
        self, resolution: Resolution, results: Sequence[Snapshot], session: BuildSession, show: ProgressSink
    ) -> dict[str, str]:
        """Export to all targets; what the client is told.

        :raises WherryError: one of them cannot be had.
        """
        response: dict[str, str] = {}
        if self._remote is None or self._imports is None:
            return response
        for number, target in enumerate(self._remote.elsewhere(self._options.exports)):
            name = title_of(target)
            digest = Digest.from_bytes(f"{self._token} {name} {number}".encode())
            vertex = VertexProgress(digest=digest, name=name, started=time.time_ns())
            show(vertex)
            try:
                response |= await self._remote.export(
                    target,
                    resolution.entries(),
                    results,
                    self._imports,
                    mounts=resolution.cache_mounts(),
                    session=session,
                    progress=show,
                    vertex=digest,
                )
            except BaseException as error:
                text = str(error) if isinstance(error, Exception) else CANCELLED
                show(msgspec.structs.replace(vertex, completed=time.time_ns(), error=text))
                raise
            show(msgspec.structs.replace(vertex, completed=time.time_ns()))
        return response
