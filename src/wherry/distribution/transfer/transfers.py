"""The transfer service: pulls, pushes and registry queries, sharing connections, downloads and slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType

from wherry.distribution.client.credentials import Credentials
from wherry.distribution.client.endpoints import DOCKER_HUB
from wherry.distribution.client.http import Http
from wherry.distribution.client.repository import RemoteManifest, Repository
from wherry.distribution.client.retry import retry
from wherry.distribution.client.settings import RegistrySettings
from wherry.distribution.transfer import push as pushing
from wherry.distribution.transfer.artifacts import ArtifactPull, ArtifactPush, Choose, Parcel
from wherry.distribution.transfer.layers import LayerJobs
from wherry.distribution.transfer.manifest_list import ListedManifest, ManifestListPush, check_registry
from wherry.distribution.transfer.progress import Emit, ProgressStream, status_message
from wherry.distribution.transfer.pull import Pull, explained
from wherry.distribution.transfer.push import Push
from wherry.distribution.transfer.push_queue import PushQueue
from wherry.distribution.transfer.refetch import refetch
from wherry.distribution.transfer.resolver import Resolver
from wherry.distribution.transfer.search import filtered, search
from wherry.distribution.transfer.select_manifest import check_platform, remote_layers, select_manifest
from wherry.distribution.transfer.stored import StoredContent
from wherry.docker.progress import ProgressMessage
from wherry.docker.reference import Reference
from wherry.docker.registry_answers import AuthStatus, DistributionInspect, RemoteDocuments, SearchHit
from wherry.errors import InvalidInput, NotFound, Unauthenticated, WherryError
from wherry.images.image import Image
from wherry.images.store import ImageStore
from wherry.oci.codec import decode
from wherry.oci.digest import Digest
from wherry.oci.image_config import parse_config
from wherry.oci.manifest import Descriptor, DescriptorPlatform, Index, parse_manifest_or_index
from wherry.oci.platform import Platform

__all__ = ["ResolvedImage", "Transfers"]

_ARTIFACTS = 4  # pushed and pulled at the same time: each works with a disk
_HUB_SERVERS = frozenset({"", "docker.io", "index.docker.io", "registry-1.docker.io"})


class ResolvedImage(NamedTuple):
    """A name's document, the manifest that was chosen from it, and its configuration."""

    top: RemoteManifest
    manifest: RemoteManifest
    config: bytes


