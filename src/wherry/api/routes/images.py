"""Images: list, inspect, tag, remove, load, save, import."""

from __future__ import annotations

import io
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.http import compat, query
from wherry.api.http.answers import document, empty, encode, open_stream, reply
from wherry.api.http.bodies import AnswerWriter, finished, in_thread, iterate_in_thread
from wherry.api.http.older import check_platforms
from wherry.api.http.progress import stream, stream_with_errors
from wherry.api.http.routing import Route
from wherry.api.http.socket_body import body_of
from wherry.api.routes.distribution import pull_of
from wherry.errors import InvalidInput, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence
    from typing import BinaryIO

    from aiohttp.web import StreamResponse

    from wherry.api.http.query import Filters
    from wherry.api.http.request import ApiRequest
    from wherry.api.routes.distribution import Distribution
    from wherry.docker.image_answers import HistoryStep, ImageDeleted, ImageInspect, ImagesPruneReport, ImageSummary
    from wherry.docker.progress import ProgressMessage

_TAR: Final = "application/x-tar"


class Images(Protocol):
    """What this file needs of the engine. What has no ``async`` is quick, or is called in a thread where it says so."""

    def list(self, filters: Filters, *, all: bool, shared_size: bool, digests: bool) -> Sequence[ImageSummary]:
        """Return summaries, the newest first."""

    async def inspect(self, name: str, *, manifests: bool = False, platform: str = "") -> ImageInspect:
        """Return everything about one image, and if asked what its index lists."""

    async def check_selection(self, names: Sequence[str], platforms: Sequence[str]) -> None:
        """Raise where images that are to be saved are not there, or are for another platform."""

    async def history(self, name: str, platform: str = "") -> Sequence[HistoryStep]:
        """Return how it was made, the last step first."""

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name."""

    async def remove(self, name: str, *, force: bool, prune: bool, platforms: Sequence[str]) -> Sequence[ImageDeleted]:
        """Remove a name, and with the last name the image; or of an image what is for some platforms."""

    async def prune(self, filters: Filters) -> ImagesPruneReport:
        """Remove unused images."""

    def load(self, stream: BinaryIO, platforms: Sequence[str]) -> Generator[ProgressMessage, None, None]:
        """Load an archive and yield what happens (in a thread)."""

    def save(self, names: Sequence[str], write: Callable[[bytes], object], platforms: Sequence[str]) -> None:
        """Write an archive of images (in a thread)."""

    def import_(self, stream: BinaryIO, name: str, changes: Sequence[str], message: str, platform: str) -> str:
        """Make an image of a root file system's archive and return its ID (in a thread)."""

    def import_from(
        self, url: str, name: str, changes: Sequence[str], message: str, platform: str
    ) -> Generator[ProgressMessage, None, None]:
        """Make an image of an archive at an address and yield what happens (in a thread)."""


