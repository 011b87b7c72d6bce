"""Builds as Docker had them before BuildKit: build from the request's body, cancel, prune."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from wherry.api.classic import build_secrets, registry_config
from wherry.api.classic.calling_session import CallingSession
from wherry.api.classic.calls import Calls, ClientCalls, merged
from wherry.api.classic.context import Contexts
from wherry.api.classic.events import BuildEvents, message
from wherry.api.classic.query import CLIENT_SESSION, UPLOAD_REQUEST, BuildQuery, parse
from wherry.api.classic.running import Running
from wherry.api.classic.text import ClassicText, failure, result
from wherry.api.classic.uploads import Uploads
from wherry.api.http import errors
from wherry.api.http.answers import empty, reply
from wherry.api.http.progress import stream
from wherry.api.http.routing import Route
from wherry.api.routes.build_shell import BuildShell, Shells
from wherry.build.model.request import BuildRequest
from wherry.build.model.service import PruneOptions
from wherry.docker.times import moment
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from aiohttp import StreamReader
    from aiohttp.web import StreamResponse

    from wherry.api.http.hijack import HangupWatch
    from wherry.api.http.request import ApiRequest
    from wherry.build.model.service import BuildService
    from wherry.docker.progress import ProgressMessage

log = logging.getLogger(__name__)

_SHORT: Final = 16 << 10  # characters of a query that is read on the event loop
_KEPT: Final = 1000  # messages of a quiet build, which are only shown when it fails
_FIELDS: Final = ("description", "id", "inuse", "parent", "private", "shared", "type")
_FILTERS: Final = (*_FIELDS, "label", "label!", "until", "unused-for")
_ID: Final = "containerimage.config.digest"


class BuildRoutes:
    """The operations of the classic builder's API.

    :param contexts: a directory for contexts, on the same file system as the builder's.
    :param host_gateway: gives the address that ``host-gateway`` means.
    :param watch: notices clients that have gone.
    :ivar shells: in steps that have failed.
    """

    def __init__(
        self, builds: BuildService, contexts: Path, host_gateway: Callable[[], str], watch: HangupWatch
    ) -> None:
        self.shells: Final = Shells(watch)
        self._builds = builds
        self._contexts = Contexts(contexts)
        self._host_gateway = host_gateway
        self._watch = watch
        self._uploads = Uploads()
        self._calls = Calls()

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/build", self.build, streaming=True),
            Route("POST", "/build/cancel", self.cancel),
            Route("POST", "/build/prune", self.prune),
            Route("POST", "/wherry/build/calls/{token}", self.answer, streaming=True),
            *self.shells.routes(),
        ]

    async def build(self, request: ApiRequest) -> StreamResponse:
        """ImageBuild. A client that goes ends the build."""
        await self._builds.ready()
        wanted = await self._wanted(request)
        if wanted.upload_of:
            await self._uploads.give(wanted.upload_of, request.http.content)
            return empty(200)
        return await stream(request, self._messages(request, wanted))

    async def answer(self, request: ApiRequest) -> StreamResponse:
        """What a build has asked its client for."""
        return await self._calls.serve(request)

    async def _wanted(self, request: ApiRequest) -> BuildQuery:
        query = request.http.rel_url.query
        if len(request.http.rel_url.raw_query_string) < _SHORT:
            return parse(query, self._host_gateway)
        gateway = self._host_gateway()
        return await asyncio.to_thread(parse, query, lambda: gateway)

    async def cancel(self, request: ApiRequest) -> StreamResponse:
        """BuildCancel."""
        if not (identifier := request.text("id")):
            raise InvalidInput("build ID not provided")
        await self._builds.cancel(identifier)
        return empty(200)

    async def prune(self, request: ApiRequest) -> StreamResponse:
        """BuildPrune."""
        deleted, reclaimed = [], 0
        options = _prune_options(request)
        await self._builds.ready()
        await self._contexts.forget()
        async for record in self._builds.prune(options):
            deleted.append(record.id)
            reclaimed += record.size
        return reply({"CachesDeleted": deleted or None, "SpaceReclaimed": reclaimed})

    # --- one build --------------------------------------------------------------------------------

    async def _messages(self, request: ApiRequest, wanted: BuildQuery) -> AsyncGenerator[ProgressMessage, None]:
        """A build's messages; what fails before the first of them is raised."""
        has_begun, calls = False, self._calls.of_build()
        async with AsyncExitStack() as stack:
            try:
                shell = BuildShell(self.shells, wanted.shell) if wanted.shell is not None else None
                asked = await self._request(request, wanted, stack, calls, shell)
                running = Running(self._builds, asked, calls.messages, shell.tokens if shell is not None else None)
                shown = _quietly if wanted.quiet and wanted.version == 1 else _SHOWN[wanted.version]
                messages = await stack.enter_async_context(aclosing(shown(running, wanted)))
                async for message in messages:
                    has_begun = True
                    yield message
            except ConnectionError:
                raise  # the client has left
            except Exception as error:
                if not has_begun:
                    raise
                sentence = errors.sentence_of(error)
                log.info("a build failed", extra={"error": sentence})
                yield failure(error, sentence, wanted.version)

    async def _request(
        self,
        request: ApiRequest,
        wanted: BuildQuery,
        stack: AsyncExitStack,
        calls: ClientCalls,
        shell: BuildShell | None,
    ) -> BuildRequest:
        """What the builder is asked for; its session lasts as long as the stack."""
        options = dict(wanted.options)
        session = wanted.session
        body = await self._body(request, wanted, stack)
        if body is not None:
            context = await stack.enter_async_context(self._contexts.unpacked(body))
            if not context.is_archive:
                options["filename"] = "Dockerfile"
        if body is not None or not session:
            known = registry_config.parse(request.http.headers.get("X-Registry-Config", ""))
            mine = CallingSession(
                calls,
                self._contexts,
                self._watch,
                context=context.used if body is not None else None,
                credentials=partial(registry_config.credentials_for, known),
                secret_values=build_secrets.parse(request.http.headers.get(build_secrets.HEADER, "")),
                takes=wanted.takes,
                directories=wanted.directories,
                agents=wanted.agents,
                layouts=wanted.layouts,
            )
            stack.push_async_callback(mine.close)
            self._builds.attach(mine)
            stack.push_async_callback(lambda: self._builds.detach(mine.id))
            session = mine.id
        return BuildRequest(
            ref=wanted.identifier or secrets.token_hex(16),
            session=session,
            options=options,
            exports=wanted.exports,
            cache=wanted.cache,
            entitlements=wanted.entitlements,
            joins=wanted.joins,
            binds=wanted.binds,
            policy=wanted.policy,
            on_failure=shell.offer if shell is not None else None,
            internal="requestid" in options,
            limits=wanted.limits,
        )

    async def _body(self, request: ApiRequest, wanted: BuildQuery, stack: AsyncExitStack) -> StreamReader | None:
        """Where the context's archive comes from; None: the context is elsewhere."""
        if wanted.remote == CLIENT_SESSION and not wanted.session:
            raise InvalidInput("a context from the client's session needs a session")
        if wanted.remote == UPLOAD_REQUEST:
            return await stack.enter_async_context(self._uploads.taken(wanted.identifier))
        return None if wanted.remote else request.http.content