class Transfers:
    """Pulls, pushes and questions to registries. To be made, used and closed on one event loop."""

    def __init__(self, store: ImageStore, settings: RegistrySettings) -> None:
        self._store = store
        self._settings = settings
        self._http = Http(settings.timing)
        self._resolver = Resolver(self._http, settings)
        self._jobs = LayerJobs(store, settings)
        self._queue = PushQueue(store, settings)
        self._artifacts = asyncio.Semaphore(_ARTIFACTS)

    async def close(self) -> None:
        """Cancel running transfers; partial downloads are resumed at the next request."""
        await self._jobs.close()
        self._queue.close()
        await self._http.close()

    # --- moving images ----------------------------------------------------------------------------

    async def pull(
        self, reference: Reference, platform: Platform | None, credentials: Credentials
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Pull and yield dockerd's progress messages; close it when it is not read to its end.

        :param reference: without a tag and a digest it means all tags.
        :raises WherryError: as :meth:`Pull.run`; before the first message when nothing could be pulled at all.
        """
        progress = ProgressStream()
        work = self._pull(reference, platform, credentials, progress.emit)
        async with aclosing(_messages(progress, work)) as messages:
            async for message in messages:
                yield message

    async def _pull(self, reference: Reference, platform: Platform | None, mine: Credentials, emit: Emit) -> None:
        sources = await self._resolver.sources(reference.domain, reference.path, mine)
        changed = False
        for one in await self._meant(reference, sources):
            changed |= await Pull(self._jobs, sources, one, platform, emit).run()
        state = "Downloaded newer image" if changed else "Image is up to date"
        emit({"status": f"Status: {state} for {reference.familiar}"})

    async def _meant(self, reference: Reference, sources: Sequence[Repository]) -> list[Reference]:
        """The one that is meant, or one for each tag."""
        if reference.tag or reference.digest:
            return [reference]
        try:
            tags = await retry(sources[0].tags, self._settings)
        except WherryError as exc:
            raise explained(exc, reference.familiar, reference.familiar_name) from exc
        if not tags:
            raise NotFound(f"no tags found for {reference.familiar_name}")
        return [Reference(reference.domain, reference.path, tag) for tag in tags]

    async def push(
        self, reference: Reference, credentials: Credentials, platform: Platform | None = None
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Push one name's image, or all tags of a repository, and yield dockerd's progress messages.

        :param platform: only what is for this one, of images for several.
        """
        progress = ProgressStream()
        progress.emit({"status": f"The push refers to repository [{reference.name}]"})
        work = self._push(reference, credentials, platform, progress.emit)
        async with aclosing(_messages(progress, work)) as messages:
            async for message in messages:
                yield message

    async def _push(
        self, reference: Reference, credentials: Credentials, platform: Platform | None, emit: Emit
    ) -> None:
        images = self._tagged(reference)
        repository = await self._resolver.origin(reference.domain, reference.path, credentials)
        for name, image in images:
            try:
                await Push(self._queue, repository, image, name, emit).run(platform)
            except WherryError as exc:
                raise pushing.explained(exc) from exc

    def _tagged(self, reference: Reference) -> list[tuple[Reference, Image]]:
        """A repository's tags with their images, or the one that is meant."""
        if reference.digest:
            raise InvalidInput("cannot push a digest reference")
        found = [
            (name, image)
            for image in self._store.list()
            for name in image.names
            if name.name == reference.name and name.tag and reference.tag in (None, name.tag)
        ]
        if not found and reference.tag and any(n.name == reference.name for i in self._store.list() for n in i.names):
            raise NotFound(f"tag does not exist: {reference.familiar}")
        if not found:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        for _, image in found:
            if image.built_in:
                raise InvalidInput("the built-in image is this machine itself and cannot be pushed")
        return sorted(found, key=lambda pair: str(pair[0]))

    async def refetch(self, digest: Digest) -> None:
        """Fetch one blob that was lost into the store, from where it was seen, without credentials.

        :raises WherryError: nobody has it, or gives it.
        """
        await refetch(self._store, self._resolver, self._settings, digest)

    async def stored(
        self,
        reference: Reference,
        mine: Credentials,
        emit: Emit,
        *,
        insecure: bool = False,
        writes: bool = False,
    ) -> StoredContent:
        """Open a name's repository, to move single blobs and documents.

        :param emit: called with progress messages.
        :param insecure: whether plain HTTP, or a certificate that nobody vouches for, would do.
        :raises WherryError: it does not answer.
        """
        resolver = self._resolver
        if insecure:
            settings = replace(self._settings, insecure=(*self._settings.insecure, reference.domain))
            resolver = Resolver(self._http, settings)
        if writes:
            repository = await resolver.origin(reference.domain, reference.path, mine)
        else:
            repository = (await resolver.sources(reference.domain, reference.path, mine))[-1]
        return StoredContent(self._queue, repository, reference, emit)

    # --- moving artifacts -------------------------------------------------------------------------

    async def push_artifact(
        self, reference: Reference, credentials: Credentials, parcel: Parcel
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Push something that is no image, and yield the same messages; close it when it is not read to its end."""
        progress = ProgressStream()
        progress.emit({"status": f"The push refers to repository [{reference.name}]"})
        work = self._push_artifact(reference, credentials, parcel, progress.emit)
        async with aclosing(_messages(progress, work)) as messages:
            async for message in messages:
                yield message

    async def _push_artifact(self, reference: Reference, mine: Credentials, parcel: Parcel, emit: Emit) -> None:
        repository = await self._resolver.origin(reference.domain, reference.path, mine)
        if self._artifacts.locked():
            emit(status_message("Waiting", parcel.name))
        async with self._artifacts:
            try:
                await ArtifactPush(self._queue, repository, reference, emit).run(parcel)
            except WherryError as exc:
                raise pushing.explained(exc) from exc

    async def pull_artifact(
        self, reference: Reference, credentials: Credentials, choose: Choose
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Pull something that is no image, and yield the same messages; close it when it is not read to its end."""
        progress = ProgressStream()
        work = self._pull_artifact(reference, credentials, choose, progress.emit)
        async with aclosing(_messages(progress, work)) as messages:
            async for message in messages:
                yield message

    async def _pull_artifact(self, reference: Reference, mine: Credentials, choose: Choose, emit: Emit) -> None:
        document, source = await self._top(reference, mine)
        blob, room, take = choose(document.data)
        called = f"{reference.name}@{reference.digest}" if reference.digest else str(reference.tag)
        emit({"status": f"Pulling from {reference.path}", "id": called})
        if self._artifacts.locked():
            emit(status_message("Waiting", blob.digest.short))
        async with self._artifacts:
            await ArtifactPull(self._jobs.blobs, source, blob, emit).run(take, room)
        emit(status_message(f"Digest: {document.digest}"))

    # --- asking -----------------------------------------------------------------------------------

    async def login(self, credentials: Credentials) -> AuthStatus:
        """Try credentials; the body of SystemAuth.

        :raises Unauthenticated: the registry does not take them.
        """
        repository = await self._resolver.origin(_domain_of(credentials.server), "", credentials)
        try:
            await retry(lambda: repository.ping(offline=True), self._settings)
        except Unauthenticated as exc:
            if "authentication required" not in exc.message:
                raise
            # Docker's words: the registry's own ask for what it was given
            where = str(repository.endpoint.url).rstrip("/")
            raise Unauthenticated(f"login attempt to {where}/v2/ failed with status: 401 Unauthorized") from exc
        if credentials.identity_token:
            return AuthStatus(status="Login Succeeded")
        return AuthStatus(status="Login Succeeded", identity_token=repository.authorizer.identity_token)

    async def describe(self, reference: Reference, credentials: Credentials) -> DistributionInspect:
        """Descriptor and platforms of a name at its registry; the body of DistributionInspect."""
        document, source = await self._top(reference, credentials)
        parsed = parse_manifest_or_index(document.data)
        if isinstance(parsed, Index):
            platforms = [one.platform for one in parsed.manifests if one.platform]
        else:
            config = parse_config(await self._ask(lambda: source.read_blob(parsed.config.digest, parsed.config.size)))
            platforms = [DescriptorPlatform(config.architecture, config.os, config.variant, config.os_version)]
        kind = parsed.media_type or document.media_type
        descriptor = Descriptor(kind, document.digest, len(document.data))
        return DistributionInspect(descriptor=descriptor, platforms=platforms)

    async def manifest(
        self, reference: Reference, credentials: Credentials, platform: Platform | None, *, referrers: bool
    ) -> RemoteDocuments:
        """A name's document, the manifest chosen from it, and its configuration, without fetching the image.

        :param referrers: fetch the list of what refers to it, too: attestations, signatures.
        """
        top, source = await self._top(reference, credentials)
        referring: list[dict[str, Any]] | UnsetType = UNSET
        if referrers:
            found = await self._ask(lambda: source.referrers(top.digest))
            referring = decode(found.data, dict[str, Any], "list of referrers").get("manifests", [])
        resolved = await select_manifest(top, platform, lambda digest: self._ask(lambda: source.manifest(digest)))
        head = resolved.manifest.config
        config = await self._ask(lambda: source.read_blob(head.digest, head.size))
        return RemoteDocuments(
            name=reference.familiar, digest=str(top.digest), media_type=top.media_type, size=len(top.data),
            document=decode(top.data, dict[str, Any], "manifest"),
            referrers=referring,
            manifest_digest=str(resolved.document.digest),
            manifest=decode(resolved.document.data, dict[str, Any], "manifest"),
            config=decode(config, dict[str, Any], "image configuration"),
            local=[str(one.digest) for one in resolved.manifest.layers if one.digest in self._store.content],
        )  # fmt: skip

    async def push_list(
        self, name: Reference, credentials: Credentials, members: Sequence[ListedManifest]
    ) -> Descriptor:
        """Make an index of images that the name's registry has; see `ManifestListPush`."""
        check_registry(name, members)

        async def source(reference: Reference) -> Repository:
            return (await self._resolver.sources(reference.domain, reference.path, credentials))[-1]

        target = await self._resolver.origin(name.domain, name.path, credentials)
        async with self._artifacts:
            try:
                return await ManifestListPush(target, source, self._settings).run(name, members)
            except WherryError as exc:
                raise pushing.explained(exc) from exc

    async def resolve(self, reference: Reference, credentials: Credentials, platform: Platform) -> ResolvedImage:
        """What a name means for a platform, without its layers.

        One that means a manifest, and no index, has no choice: as with BuildKit it is what is built upon, with a
        warning, whatever it is for.

        :raises NotFound: there is no such image, or none for the platform.
        """
        top, source = await self._top(reference, credentials)
        resolved = await select_manifest(top, platform, lambda digest: self._ask(lambda: source.manifest(digest)))
        head = resolved.manifest.config
        config = await self._ask(lambda: source.read_blob(head.digest, head.size))
        check_platform(reference.familiar, config, None if resolved.document is top else platform)
        remote_layers(resolved.manifest, config)
        return ResolvedImage(top, resolved.document, config)

    async def search(self, term: str, limit: int, filters: dict[str, list[str]], mine: Credentials) -> list[SearchHit]:
        """Search for a term, ``[registry/]words``; the body of ImageSearch."""
        first, slash, rest = term.partition("/")
        is_domain = bool(slash) and ("." in first or ":" in first or first == "localhost")
        domain, words = (first, rest) if is_domain else ("index.docker.io", term)
        registry = await self._resolver.origin(domain, "", mine)
        return filtered(await self._ask(lambda: search(registry, domain, words, limit)), filters)

    async def _top(self, reference: Reference, credentials: Credentials) -> tuple[RemoteManifest, Repository]:
        sources = await self._resolver.sources(reference.domain, reference.path, credentials)
        wanted = str(reference.digest or reference.tag)
        failure: WherryError | None = None
        for source in sources:
            try:
                return await self._ask(lambda source=source: source.manifest(wanted)), source  # type: ignore[misc]
            except WherryError as exc:
                failure = exc
        assert failure is not None
        raise explained(failure, reference.familiar, reference.familiar_name) from failure

    async def _ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        return await retry(work, self._settings)


async def _messages(progress: ProgressStream, work: Coroutine[Any, Any, None]) -> AsyncGenerator[ProgressMessage, None]:
    """The messages of some work, which is cancelled when nobody reads on."""
    async with aclosing(progress.during(asyncio.create_task(work))) as messages:
        async for message in messages:
            yield message


def _domain_of(server: str) -> str:
    """The registry that a server address of a client's means: ``https://index.docker.io/v1/`` is Docker Hub."""
    host = server.partition("://")[2] if "://" in server else server
    domain = host.partition("/")[0]
    return DOCKER_HUB if domain in _HUB_SERVERS else domain
