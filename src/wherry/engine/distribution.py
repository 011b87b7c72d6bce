"""Images from and to registries, as the engine offers them: transfers, and the events that tell of them.

What it takes to speak to a registry is imported, and made, when it is needed first: a daemon that pulls nothing pays
nothing for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from wherry.engine.events import EventBus
from wherry.engine.settings import Settings
from wherry.errors import InvalidInput
from wherry.images import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform
from wherry.oci.reference import Reference

if TYPE_CHECKING:
    from wherry.registry.client import Credentials
    from wherry.registry.transfer import Transfers

__all__ = ["Distribution"]

Json = dict[str, Any]
Jsons = list[Json]


class Distribution:
    """What an engine does with registries; on the event loop.

    ``auth`` is the value of the header ``X-Registry-Auth``, or empty.
    """

    def __init__(self, store: ImageStore, settings: Settings, events: EventBus) -> None:
        self._store = store
        self._settings = settings
        self._events = events
        self._made: Transfers | None = None

    async def close(self) -> None:
        """Give up what is under way."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    async def pull(self, name: str, platform: str, auth: str) -> AsyncGenerator[Json, None]:
        """Pull an image, or all tags of a repository, and yield dockerd's messages; to be closed.

        :param name: with a tag, a digest or both; without either all tags are meant.
        :raises WherryError: before the first message when there is nothing to be had.
        """
        reference = Reference.parse(name)
        wanted = Platform.parse(platform) if platform else None
        async with aclosing(self._transfers().pull(reference, wanted, _credentials(auth))) as messages:
            async for message in messages:
                yield message
        self._tell("pull", reference)

    async def push(self, name: str, tag: str, platform: str, auth: str) -> AsyncGenerator[Json, None]:
        """Push an image, or all tags of a repository, and yield dockerd's messages; to be closed.

        :param platform: only what is for this one, of images for several; all when empty.
        """
        wanted = Platform.parse(platform) if platform else None
        reference = Reference.parse(f"{name}:{tag}" if tag else name)
        async with aclosing(self._transfers().push(reference, _credentials(auth), wanted)) as messages:
            async for message in messages:
                yield message
        self._tell("push", reference)

    def refetcher(self) -> Callable[[Digest], None]:
        """What fetches a lost blob again from where it was pulled from; to be called in a thread.

        It raises ``WherryError`` when nobody has the blob, or gives it without credentials.
        """
        loop = asyncio.get_running_loop()

        async def fetch(digest: Digest) -> None:
            await self._transfers().refetch(digest)

        return lambda digest: asyncio.run_coroutine_threadsafe(fetch(digest), loop).result()

    async def login(self, body: object) -> Json:
        """Try credentials; the body of SystemAuth.

        :raises Unauthenticated: the registry does not take them.
        """
        from wherry.registry.client.credentials import from_object  # noqa: PLC0415 - only when needed

        return await self._transfers().login(from_object(body))

    async def describe(self, name: str, auth: str) -> Json:
        """The body of DistributionInspect."""
        return await self._transfers().describe(_one(name), _credentials(auth))

    async def manifest(self, name: str, platform: str, auth: str, *, referrers: bool) -> Json:
        """What a registry has under a name: manifests and configuration, and which layers are here."""
        wanted = Platform.parse(platform) if platform else None
        return await self._transfers().manifest(_one(name), _credentials(auth), wanted, referrers=referrers)

    async def search(self, term: str, limit: int, filters: dict[str, list[str]], auth: str) -> Jsons:
        """The body of ImageSearch.

        :raises InvalidInput: the term is empty, or the limit beyond reason, in dockerd's words.
        """
        if not 0 <= limit <= 100:
            raise InvalidInput(f"limit {limit} is outside the range of [1, 100]")
        if not term or "://" in term:
            raise InvalidInput(f"invalid reference format: {term!r} is no search term")
        return await self._transfers().search(term, limit or 25, filters, _credentials(auth))

    def _transfers(self) -> Transfers:
        if self._made is None:
            from wherry.registry.client import RegistrySettings  # noqa: PLC0415
            from wherry.registry.transfer import Transfers  # noqa: PLC0415

            told = self._settings.registries
            settings = RegistrySettings(
                insecure=told.insecure,
                mirrors=told.mirrors,
                max_downloads=told.max_downloads,
                max_uploads=told.max_uploads,
                max_attempts=told.max_attempts,
            )
            self._made = Transfers(self._store, settings)
        return self._made

    def _tell(self, action: str, reference: Reference) -> None:
        self._events.publish("image", action, reference.familiar, {"name": reference.familiar_name})


def _one(name: str) -> Reference:
    return Reference.parse(name).with_default_tag()


def _credentials(auth: str) -> Credentials:
    from wherry.registry.client.credentials import from_header  # noqa: PLC0415

    return from_header(auth)
