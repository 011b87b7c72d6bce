"""Pull, push, login and search, with their events.

The registry client is imported and created at first use: a daemon that pulls nothing does not pay for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from wherry.docker.progress import ProgressMessage
from wherry.docker.reference import Reference
from wherry.engine.events import EventBus
from wherry.engine.images.labels import labels_of
from wherry.engine.settings import Settings
from wherry.errors import InvalidInput
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.build.exporters.contract import Remote
    from wherry.build.model.progress import ProgressSink
    from wherry.build.model.session import BuildSession
    from wherry.build.model.session import Credentials as Login
    from wherry.build.sources.image import RemoteImage
    from wherry.distribution.client.credentials import Credentials
    from wherry.distribution.transfer.artifacts import Choose
    from wherry.distribution.transfer.transfers import Transfers
    from wherry.docker.registry_answers import (
        AuthStatus,
        DistributionInspect,
        ListedImage,
        RemoteDocuments,
        SearchHit,
    )
    from wherry.oci.manifest import Descriptor, Manifest

__all__ = ["Distribution"]

_HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"  # as BuildKit asks a client for its credentials


class Distribution:
    """Operations on registries; on the event loop.

    ``auth`` is the value of the header ``X-Registry-Auth``, or empty.
    """

    def __init__(self, store: ImageStore, settings: Settings, events: EventBus) -> None:
        self._store = store
        self._settings = settings
        self._events = events
        self._made: Transfers | None = None

    async def close(self) -> None:
        """Cancel the transfers that run."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    async def pull(self, name: str, tag: str, platform: str, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Pull an image, or all tags of a repository, and yield dockerd's messages; to be closed.

        :param name: with a tag, a digest or both; without either all tags are meant.
        :param tag: a tag or digest in place of the name's, or empty.
        :raises WherryError: before the first message, when there is no such image.
        """
        reference = Reference.parse(name).with_tag_or_digest(tag)
        wanted = Platform.parse(platform) if platform else None
        async with aclosing(self._transfers().pull(reference, wanted, _credentials(auth))) as messages:
            async for message in messages:
                yield message
        self._publish("pull", reference)

    async def push(self, name: str, tag: str, platform: str, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Push an image, or all tags of a repository, and yield dockerd's messages; to be closed.

        :param platform: only what is for this one, of images for several; all when empty.
        """
        wanted = Platform.parse(platform) if platform else None
        reference = Reference.parse(name).with_tag_or_digest(tag)
        async with aclosing(self._transfers().push(reference, _credentials(auth), wanted)) as messages:
            async for message in messages:
                yield message
        self._publish("push", reference)

    async def push_artifact(
        self,
        reference: str,
        auth: str,
        name: str,
        content: Callable[[], AsyncGenerator[bytes, None]],
        describe: Callable[[tuple[Digest, int, int]], Manifest],
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Push bytes that are no image, and yield dockerd's messages; to be closed.

        :param name: as messages call it.
        :param describe: makes the manifest of the blob's digest, its size, and its size uncompressed.
        :raises InvalidInput: the reference has a digest, which nobody can know yet.
        """
        from wherry.distribution.transfer.artifacts import Parcel  # noqa: PLC0415 - only when needed

        to = _one(reference)
        if to.digest:
            raise InvalidInput("cannot push a digest reference")
        parcel = Parcel(name, content, describe)
        async with aclosing(self._transfers().push_artifact(to, _credentials(auth), parcel)) as messages:
            async for message in messages:
                yield message

    async def pull_artifact(self, reference: str, auth: str, choose: Choose) -> AsyncGenerator[ProgressMessage, None]:
        """Fetch a blob of something that is no image, have it taken, and yield dockerd's messages; to be closed."""
        pulled = self._transfers().pull_artifact(_one(reference), _credentials(auth), choose)
        async with aclosing(pulled) as messages:
            async for message in messages:
                yield message

    def refetcher(self) -> Callable[[Digest], None]:
        """A function that fetches a lost blob again from where it was pulled; to be called in a thread.

        It raises ``WherryError`` when no registry has the blob, or none gives it without credentials.
        """
        loop = asyncio.get_running_loop()

        async def fetch(digest: Digest) -> None:
            await self._transfers().refetch(digest)

        return lambda digest: asyncio.run_coroutine_threadsafe(fetch(digest), loop).result()

    async def login(self, body: object) -> AuthStatus:
        """Try credentials; the body of SystemAuth.

        :raises Unauthenticated: the registry does not take them.
        """
        from wherry.distribution.client.credentials import from_object  # noqa: PLC0415 - only when needed

        return await self._transfers().login(from_object(body))

    async def describe(self, name: str, auth: str) -> DistributionInspect:
        """The body of DistributionInspect."""
        return await self._transfers().describe(_one(name), _credentials(auth))

    async def manifest(self, name: str, platform: str, auth: str, *, referrers: bool) -> RemoteDocuments:
        """The manifests and the configuration under a name, and which layers are stored here."""
        wanted = Platform.parse(platform) if platform else None
        return await self._transfers().manifest(_one(name), _credentials(auth), wanted, referrers=referrers)

    async def push_list(self, name: str, auth: str, images: Sequence[ListedImage]) -> Descriptor:
        """Make an index of images that a registry has, under a name there.

        :raises InvalidInput: there are none, one has no digest, or is at another registry; or the name has a digest.
        """
        if not images:
            raise InvalidInput("an index needs at least one manifest")
        from wherry.distribution.transfer.manifest_list import ListedManifest  # noqa: PLC0415 - only when needed

        members = [ListedManifest(Reference.parse(one.reference), one.platform) for one in images]
        bare = next((member.reference.familiar for member in members if member.reference.digest is None), "")
        if bare:
            raise InvalidInput(f"{bare} has no digest")
        to = _one(name)
        if to.digest:
            raise InvalidInput("cannot push a digest reference")
        return await self._transfers().push_list(to, _credentials(auth), members)

    async def search(self, term: str, limit: int, filters: dict[str, list[str]], auth: str) -> list[SearchHit]:
        """The body of ImageSearch.

        :raises InvalidInput: the term or the limit is invalid, in dockerd's words.
        """
        if not 0 <= limit <= 100:
            raise InvalidInput(f"limit {limit} is outside the range of [1, 100]")
        if not term or "://" in term:
            raise InvalidInput(f"invalid reference format: {term!r} is no search term")
        return await self._transfers().search(term, limit or 25, filters, _credentials(auth))

    async def resolve(self, reference: Reference, platform: Platform, credentials: Login | None) -> RemoteImage:
        """Ask what a name means for a platform, without fetching it; for a build, with its client's credentials.

        :raises NotFound: there is no such image.
        """
        from wherry.build.sources.image import RemoteImage  # noqa: PLC0415 - only when needed

        found = await self._transfers().resolve(reference, _login(credentials), platform)
        return RemoteImage(found.top.digest, found.manifest.digest, Digest.from_bytes(found.config), found.config)

    async def fetch(
        self, reference: Reference, platform: Platform, credentials: Login | None
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Pull an image for a build, and yield dockerd's messages; to be closed."""
        async with aclosing(self._transfers().pull(reference, platform, _login(credentials))) as messages:
            async for message in messages:
                yield message
        self._publish("pull", reference)

    async def open(
        self,
        reference: Reference,
        session: BuildSession,
        progress: ProgressSink,
        vertex: Digest,
        *,
        insecure: bool = False,
        writes: bool = False,
    ) -> Remote:
        """Open a name's repository for a build, with its client's credentials; see `Registries.open`."""
        from wherry.engine.images.build_registry import BuildRepository, shown  # noqa: PLC0415 - only when needed

        host = _HUB_HOST if reference.domain == _HUB else reference.domain
        credentials = _login(await session.credentials(host))
        emit = shown(vertex, progress)
        found = await self._transfers().stored(reference, credentials, emit, insecure=insecure, writes=writes)
        return BuildRepository(found)

    def _transfers(self) -> Transfers:
        if self._made is None:
            from wherry.distribution.client.settings import RegistrySettings  # noqa: PLC0415
            from wherry.distribution.transfer.transfers import Transfers  # noqa: PLC0415

            options = self._settings.registries
            settings = RegistrySettings(
                insecure=options.insecure,
                mirrors=options.mirrors,
                max_downloads=options.max_downloads,
                max_uploads=options.max_uploads,
                max_attempts=options.max_attempts,
            )
            self._made = Transfers(self._store, settings)
        return self._made

    def _publish(self, action: str, reference: Reference) -> None:
        labels = labels_of(self._store, str(reference.with_default_tag()))
        self._events.publish("image", action, reference.familiar, {**labels, "name": reference.familiar_name})


def _login(given: Login | None) -> Credentials:
    from wherry.distribution.client.credentials import ANONYMOUS, Credentials  # noqa: PLC0415

    return Credentials(given.username, given.password, given.token) if given else ANONYMOUS


def _one(name: str) -> Reference:
    return Reference.parse(name).with_default_tag()


def _credentials(auth: str) -> Credentials:
    from wherry.distribution.client.credentials import from_header  # noqa: PLC0415

    return from_header(auth)
