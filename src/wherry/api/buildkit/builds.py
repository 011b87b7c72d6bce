"""The builds that clients drive themselves: from Control/Solve to its answer, with what LLBBridge is asked between."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from wherry.api.buildkit.grpc import Code, GrpcError
from wherry.api.buildkit.results import Results
from wherry.api.buildkit.status_errors import as_status
from wherry.content.threads import finished
from wherry.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping
    from typing import Any

    from wherry.api.buildkit.proto.llb_pb2 import Definition
    from wherry.build.model.container import BuildContainer
    from wherry.build.model.request import BuildRequest, FrontResult
    from wherry.build.model.service import BuildService, RunningBuild

__all__ = ["Bridge", "Bridges"]

PATIENCE: Final = 6.0  #: seconds that a call waits for its build to begin, as in BuildKit: clients begin both at once
_HIDDEN: Final = 100  #: builds that the builder never knew, whose end somebody may still ask for


class Bridge:
    """One build that its client drives.

    :param internal: clients ask so for what the daemon can; nothing is built, and nobody shall see it.
    """

    def __init__(
        self, service: BuildService, request: BuildRequest, inputs: Mapping[str, Definition], *, internal: bool
    ) -> None:
        self.request = replace(request, keeps_failed=True)
        self.inputs = inputs
        self.results = Results()
        self.containers: dict[str, BuildContainer] = {}  #: by the client's IDs; they end with the build
        self.ended = asyncio.Event()
        self._service = service
        self._running: RunningBuild | None = None
        self._returned: asyncio.Future[FrontResult] = asyncio.get_running_loop().create_future()
        self._internal = internal
        if not internal:
            self._running = service.begin(self.request)

    @property
    def is_hidden(self) -> bool:
        """Whether the builder knows nothing of it."""
        return self._running is None

    @property
    def running(self) -> RunningBuild:
        """The build; of one that is internal, it begins when it is asked for.

        :raises Unavailable: it has ended.
        """
        if self.ended.is_set():
            raise Unavailable(f"the build {self.request.ref[:100]} has ended")
        if self._running is None:
            self._running = self._service.begin(self.request)
        return self._running

    def give_back(self, result: FrontResult | GrpcError) -> None:
        """The client is done: with a result, or an error."""
        if self._returned.done():
            raise Conflict("the build has a result already")
        if isinstance(result, GrpcError):
            self._returned.set_exception(result)
            self._returned.exception()  # somebody may be waiting for it, or not
        else:
            self._returned.set_result(result)

    async def outcome(self) -> dict[str, str]:
        """Wait for the client's result, and finish; what the exporters say.

        :raises GrpcError: the client has given up.
        """
        result = await self._returned
        if self._running is None:
            return {}
        return await self._running.finish(result)

    async def fail(self, error: Exception) -> None:
        """End it, if that has not happened."""
        if self._running is not None:
            await self._running.fail(error)

    def reported(self, error: Exception) -> GrpcError:
        """An error, with what clients show of it."""
        if isinstance(error, GrpcError):
            return error
        status = as_status(error, self.results)
        return GrpcError(status.code, status.message, status.SerializeToString() if status.details else b"")


class Bridges:
    """All builds that are driven by clients."""

    def __init__(self, service: BuildService) -> None:
        self._service = service
        self._open: dict[str, Bridge] = {}
        self._hidden: deque[str] = deque(maxlen=_HIDDEN)
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def opened(
        self, request: BuildRequest, inputs: Mapping[str, Definition], *, internal: bool
    ) -> AsyncIterator[Bridge]:
        """Begin a build; at the end of the block it has ended.

        :raises Conflict: there is one with that ID.
        """
        if request.ref in self._open:
            raise Conflict(f"job {request.ref} already exists")
        bridge = Bridge(self._service, request, inputs, internal=internal)
        self._open[request.ref] = bridge
        self._changed.set()
        self._changed = asyncio.Event()
        try:
            yield bridge
        except asyncio.CancelledError:
            await _to_its_end(bridge.fail(Unavailable("the client of the build has gone")))
            raise
        except Exception as error:
            await _to_its_end(bridge.fail(error))
            raise bridge.reported(error) from error
        finally:
            del self._open[request.ref]
            if bridge.is_hidden:
                self._hidden.append(request.ref)
            bridge.ended.set()

    async def find(self, ref: str) -> Bridge:
        """A build; waits for it for a moment.

        :raises GrpcError: there is none.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while ref not in self._open:
                    await self._changed.wait()
        except TimeoutError:
            raise GrpcError(Code.NOT_FOUND, f"no such job {ref[:100]}") from None
        return self._open[ref]

    async def hidden_ended(self, ref: str) -> None:
        """Wait until a build has ended that the builder knows nothing of; it may be for ever.

        A client that asks what happens in a build may come when that has ended.
        """
        while ref not in self._hidden:
            bridge = self._open.get(ref)
            if bridge is not None and bridge.is_hidden:
                await bridge.ended.wait()
            else:
                await self._changed.wait()


async def _to_its_end(ending: Coroutine[Any, Any, None]) -> None:
    """Wait for the end of a build that fails already, also when cancelled once more; its error is told already."""
    await finished(asyncio.ensure_future(ending))
