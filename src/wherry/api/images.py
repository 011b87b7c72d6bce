"""Images: listed, looked at, named, removed, loaded and saved."""

from __future__ import annotations

import io
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol

from wherry.api import errors
from wherry.api.answers import empty, encode, open_stream, reply
from wherry.api.distribution import pull_of, stream
from wherry.api.routing import Route
from wherry.api.transfer import AnswerWriter, BodyReader, finished, in_thread, iterate_in_thread
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import BinaryIO

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json
    from wherry.api.distribution import Distribution
    from wherry.api.query import Filters

log = logging.getLogger(__name__)

_TAR: Final = "application/x-tar"


class Images(Protocol):
    """What this file needs of the engine. What has no ``async`` is quick, or is called in a thread where it says so."""

    def list(self, filters: Filters, *, all: bool, shared_size: bool, digests: bool) -> Sequence[Json]:
        """Return summaries, the newest first."""

    def inspect(self, name: str, *, manifests: bool = False, platform: str = "") -> Json:
        """Return everything about one image, and if asked what its index lists."""

    def check_platform(self, name: str, platforms: Sequence[str]) -> None:
        """Raise where an image is not there, or is for another platform."""

    def check_selection(self, names: Sequence[str], platforms: Sequence[str]) -> None:
        """Raise where images that are to be saved are not there, or are for another platform."""

    def history(self, name: str) -> Sequence[Json]:
        """Return how it was made, the last step first."""

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name."""

    async def remove(self, name: str, *, force: bool, prune: bool) -> Sequence[Json]:
        """Remove a name, and with the last name the image."""

    async def prune(self, filters: Filters) -> Json:
        """Remove what nobody uses."""

    def load(self, stream: BinaryIO, platforms: Sequence[str]) -> Generator[Json, None, None]:
        """Load an archive and yield what happens (in a thread)."""

    def save(self, names: Sequence[str], write: Callable[[bytes], object], platforms: Sequence[str]) -> None:
        """Write an archive of images (in a thread)."""

    def import_(self, stream: BinaryIO, name: str, changes: Sequence[str], message: str, platform: str) -> str:
        """Make an image of a root file system's archive and return its ID (in a thread)."""

    def import_from(
        self, url: str, name: str, changes: Sequence[str], message: str, platform: str
    ) -> Generator[Json, None, None]:
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
            Route("GET", "/images/{name:path}/get", self.save, streaming=True),
            Route("POST", "/images/{name:path}/tag", self.tag),
            Route("DELETE", "/images/{name:path}", self.remove),
        ]

    async def list(self, call: Call) -> StreamResponse:
        """ImageList."""
        filters = call.filters()
        if old := call.text("filter"):  # up to API 1.40
            filters.setdefault("reference", []).append(old)
        summaries = self._images.list(
            filters, all=call.flag("all"), shared_size=call.flag("shared-size"), digests=call.flag("digests")
        )
        return reply(summaries)

    async def inspect(self, call: Call) -> StreamResponse:
        """ImageInspect."""
        name, manifests = call.path["name"], call.flag("manifests")
        return reply(self._images.inspect(name, manifests=manifests, platform=call.platform()))

    async def history(self, call: Call) -> StreamResponse:
        """ImageHistory."""
        self._images.check_platform(call.path["name"], call.platforms())
        return reply(self._images.history(call.path["name"]))

    async def tag(self, call: Call) -> StreamResponse:
        """ImageTag."""
        await self._images.tag(call.path["name"], call.text("repo"), call.text("tag"))
        return empty(201)

    async def remove(self, call: Call) -> StreamResponse:
        """ImageDelete."""
        removed = await self._images.remove(call.path["name"], force=call.flag("force"), prune=not call.flag("noprune"))
        return reply(removed)

    async def prune(self, call: Call) -> StreamResponse:
        """ImagePrune."""
        return reply(await self._images.prune(call.filters()))

    async def load(self, call: Call) -> StreamResponse:
        """ImageLoad: an archive in, progress out, one JSON object a line."""
        body = io.BufferedReader(BodyReader(call.request.content), buffer_size=1 << 20)
        platforms = call.platforms()
        response = await open_stream(call.request, "application/json")
        try:
            async with aclosing(iterate_in_thread(lambda: self._images.load(body, platforms))) as steps:
                async for step in steps:
                    await response.write(encode(step))
        except ConnectionError:
            raise  # the client has left
        except Exception as error:  # the head is sent; from here an error is a line of the stream
            await _report(response, error, call)
        return response

    async def create(self, call: Call) -> StreamResponse:
        """ImageCreate: pull from a registry, or import an archive from the body."""
        if call.text("fromImage"):
            return await stream(call, pull_of(call, self._distribution))
        source = call.text("fromSrc")
        if not source:
            raise InvalidInput("neither fromImage nor fromSrc says what the image is to be made of")
        if source != "-":
            return await stream(call, iterate_in_thread(lambda: self._images.import_from(source, *_wishes(call))))
        return await finished(self._import(call))

    async def _import(self, call: Call) -> StreamResponse:
        body = io.BufferedReader(BodyReader(call.request.content), buffer_size=1 << 20)
        identifier = await in_thread(lambda: self._images.import_(body, *_wishes(call)))
        response = await open_stream(call.request, "application/json")
        await response.write(encode({"status": identifier}))
        return response

    async def save(self, call: Call) -> StreamResponse:
        """ImageGet, ImageGetAll: an archive of one or several images."""
        names = [call.path["name"]] if "name" in call.path else _names(call)
        platforms = call.platforms()
        self._images.check_selection(names, platforms)  # while there can still be a status code
        response = await open_stream(call.request, _TAR)
        writer = AnswerWriter(response)
        await in_thread(lambda: self._images.save(names, writer.write, platforms))
        await writer.finish()
        return response


def _wishes(call: Call) -> tuple[str, Sequence[str], str, str]:
    """What an imported image is to be: its name, changes to it, its comment, its platform."""
    name = call.text("repo") + (_tag_suffix(call.text("tag")) if call.text("repo") else "")
    return name, call.texts("changes"), call.text("message"), call.platform()


def _names(call: Call) -> list[str]:
    names = [name for text in call.texts("names") for name in text.split(",") if name]
    if not names:
        raise InvalidInput("no image names were given to be saved")
    return names


def _tag_suffix(tag: str) -> str:
    """Return what a tag or digest adds to a name."""
    if not tag:
        return ""
    return f"@{tag}" if ":" in tag else f":{tag}"


async def _report(response: StreamResponse, error: Exception, call: Call) -> None:
    """Write an error into a stream of progress, as dockerd's clients expect it."""
    sentence = errors.sentence_of(error)
    log.warning("a request failed", extra={"request": f"POST {call.request.path}", "error": sentence})
    line: dict[str, Any] = {"errorDetail": {"message": sentence}, "error": sentence}
    await response.write(encode(line))
