"""Pull: fetch an image by its name, in dockerd's order and with its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from wherry.distribution.client.repository import RemoteManifest, Repository
from wherry.distribution.client.retry import retry
from wherry.distribution.transfer.layers import LayerJob, LayerJobs, RemoteLayer
from wherry.distribution.transfer.lease import with_lease
from wherry.distribution.transfer.progress import Emit, status_message
from wherry.distribution.transfer.select_manifest import (
    ResolvedManifest,
    check_platform,
    remote_layers,
    select_manifest,
)
from wherry.docker.reference import Reference
from wherry.errors import CorruptData, Forbidden, NotFound, Unauthenticated, WherryError
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["Pull", "explained"]


class Pull:
    """One client's pull of one name.

    :param sources: where the repository may be read, best first.
    :param reference: with a tag or a digest; with both, the digest counts.
    :param platform: what to choose from an index; None means this machine.
    :param emit: called with each progress message.
    """

    def __init__(
        self,
        jobs: LayerJobs,
        sources: Sequence[Repository],
        reference: Reference,
        platform: Platform | None,
        emit: Emit,
    ) -> None:
        self._store = jobs.store
        self._jobs = jobs
        self._settings = jobs.blobs.settings
        self._sources = list(sources)
        self._reference = reference
        self._platform = platform
        self._emit = emit

    async def run(self) -> bool:
        """Pull; says whether the name means another image now than before.

        :raises NotFound: there is no such image.
        :raises CorruptData: what came is not what it should be.
        """
        wanted = str(self._reference.digest or self._reference.tag)
        top = await self._manifest(wanted)
        called = f"{self._reference.name}@{wanted}" if self._reference.digest else wanted
        self._emit({"status": f"Pulling from {self._reference.path}", "id": called})
        resolved = await select_manifest(top, self._platform, self._fetch)
        config = await self._config(resolved)
        check_platform(self._reference.familiar, config, self._platform)
        layers = remote_layers(resolved.manifest, config)
        async with with_lease(self._store) as lease:
            lease.blob(*(document.digest for document in resolved.path), resolved.manifest.config.digest)
            lease.blob(*(layer.blob.digest for layer in layers))
            lease.layer(*(layer.chain_id for layer in layers))
            if not await asyncio.to_thread(self._store.is_whole, resolved.manifest.config.digest):
                await self._fetch_layers(layers)
            changed = await asyncio.to_thread(self._finish, resolved, config, layers)
        self._emit(status_message(f"Digest: {top.digest}"))
        return changed

    async def _manifest(self, wanted: str) -> RemoteManifest:
        """The name's document, from the first source that has it; later requests begin with that source."""
        name = self._reference.familiar
        for number, source in enumerate(self._sources):
            try:
                found = await retry(partial(source.manifest, wanted), self._settings)
            except WherryError as exc:
                if number == len(self._sources) - 1:
                    raise explained(exc, name, self._reference.familiar_name) from exc
                continue
            self._sources = self._sources[number:]
            return found
        raise NotFound(f"{name} not found")

    async def _fetch(self, digest: str) -> RemoteManifest:
        """A document by its digest, from the store when it is there."""
        with suppress(NotFound):
            return RemoteManifest(await asyncio.to_thread(self._sound, Digest(digest)), "", Digest(digest))
        return await retry(lambda: self._sources[0].manifest(digest), self._settings)

    async def _config(self, resolved: ResolvedManifest) -> bytes:
        digest, size = resolved.manifest.config.digest, resolved.manifest.config.size
        with suppress(NotFound):
            return await asyncio.to_thread(self._sound, digest)
        return await retry(lambda: self._sources[0].read_blob(digest, size), self._settings)

    def _sound(self, digest: Digest) -> bytes:
        """A document of the store; one that the disk has damaged goes, so that another can take its place.

        :raises NotFound: there is none, or none any more.
        """
        try:
            return self._store.content.read(digest)
        except CorruptData as exc:
            self._store.content.delete(digest)
            raise NotFound(f"no such blob: {digest}") from exc

    async def _fetch_layers(self, layers: Sequence[RemoteLayer]) -> None:
        """Fetch all layers concurrently; the first failure cancels the others."""
        joined: list[LayerJob] = []
        parent: LayerJob | None = None
        try:
            for wanted in layers:
                is_here = self._store.content.holds(wanted.blob.digest, wanted.blob.size)
                if is_here and wanted.chain_id in self._store.layers:
                    self._emit(status_message("Already exists", wanted.blob.digest.short))
                    parent = None
                    continue
                parent = self._jobs.join(wanted, parent, self._sources, self._emit)
                joined.append(parent)
            await _all([job.task for job in joined])
        finally:
            for job in joined:
                job.leave(self._emit)

    def _finish(self, resolved: ResolvedManifest, config: bytes, layers: Sequence[RemoteLayer]) -> bool:
        """Store the blobs, then the row and the names: the point of no return."""
        content, partials = self._store.content, self._store.partials
        with self._jobs.adopting:
            for digest, size in {(layer.blob.digest, layer.blob.size) for layer in layers}:
                if not content.holds(digest, size) and partials.path(digest).exists():
                    content.adopt(partials.path(digest), digest)
        for document in resolved.path:
            content.ingest([document.data], digest=document.digest)
        identifier = content.ingest([config], digest=resolved.manifest.config.digest)
        top, named = resolved.path[0], self._reference
        names = [named.with_digest(top.digest)]
        if named.tag and not named.digest:
            names.insert(0, named)
        documents = [document.digest for document in resolved.path]
        index = top.digest if top is not resolved.document else None
        changed = self._store.register(identifier, resolved.document.digest, names, documents, index)
        self._store.blob_sources.seen([layer.blob.digest for layer in layers], named.name)
        return changed


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all; the first real error ends it. Tasks that are shared are not cancelled here, but left."""
    pending: set[asyncio.Task[None]] = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        failures = [error for task in done if not task.cancelled() and (error := task.exception())]
        if failures:
            raise failures[0]
        if any(task.cancelled() for task in done):
            raise WherryError("the download was given up")


def explained(error: WherryError, name: str, repository: str) -> WherryError:
    """A registry's error in dockerd's words; some clients match on them."""
    text = error.message
    if isinstance(error, NotFound) and text.startswith("name unknown"):
        return NotFound(f"repository {repository} not found: {text}")
    if isinstance(error, NotFound):
        return NotFound(f"manifest for {name} not found: {text}")
    if isinstance(error, Forbidden | Unauthenticated) and text.startswith(("denied", "unauthorized")):
        return NotFound(
            f"pull access denied for {repository}, repository does not exist or may require 'docker login': {text}"
        )
    if isinstance(error, Unauthenticated):
        return Forbidden(text)  # dockerd has no 401 here: clients would ask for a password that is in no file
    return error
