"""Garbage collection while the registry serves, from as many instances as there are.

What is removed is what nothing refers to and nobody has touched for the grace period: first links of blobs from
repositories, then bytes that no repository links. There are no locks. That what is collected is not needed a moment
later rests on the grace period, and for the last moment on the order of writes:

    who links a blob:       writes the link, then looks whether the blob is condemned
    who removes its bytes:  condemns it, then looks whether anybody links it

Whichever comes second sees the other: the first then says "try again", the second lets the blob live. A condemnation
says until when it holds; one that a dead process left behind is not believed any more, and removed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wherry.errors import InvalidInput, NotFound
from wherry.oci.digest import Digest
from wherry.oci.manifest import Index, Manifest, parse_manifest_or_index
from wherry.registry.server import records
from wherry.registry.server.catalog import references
from wherry.registry.server.errors import Refusal
from wherry.registry.storage.contract import key_of_blob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from wherry.registry.server.catalog import Catalog
    from wherry.registry.storage.contract import Entry, Storage

__all__ = ["GarbageCollector", "GcReport"]

_log = logging.getLogger(__name__)
_CONDEMNED_SECONDS: Final = 600.0


@dataclass(slots=True)
class GcReport:
    """Counts of what a garbage collection removed, or would remove."""

    manifests: int = 0
    links: int = 0
    blobs: int = 0
    bytes: int = 0
    uploads: int = 0

    def __str__(self) -> str:
        return (
            f"{self.blobs} blobs with {self.bytes} bytes, {self.links} links, {self.manifests} manifests, "
            f"{self.uploads} unfinished uploads"
        )


class GarbageCollector:
    """The garbage collector of a registry's storage.

    :param untagged: also manifests that no tag, no index and no subject keeps.
    :param upload_ttl: seconds after which an upload that nobody appends to is removed.
    """

    def __init__(self, catalog: Catalog, *, untagged: bool, upload_ttl: float) -> None:
        self._catalog = catalog
        self._storage: Storage = catalog.storage
        self._untagged = untagged
        self._upload_ttl = upload_ttl

    async def run(self, *, dry: bool = False) -> GcReport:
        """Collect once.

        :param dry: only count.
        """
        done = GcReport()
        await self.expire_uploads(done, dry=dry)
        async for name in self._names():
            await self._collect_repository(name, done, dry=dry)
        await self._collect_blobs(done, dry=dry)
        if not dry:
            await self._pardon()
        return done

    async def expire_uploads(self, done: GcReport, *, dry: bool = False) -> None:
        """Remove uploads that were never finished."""
        limit = time.time() - self._upload_ttl
        async for upload, modified in self._storage.uploads():
            if modified < limit:
                done.uploads += 1
                if not dry:
                    await self._storage.abort(upload)

    async def _names(self) -> AsyncIterator[str]:
        """All repositories: those in the catalogue, and those that have blobs and no manifest yet, or no more."""
        seen: set[str] = set()
        async for entry in self._storage.entries("repositories/"):
            name = entry.key.removeprefix("repositories/").partition("/_")[0]
            if name not in seen:
                seen.add(name)
                yield name

    # -- a repository -------------------------------------------------------------------------------------------------

    async def _collect_repository(self, name: str, done: GcReport, *, dry: bool) -> None:
        """Remove links of blobs that no manifest refers to.

        The links are listed before the manifests are: a manifest that comes between the two is seen.
        """
        links = [entry async for entry in self._storage.entries(records.blob_links(name))]
        kept = await self._manifests(name)
        if self._untagged:
            await self._collect_untagged(name, kept, done, dry=dry)
        wanted = {blob for parsed in kept.values() for blob in references(parsed)[0]}
        for entry in links:
            digest = records.digest_of(entry)
            if digest is None or digest in wanted or self._is_young(entry):
                continue
            done.links += 1
            if not dry and not await self._became_young(entry.key):
                await self._unlink(name, digest, entry.key, kept)

    async def _unlink(self, name: str, digest: Digest, key: str, known: dict[Digest, Manifest | Index]) -> None:
        """Remove a link; then see whether a manifest that needs it came just now, and if so put it back.

        Who pushes a manifest writes it and looks at the links then: again whoever is second sees the other.
        """
        size = await self._storage.read(key)
        await self._storage.delete(key)
        now = await self._manifests(name, known)
        known.update(now)
        if any(digest in references(parsed)[0] for parsed in now.values()):
            await self._storage.write(records.blob_link(name, digest), size)

    async def _manifests(
        self, name: str, known: dict[Digest, Manifest | Index] | None = None
    ) -> dict[Digest, Manifest | Index]:
        """A repository's manifests except the `known`; unreadable ones keep nothing and are not served."""
        found = {}
        for entry in [entry async for entry in self._storage.entries(records.manifests(name))]:
            digest = records.digest_of(entry)
            if digest is None or (known and digest in known):
                continue
            try:
                found[digest] = parse_manifest_or_index((await self._catalog.manifest(name, digest)).data)
            except (Refusal, InvalidInput):
                _log.warning("manifest %s of %s can't be read", digest, name)
        return found

    async def _collect_untagged(
        self, name: str, kept: dict[Digest, Manifest | Index], done: GcReport, *, dry: bool
    ) -> None:
        """Remove manifests that nothing leads to; `kept` loses them."""
        young = {
            digest
            async for entry in self._storage.entries(records.manifests(name))
            if self._is_young(entry) and (digest := records.digest_of(entry))
        }
        reached = _reached(kept, young | await self._tagged(name))
        for digest in [digest for digest in kept if digest not in reached]:
            done.manifests += 1
            del kept[digest]
            if not dry:
                await self._catalog.delete_manifest(name, digest)

    async def _tagged(self, name: str) -> set[Digest]:
        found = set()
        for tag in await self._catalog.tags(name):
            try:
                found.add(await self._catalog.resolve(name, tag))
            except Refusal:
                _log.warning("tag %s of %s is damaged", tag, name)
        return found

    # -- bytes --------------------------------------------------------------------------------------------------------

    async def _collect_blobs(self, done: GcReport, *, dry: bool) -> None:
        """Remove bytes that no repository has."""
        old = [entry async for entry in self._storage.entries("blobs/") if not self._is_young(entry)]
        linked = await self._linked()
        unlinked = [entry for entry in old if (digest := records.digest_of(entry)) and digest not in linked]
        done.blobs += len(unlinked)
        done.bytes += sum(entry.size for entry in unlinked)
        if unlinked and not dry:
            await self._remove(unlinked)

    async def _remove(self, unlinked: list[Entry]) -> None:
        """Condemn blobs, check again for links, and remove the unlinked."""
        until = time.time() + _CONDEMNED_SECONDS
        digests = [digest for entry in unlinked if (digest := records.digest_of(entry))]
        for digest in digests:
            await self._storage.write(records.condemned_key(digest), b"%d" % until)
        linked = await self._linked()
        for digest in digests:
            key = key_of_blob(digest)
            in_time = time.time() < until - _CONDEMNED_SECONDS / 2
            if digest not in linked and in_time and not await self._became_young(key):
                await self._storage.delete(key)
            await self._storage.delete(records.condemned_key(digest))

    async def _linked(self) -> set[Digest]:
        """The digests that any repository links."""
        found: set[Digest] = set()
        async for entry in self._storage.entries("repositories/"):
            if "/_blobs/" in entry.key or "/_manifests/" in entry.key:
                digest = records.digest_of(entry)
                if digest:
                    found.add(digest)
        return found

    async def _pardon(self) -> None:
        """Remove condemnations of a process that died."""
        async for entry in self._storage.entries(records.CONDEMNED):
            if time.time() - entry.modified > _CONDEMNED_SECONDS:
                await self._storage.delete(entry.key)

    def _is_young(self, entry: Entry) -> bool:
        return time.time() - entry.modified < self._catalog.grace

    async def _became_young(self, key: str) -> bool:
        """Whether it was written or touched since it was listed; what is gone counts as well."""
        try:
            return time.time() - (await self._storage.stat(key)).modified < self._catalog.grace
        except NotFound:
            return True


def _reached(manifests: dict[Digest, Manifest | Index], roots: Iterable[Digest]) -> set[Digest]:
    """Manifests reachable from the roots: members of indexes, and referrers."""
    referring: dict[Digest, list[Digest]] = {}
    for digest, parsed in manifests.items():
        if parsed.subject is not None:
            referring.setdefault(parsed.subject.digest, []).append(digest)
    reached: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest in reached:
            continue
        reached.add(digest)
        waiting += referring.get(digest, [])
        if digest in manifests:
            waiting += references(manifests[digest])[1]
    return reached
