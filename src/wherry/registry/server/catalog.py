"""Repositories: which blobs, manifests, tags and referrers each has. The records on top of a storage, without HTTP.

The order of writes keeps a reader from ever seeing half of something: a manifest's bytes come before the record that
the repository has it, and that comes before the tag; what is removed goes the other way round.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from wherry.errors import InvalidInput, NotFound
from wherry.oci.digest import Digest
from wherry.oci.manifest import Index, Manifest, parse_manifest_or_index
from wherry.registry.server import records
from wherry.registry.server.errors import Refusal
from wherry.registry.storage.contract import key_of_blob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from wherry.registry.storage.contract import Content, Storage

__all__ = ["Catalog", "StoredManifest", "in_turns", "references"]

_log = logging.getLogger(__name__)
_CACHE_BYTES: Final = 32 << 20
_A_TURN: Final = 50
_PAGE_BYTES: Final = 1 << 20
"""Of descriptors that are looked at for one answer, when there is more than one: annotations are long if one likes."""


class _Described(msgspec.Struct, frozen=True, rename="camel"):
    artifact_type: str = ""


class StoredManifest(NamedTuple):
    """A manifest or an index, as it was pushed."""

    digest: Digest
    media_type: str
    data: bytes


class Catalog:
    """All repositories of a storage.

    :param storage: where.
    :param grace: seconds for which garbage collection leaves alone what is new; a blob that somebody asks about is
        made new again when half of that is over, so that it is still there when they refer to it.
    """

    def __init__(self, storage: Storage, grace: float) -> None:
        self.storage: Final = storage
        self.grace: Final = grace
        self._documents: OrderedDict[str, bytes] = OrderedDict()
        self._documents_weight = 0

    # -- blobs --------------------------------------------------------------------------------------------------------

    async def blob_size(self, name: str, digest: Digest) -> int:
        """How many bytes a repository's blob has.

        :raises Refusal: the repository has no such blob, or the storage has lost its bytes.
        """
        size = await self._linked(name, digest)
        try:
            found = (await self.storage.stat(key_of_blob(digest))).size
        except NotFound:
            found = -1
        if size is None or size != found:
            if size is not None:
                _log.error("blob %s of %s has %d bytes, not %d: treated as missing", digest, name, found, size)
            raise Refusal("BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest})
        return size

    async def has_blob(self, name: str, digest: Digest) -> bool:
        """Whether a repository has a blob, whole."""
        try:
            await self.blob_size(name, digest)
        except Refusal:
            return False
        return True

    async def open_blob(self, digest: Digest, start: int, length: int) -> Content:
        """Open a range of a blob; the caller has checked its size.

        :raises Refusal: it is gone meanwhile.
        """
        try:
            return await self.storage.open(key_of_blob(digest), start, length)
        except NotFound:
            raise Refusal("BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest}) from None

    async def keep_young(self, name: str, digest: Digest) -> None:
        """Protect a blob from garbage collection after its existence was reported."""
        link = records.blob_link(name, digest)
        try:
            if time.time() - (await self.storage.stat(link)).modified > self.grace / 2:
                await self.storage.touch(link)
        except NotFound:
            raise Refusal("BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest}) from None

    async def link(self, name: str, digest: Digest, size: int) -> None:
        """Link a stored blob to a repository.

        :raises Refusal: the bytes are being removed at this moment; asking again will do.
        """
        await self.storage.write(records.blob_link(name, digest), b"%d" % size)
        await self.require_bytes(digest, size)

    async def require_bytes(self, digest: Digest, size: int) -> None:
        """Check, after it was linked, that nobody is removing the bytes; `wherry.registry.server.gc` says why.

        :raises Refusal: somebody is, or did just now.
        """
        if not await self._exists(records.condemned_key(digest)) and await self._exists(key_of_blob(digest), size):
            return
        raise Refusal("UNAVAILABLE", "the blob is being collected; try again", headers={"Retry-After": "1"})

    async def _exists(self, key: str, size: int | None = None) -> bool:
        try:
            found = await self.storage.stat(key)
        except NotFound:
            return False
        return size is None or found.size == size

    async def adopt(self, digest: Digest) -> int | None:
        """Take over the bytes of a blob that this machine has elsewhere, without copying; its size, or None."""
        if not await self.storage.adopt(key_of_blob(digest)):
            return None
        return (await self.storage.stat(key_of_blob(digest))).size

    async def delete_blob(self, name: str, digest: Digest) -> None:
        """Unlink a blob; garbage collection removes its bytes when no repository links it.

        :raises Refusal: the repository has none.
        """
        if await self._linked(name, digest) is None:
            raise Refusal("BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest})
        await self.storage.delete(records.blob_link(name, digest))

    async def _linked(self, name: str, digest: Digest) -> int | None:
        try:
            data = await self.storage.read(records.blob_link(name, digest))
        except NotFound:
            return None
        return int(data) if data.isdigit() else None

    # -- manifests ----------------------------------------------------------------------------------------------------

    async def resolve(self, name: str, tag: str) -> Digest:
        """The digest of a tag.

        :raises Refusal: there is no such tag.
        """
        try:
            data = await self.storage.read(records.tag_key(name, tag))
            return Digest(data.decode())
        except (NotFound, InvalidInput, UnicodeDecodeError):
            raise Refusal("MANIFEST_UNKNOWN", "manifest unknown", {"tag": tag}) from None

    async def manifest(self, name: str, digest: Digest) -> StoredManifest:
        """A repository's manifest, its digest verified.

        :raises Refusal: the repository has none.
        """
        unknown = Refusal("MANIFEST_UNKNOWN", "manifest unknown", {"digest": digest})
        try:
            record = records.read_record(await self.storage.read(records.manifest_key(name, digest)))
            data = await self._document(digest)
        except NotFound:
            raise unknown from None
        if record is None or data is None or len(data) != record.size:
            _log.error("manifest %s of %s is damaged: treated as missing", digest, name)
            raise unknown
        return StoredManifest(digest, record.media_type, data)

    async def has_manifest(self, name: str, digest: Digest) -> bool:
        """Whether a repository has a manifest, whole."""
        try:
            await self.manifest(name, digest)
        except Refusal:
            return False
        return True

    async def lists_manifest(self, name: str, digest: Digest) -> bool:
        """Whether a repository has a manifest, by its record and its size: an index may list thousands."""
        try:
            record = records.read_record(await self.storage.read(records.manifest_key(name, digest)))
        except NotFound:
            return False
        return record is not None and await self._exists(key_of_blob(digest), record.size)

    async def put_manifest(self, name: str, document: StoredManifest, parsed: Manifest | Index) -> None:
        """Store a manifest that was checked."""
        record = records.ManifestRecord(document.media_type, len(document.data))
        await self.storage.write(key_of_blob(document.digest), document.data)
        await self.storage.write(records.manifest_key(name, document.digest), msgspec.json.encode(record))
        await self.require_bytes(document.digest, len(document.data))
        if parsed.subject is not None:
            entry = describe(document, parsed)
            key = records.referrer_key(name, parsed.subject.digest, document.digest)
            await self.storage.write(key, entry)
        await self._list_repository(name)

    async def keep_blobs(self, name: str, digests: Iterable[Digest]) -> None:
        """See, now that a manifest keeps them, that garbage collection did not take a blob a moment before.

        :raises Refusal: it did, and the bytes are gone as well; the client pushes again.
        """
        async for digest in in_turns(digests):
            size = await self._linked(name, digest)
            if size is not None:
                await self.require_bytes(digest, size)
                continue
            try:
                found = await self.storage.stat(key_of_blob(digest))
            except NotFound:
                raise Refusal("UNAVAILABLE", "a blob was collected meanwhile; push again") from None
            await self.link(name, digest, found.size)

    async def put_tag(self, name: str, tag: str, digest: Digest) -> None:
        """Let a tag name a manifest."""
        await self.storage.write(records.tag_key(name, tag), digest.encode())

    async def delete_manifest(self, name: str, digest: Digest) -> None:
        """Take a manifest, and the tags that name it, from a repository.

        :raises Refusal: the repository has none.
        """
        document = await self.manifest(name, digest)
        async for entry in self.storage.entries(records.tags(name)):
            tag = entry.key.rpartition("/")[2]
            if await self._names(name, tag, digest):
                await self.storage.delete(entry.key)
        subject = parse_manifest_or_index(document.data).subject
        if subject is not None:
            await self.storage.delete(records.referrer_key(name, subject.digest, digest))
        await self.storage.delete(records.manifest_key(name, digest))
        await self._forget_if_empty(name)

    async def delete_tag(self, name: str, tag: str) -> Digest:
        """Take a tag from a repository; the manifest stays. :returns: what it named.

        :raises Refusal: there is no such tag.
        """
        digest = await self.resolve(name, tag)
        await self.storage.delete(records.tag_key(name, tag))
        return digest

    async def _names(self, name: str, tag: str, digest: Digest) -> bool:
        try:
            return await self.resolve(name, tag) == digest
        except Refusal:
            return False

    async def _document(self, digest: Digest) -> bytes | None:
        """A document's bytes, from memory when it was asked for lately: they never change. None for damaged ones."""
        cached = self._documents.get(digest)
        if cached is not None:
            self._documents.move_to_end(digest)
            return cached
        data = await self.storage.read(key_of_blob(digest))
        if Digest.from_bytes(data, digest.algorithm) != digest:
            return None
        if digest not in self._documents:
            self._documents[digest] = data
            self._documents_weight += len(data)
        while self._documents_weight > _CACHE_BYTES:
            self._documents_weight -= len(self._documents.popitem(last=False)[1])
        return data

    # -- listings -----------------------------------------------------------------------------------------------------

    async def require_repository(self, name: str) -> None:
        """Check that there is a repository.

        :raises Refusal: there is not.
        """
        try:
            await self.storage.stat(records.catalog_key(name))
        except NotFound:
            raise Refusal("NAME_UNKNOWN", "repository name not known to registry", {"name": name}) from None

    async def tags(self, name: str) -> list[str]:
        """A repository's tags, in the specification's order: by letter, whether capital or not."""
        found = [entry.key.rpartition("/")[2] async for entry in self.storage.entries(records.tags(name))]
        return sorted(found, key=lambda tag: (tag.lower(), tag))

    async def repositories(self) -> AsyncIterator[str]:
        """The names of all repositories."""
        async for entry in self.storage.entries(records.CATALOG):
            yield entry.key.removeprefix(records.CATALOG).removesuffix("/_repository")

    async def referrers(
        self, name: str, subject: Digest, *, kind: str = "", last: str = "", count: int = 1000
    ) -> tuple[list[bytes], str]:
        """Descriptors of a manifest's referrers as JSON, by digest, one batch.

        :param kind: only those of this artifact type.
        :param last: a digest: only those behind it.
        :param count: how many at most.
        :returns: these, and the digest to go on behind; it is empty at the end.
        """
        prefix = records.referrers(name, subject)
        found: list[bytes] = []
        weight, seen = 0, ""
        async for entry in self.storage.entries(prefix, records.referrer_key(name, subject, last) if last else ""):
            if len(found) >= count or (seen and weight + entry.size > _PAGE_BYTES):
                return found, seen
            seen = entry.key.removeprefix(prefix).replace("-", ":")
            weight += entry.size
            data = await self._referrer(entry.key, kind)
            if data:
                found.append(data)
        return found, ""

    async def _referrer(self, key: str, kind: str) -> bytes:
        """A descriptor; empty when it has another type, is damaged or was removed."""
        try:
            data = await self.storage.read(key)
            described = msgspec.json.decode(data, type=_Described)
        except (NotFound, msgspec.MsgspecError, UnicodeDecodeError):
            return b""
        return data if kind in ("", described.artifact_type) else b""

    async def usage(self, name: str) -> int:
        """The bytes of a repository's blobs and manifests."""
        total = 0
        async for entry in self.storage.entries(records.blob_links(name)):
            digest = records.digest_of(entry)
            total += (await self._linked(name, digest) or 0) if digest else 0
        async for entry in self.storage.entries(records.manifests(name)):
            record = records.read_record(await self.storage.read(entry.key))
            total += record.size if record else 0
        return total

    async def _list_repository(self, name: str) -> None:
        if not await self._exists(records.catalog_key(name)):
            await self.storage.write(records.catalog_key(name), b"1")

    async def _has_manifests(self, name: str) -> bool:
        async for _ in self.storage.entries(records.manifests(name)):
            return True
        return False

    async def _forget_if_empty(self, name: str) -> None:
        """Drop a repository without manifests from the catalogue.

        Who pushes writes the manifest first and looks at the catalogue then; here it is the other way round, so that
        of two that meet at least one sees the other.
        """
        if await self._has_manifests(name):
            return
        await self.storage.delete(records.catalog_key(name))
        if await self._has_manifests(name):
            await self._list_repository(name)