class ImageRoutes:
    """The operations on images."""

    def __init__(self, images: Images, distribution: Distribution) -> None:
        self._images = images
        self._distribution = distribution

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/images/json", self.list),
            Route("GET", "/images/get", self.save, streaming=True),
            Route("POST", "/images/create", self.create, streaming=True),
            Route("POST", "/images/load", self.load),
            Route("POST", "/images/prune", self.prune),
            Route("GET", "/images/{name:path}/json", self.inspect),
            Route("GET", "/images/{name:path}/history", self.history),
            Route("GET", "/images/{name:path}/attestations", self.attestations),
            Route("GET", "/images/{name:path}/get", self.save, streaming=True),
            Route("POST", "/images/{name:path}/tag", self.tag),
            Route("DELETE", "/images/{name:path}", self.remove),
        ]

    async def list(self, request: ApiRequest) -> StreamResponse:
        """ImageList. Nothing is known of who signed an image, so ``identity`` adds nothing."""
        filters = request.filters()
        if request.version >= (1, 54) and request.flag("identity") and not request.flag("manifests"):
            raise InvalidInput("conflicting options: identity requires manifests=1")
        if request.version < (1, 41) and (old := request.text("filter")):
            filters.setdefault("reference", [old])
        summaries = self._images.list(
            filters, all=request.flag("all"), shared_size=request.flag("shared-size"), digests=request.flag("digests")
        )
        return reply(compat.images(document(summaries), request.version))

    async def inspect(self, request: ApiRequest) -> StreamResponse:
        """ImageInspect."""
        name, manifests, platform = request.path["name"], request.flag("manifests"), request.platform()
        if manifests and platform:
            raise InvalidInput("conflicting options: manifests and platform options cannot both be set")
        shown = await self._images.inspect(name, manifests=manifests, platform=platform)
        return reply(compat.image(document(shown), request.version))

    async def history(self, request: ApiRequest) -> StreamResponse:
        """ImageHistory."""
        return reply(await self._images.history(request.path["name"], request.platform()))

    async def attestations(self, request: ApiRequest) -> StreamResponse:
        """ImageAttestations, which come with indexes in containerd's image store only."""
        if request.version < (1, 55):
            raise NotFound("page not found")
        if len(request.texts("platform")) > 1:
            raise InvalidInput("only one platform value is currently supported")
        request.platform()
        raise Unsupported("the image store does not support attestations")

    async def tag(self, request: ApiRequest) -> StreamResponse:
        """ImageTag."""
        await self._images.tag(request.path["name"], request.text("repo"), request.text("tag"))
        return empty(201)

    async def remove(self, request: ApiRequest) -> StreamResponse:
        """ImageDelete."""
        # An empty one is no platform, rather than none: without any the whole image goes.
        platforms = [query.platform(text) for text in request.texts("platforms")]
        force, prune = request.flag("force"), not request.flag("noprune")
        return reply(await self._images.remove(request.path["name"], force=force, prune=prune, platforms=platforms))

    async def prune(self, request: ApiRequest) -> StreamResponse:
        """ImagePrune."""
        return reply(await self._images.prune(request.filters()))

    async def load(self, request: ApiRequest) -> StreamResponse:
        """ImageLoad: an archive in, what was loaded out, one JSON object a line; with ``quiet=0`` its layers, too.

        As with dockerd the head of the answer comes after the archive: aiohttp's client closes the file that it sends
        when it sees one (aiodocker's ``import_image``).
        """
        body = io.BufferedReader(body_of(request.http), buffer_size=1 << 20)
        platforms = check_platforms(request.platforms(), request.version)
        quiet = request.flag("quiet", default=True)
        steps = iterate_in_thread(lambda: self._images.load(body, platforms))
        return await stream_with_errors(request, _without_layers(steps) if quiet else steps)

    async def create(self, request: ApiRequest) -> StreamResponse:
        """ImageCreate: pull from a registry, or import an archive from the body."""
        if request.text("fromImage"):
            return await stream(request, pull_of(request, self._distribution))
        source = request.text("fromSrc")
        if not source:
            raise InvalidInput("neither fromImage nor fromSrc says what the image is to be made of")
        if source != "-":
            return await stream(
                request, iterate_in_thread(lambda: self._images.import_from(source, *_import_options(request)))
            )
        return await finished(self._import(request))

    async def _import(self, request: ApiRequest) -> StreamResponse:
        body = io.BufferedReader(body_of(request.http), buffer_size=1 << 20)
        identifier = await in_thread(lambda: self._images.import_(body, *_import_options(request)))
        response = await open_stream(request.http, "application/json")
        await response.write(encode({"status": identifier}))
        return response

    async def save(self, request: ApiRequest) -> StreamResponse:
        """ImageGet, ImageGetAll: an archive of one or several images."""
        names = [request.path["name"]] if "name" in request.path else _names(request)
        platforms = check_platforms(request.platforms(), request.version)
        await self._images.check_selection(names, platforms)  # while there can still be a status code
        response = await open_stream(request.http, _TAR)
        writer = AnswerWriter(response)
        await in_thread(lambda: self._images.save(names, writer.write, platforms))
        await writer.finish()
        return response


def _import_options(request: ApiRequest) -> tuple[str, Sequence[str], str, str]:
    """What an imported image is to be: its name, changes to it, its comment, its platform."""
    name = request.text("repo") + (_tag_suffix(request.text("tag")) if request.text("repo") else "")
    return name, request.texts("changes"), request.text("message"), request.platform()


def _names(request: ApiRequest) -> list[str]:
    names = [name for text in request.texts("names") for name in text.split(",") if name]
    if not names:
        raise InvalidInput("no image names were given to be saved")
    return names


def _tag_suffix(tag: str) -> str:
    """Return what a tag or digest adds to a name."""
    if not tag:
        return ""
    return f"@{tag}" if ":" in tag else f":{tag}"


async def _without_layers(steps: AsyncGenerator[ProgressMessage, None]) -> AsyncGenerator[ProgressMessage, None]:
    """The messages for ``quiet``: none about single layers."""
    async with aclosing(steps):
        async for step in steps:
            if "stream" in step:
                yield step