# --- how a build is shown -------------------------------------------------------------------------


async def _classically(running: Running, wanted: BuildQuery) -> AsyncGenerator[ProgressMessage, None]:
    """The classic builder's lines."""
    text = ClassicText(removes=wanted.removes, removes_failed=wanted.removes_failed)
    try:
        async with aclosing(running.events()) as events:
            async for event in events:
                if not text.is_planned and running.solved is not None:
                    await asyncio.to_thread(text.plan, running.solved.steps)
                for message in text.take(event):
                    yield message
    except Exception:
        for message in text.fail():
            yield message
        raise
    identifier = running.response.get(_ID, "")
    for message in text.end(identifier):
        yield message
    unused = running.solved.unused_arguments if running.solved is not None else ()
    for message in result(identifier, wanted.tags, unused):
        yield message


async def _completely(running: Running, wanted: BuildQuery) -> AsyncGenerator[ProgressMessage, None]:
    """All that happens, for wherry's own client; first, the build's ID, last, what the exporters say."""
    translated, is_named = BuildEvents(running.tokens), False
    async with aclosing(merged(running.events(), running.messages)) as events:
        async for event in events:
            if not is_named:
                is_named = True
                yield message("build", Ref=running.ref)
            yield event if isinstance(event, dict) else translated.take(event)
    yield message("result", response=running.response, answer=running.answer)
    if identifier := running.response.get(_ID, ""):
        yield {"aux": {"ID": identifier}}


async def _quietly(running: Running, wanted: BuildQuery) -> AsyncGenerator[ProgressMessage, None]:
    """Nothing but the ID; or, where it fails, the last of what would have been shown."""
    kept: deque[ProgressMessage] = deque(maxlen=_KEPT)
    failed: Exception | None = None
    async with aclosing(_classically(running, wanted)) as messages:
        try:
            async for message in messages:
                kept.append(message)
        except ConnectionError:
            raise
        except Exception as error:
            failed = error
    if failed is not None:
        for message in kept:
            yield message
        raise failed
    if identifier := running.response.get(_ID, ""):
        yield {"stream": f"{identifier}\n"}


async def _in_traces(running: Running, wanted: BuildQuery) -> AsyncGenerator[ProgressMessage, None]:
    """BuildKit's messages, each in a line."""
    from wherry.api.classic.traces import traces  # noqa: PLC0415 - protobuf is imported at its first use

    async with aclosing(running.events()) as events, aclosing(traces(events)) as messages:
        async for message in messages:
            yield message
    if identifier := running.response.get(_ID, ""):
        yield {"id": "moby.image.id", "aux": {"ID": identifier}}


_SHOWN: Final = {1: _classically, 2: _in_traces, 3: _completely}


# --- pruning --------------------------------------------------------------------------------------


def _prune_options(request: ApiRequest) -> PruneOptions:
    filters = request.filters(_FILTERS)
    return PruneOptions(
        all=request.flag("all"),
        filters=_cache_filter(filters),
        keep_duration=_keep_duration(filters),
        reserved_space=request.integer("reserved-space") or request.integer("keep-storage"),
        max_used_space=request.integer("max-used-space"),
        min_free_space=request.integer("min-free-space"),
    )


def _cache_filter(filters: dict[str, list[str]]) -> tuple[str, ...]:
    """Filters of fields as BuildKit has them: all of one list have to fit."""
    words = []
    for field in _FIELDS:
        values = filters.get(field)
        if values is None:
            continue
        if len(values) > 1:
            raise InvalidInput(f"filters expect only one value: {field}")
        if not values:
            words.append(field)
        else:
            words.append(f"{field}{'~=' if field == 'id' else '=='}{values[0]}")
    return (",".join(words),) if words else ()


def _keep_duration(filters: dict[str, list[str]]) -> int:
    """How long something has to be unused, in nanoseconds."""
    values = [*filters.get("until", []), *filters.get("unused-for", [])]
    if not values:
        return 0
    if len(values) > 1:
        raise InvalidInput("filters expect only one value: until")
    now = time.time_ns()
    return max(0, now - moment(values[0], now=now))