async def in_turns(digests: Iterable[Digest]) -> AsyncIterator[Digest]:
    """Each of many digests once; others have their turn now and then, since a file system answers at once."""
    for number, digest in enumerate(dict.fromkeys(digests), 1):
        if number % _A_TURN == 0:
            await asyncio.sleep(0)
        yield digest


def references(parsed: Manifest | Index) -> tuple[list[Digest], list[Digest]]:
    """The blobs and manifests that a manifest references, without foreign layers (``urls``)."""
    if isinstance(parsed, Index):
        return [], [entry.digest for entry in parsed.manifests]
    needed = [parsed.config, *(layer for layer in parsed.layers if not layer.urls)]
    return [entry.digest for entry in needed], []


def describe(document: StoredManifest, parsed: Manifest | Index) -> bytes:
    """The descriptor of a document in a list of referrers (distribution specification, "Listing Referrers")."""
    kind = parsed.artifact_type or (parsed.config.media_type if isinstance(parsed, Manifest) else None)
    entry: dict[str, object] = {
        "mediaType": document.media_type,
        "digest": str.__str__(document.digest),
        "size": len(document.data),
    }
    if kind:
        entry["artifactType"] = kind
    if parsed.annotations:
        entry["annotations"] = parsed.annotations
    return msgspec.json.encode(entry)
