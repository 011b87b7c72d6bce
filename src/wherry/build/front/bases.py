"""What stages come from: images and named contexts, each looked up once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from wherry.build.dockerfile.suggestions import did_you_mean
from wherry.build.front.drafts import Draft, Source
from wherry.build.front.gateway import Gateway
from wherry.build.front.image import Image
from wherry.build.front.named_contexts import NamedContext, NamedContexts
from wherry.build.front.options import FrontOptions
from wherry.build.front.sources import image_source
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import Metadata
from wherry.build.model.service import ResolvedImage
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, NotFound, WherryError
from wherry.oci.image_config import parse_config
from wherry.oci.platform import Platform

__all__ = ["Base", "Bases", "all_of", "each_to_its_end", "parsed_name"]

_AT_ONCE = 8
_COMMON = tuple(
    name
    for image in ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")
    for name in (image, f"{image}:latest")
)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Base:
    """What a stage comes from.

    :param reference: of an image that is a vertex of its own: with its digest.
    :param source: of a named context.
    :param image: its configuration, not to be changed; None: it has none.
    :param config: the same, as it came.
    """

    reference: Reference | None = None
    source: Source = None
    image: Image | None = None
    config: bytes = b""
    named: bool = False

    def draft(self, platform: Platform, mode: str, metadata: Metadata) -> Source:
        """Its files; those of an image under a name that says whose step it is."""
        if self.reference is None:
            return self.source
        return Draft(image_source(self.reference, mode), platform=platform, metadata=metadata)


class Bases:
    """Looks up bases, for one platform; what has been looked up is kept."""

    def __init__(self, options: FrontOptions, named: NamedContexts, gateway: Gateway) -> None:
        self._options = options
        self._named = named
        self._gateway = gateway
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._images: dict[tuple[str, Platform], Base] = {}
        self._busy: dict[tuple[str, Platform], asyncio.Lock] = {}

    def find(self, name: str, platform: Platform) -> NamedContext | None:
        """The named context that an image's or a stage's name means.

        :raises InvalidInput: it is no name.
        """
        return self._named.find(name, platform)

    async def context(self, context: NamedContext, platform: Platform, paths: Callable[[], Iterable[str]]) -> Base:
        """What a named context is."""
        async with self._limit:
            loaded = await self._named.load(context, platform, paths)
        image = await self._gateway.in_thread(Image.of_base, loaded.config) if loaded.config else None
        return Base(source=loaded.source, image=image, config=loaded.config, named=True)

    async def image(self, written: str, name: str, platform: Platform, known: Callable[[], list[str]]) -> Base:
        """What an image's name means.

        :param written: as the Dockerfile says.
        :param known: gives names of stages, for a suggestion where there is no such image.
        :raises DockerfileError: there is none, or nobody answers.
        """
        key = (name, platform)
        async with self._busy.setdefault(key, asyncio.Lock()):
            if key not in self._images:
                self._images[key] = await self._look_up(written, name, platform, known)
            return self._images[key]

    async def _look_up(self, written: str, name: str, platform: Platform, known: Callable[[], list[str]]) -> Base:
        try:
            async with self._limit:
                resolved = await self._gateway.resolve_image(
                    name, platform=platform, mode=self._options.resolve_mode, name=self._title(name, platform)
                )
        except WherryError as exc:
            message = f"{written}: {exc}"
            if isinstance(exc, NotFound):
                message = await self._gateway.in_thread(_suggesting, message, written, known)
            raise DockerfileError(message) from exc
        return await self._gateway.in_thread(_base, resolved, name)

    def _title(self, name: str, platform: Platform) -> str:
        where = f"{platform} " if self._options.multi_platform else ""
        return f"[{where}internal] load metadata for {name}"


def _suggesting(message: str, written: str, known: Callable[[], list[str]]) -> str:
    return did_you_mean(message, written, [*known(), *_COMMON])


def _base(resolved: ResolvedImage, name: str) -> Base:
    try:
        image = Image.of_base(resolved.config)
    except InvalidInput as exc:
        raise InvalidInput(f"failed to parse image config: {exc}") from exc
    found = parsed_name(resolved.name or name)
    pinned = Reference(found.domain, found.path, found.tag, resolved.digest)
    return Base(None if _has_no_files(resolved.config) else pinned, None, image, resolved.config)


def _has_no_files(data: bytes) -> bool:
    config = parse_config(data)
    return not config.rootfs.diff_ids and all(entry.empty_layer for entry in config.history or ())


def parsed_name(text: str) -> Reference:
    """An image's whole name.

    :raises InvalidInput: it is none.
    """
    try:
        return Reference.parse(text).with_default_tag()
    except InvalidInput as exc:
        raise InvalidInput(f'failed to parse stage name "{text}": {exc}') from exc


async def all_of(work: Iterable[Awaitable[_Result]]) -> list[_Result]:
    """Wait for several things at once; where one fails, the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        await _end(tasks)
        raise
    finally:
        tasks.clear()  # else the error's frames and the task that has the error would keep each other


async def each_to_its_end(work: Iterable[Awaitable[_Result]]) -> list[_Result]:
    """Wait for several things at once, also where one fails; of several errors, the first in order is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks, return_exceptions=True)
        return [task.result() for task in tasks]
    finally:
        tasks.clear()  # as above


async def _end(tasks: Sequence[asyncio.Future[_Result]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
