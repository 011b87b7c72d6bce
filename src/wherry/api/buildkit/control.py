"""moby.buildkit.v1.Control: builds, what happens in them, their history, the cache, sessions; and health."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from wherry.api.buildkit.grpc import Call, Code, GrpcError, Method
from wherry.api.buildkit.proto import common_pb2
from wherry.api.buildkit.proto import control_pb2 as pb
from wherry.api.buildkit.requests import build_request
from wherry.api.buildkit.status import batches, timestamp
from wherry.build.model.service import PruneOptions
from wherry.content.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry.api.buildkit.builds import Bridges
    from wherry.api.buildkit.workers import Workers
    from wherry.build.model.service import BuildRecord, BuildService, CacheRecord

__all__ = ["Control"]

_SERVICE: Final = "/moby.buildkit.v1.Control/"
ANSWER_LIMIT: Final = 3 << 20  #: bytes of one answer, from which on what is long in it is left out: clients take 4 MB
_STARTED, _COMPLETE, _DELETED = range(3)

SessionHandler = "Callable[[Call[common_pb2.BytesMessage, common_pb2.BytesMessage]], Awaitable[None]]"


class Control:
    """The service.

    :param tunnel: carries a session that is inside of a call.
    """

    def __init__(
        self,
        service: BuildService,
        bridges: Bridges,
        workers: Workers,
        tunnel: Callable[[Call[common_pb2.BytesMessage, common_pb2.BytesMessage]], Awaitable[None]],
    ) -> None:
        self._service = service
        self._bridges = bridges
        self._workers = workers
        self._tunnel = tunnel

    def methods(self) -> dict[str, Method[Any, Any]]:
        """Its methods, and those of health, by path."""
        return {
            _SERVICE + "ListWorkers": Method(pb.ListWorkersRequest, self.list_workers),
            _SERVICE + "Info": Method(pb.InfoRequest, self.info),
            _SERVICE + "Solve": Method(pb.SolveRequest, self.solve),
            _SERVICE + "Status": Method(pb.StatusRequest, stream=self.status),
            _SERVICE + "ListenBuildHistory": Method(pb.BuildHistoryRequest, stream=self.history),
            _SERVICE + "UpdateBuildHistory": Method(pb.UpdateBuildHistoryRequest, self.update_history),
            _SERVICE + "DiskUsage": Method(pb.DiskUsageRequest, self.disk_usage),
            _SERVICE + "Prune": Method(pb.PruneRequest, stream=self.prune),
            _SERVICE + "Session": Method(common_pb2.BytesMessage, stream=self._tunnel),
            "/grpc.health.v1.Health/Check": Method(common_pb2.HealthCheckRequest, self.health),
        }

    async def health(self, _request: common_pb2.HealthCheckRequest, _call: object) -> common_pb2.HealthCheckResponse:
        """All is well."""
        return common_pb2.HealthCheckResponse(status=1)

    async def list_workers(self, _request: pb.ListWorkersRequest, _call: object) -> pb.ListWorkersResponse:
        """The one worker."""
        return pb.ListWorkersResponse(record=await self._workers.records())

    async def info(self, _request: pb.InfoRequest, _call: object) -> pb.InfoResponse:
        """The version."""
        return pb.InfoResponse(buildkitVersion=self._workers.version())

    # --- builds

    async def solve(self, request: pb.SolveRequest, _call: object) -> pb.SolveResponse:
        """Build: as the request says, or as the client drives it. Ends with the build."""
        wanted = await in_thread(build_request, request)
        if wanted.frontend or request.Definition.ops:
            return pb.SolveResponse(ExporterResponse=await self._service.build(wanted))
        async with self._bridges.opened(wanted, request.FrontendInputs, internal=request.Internal) as bridge:
            return pb.SolveResponse(ExporterResponse=await bridge.outcome())

    async def status(self, call: Call[pb.StatusRequest, pb.StatusResponse]) -> None:
        """What happens in a build, until it ends."""
        ref = (await _only(call)).Ref
        await call.begin()
        hidden = asyncio.create_task(self._bridges.hidden_ended(ref))
        events = asyncio.create_task(self._send_status(ref, call))
        try:
            await asyncio.wait({hidden, events}, return_when=asyncio.FIRST_COMPLETED)
            if events.done():
                events.result()
        finally:
            hidden.cancel()
            events.cancel()
            await asyncio.gather(hidden, events, return_exceptions=True)

    async def _send_status(self, ref: str, call: Call[pb.StatusRequest, pb.StatusResponse]) -> None:
        async with aclosing(batches(self._service.progress(ref))) as messages:
            async for message in messages:
                await call.send(message)

    # --- the history

    async def history(self, call: Call[pb.BuildHistoryRequest, pb.BuildHistoryEvent]) -> None:
        """Builds of the past and of now, and then what changes of them, unless the client has enough."""
        request = await _only(call)
        await call.begin()
        changes = self._service.watch_records()
        records = [one for one in self._service.records() if _fits(one, request)]
        if request.Limit > 0:
            records = records[-request.Limit :]
        for record in records:
            await call.send(_event(record))
        if request.EarlyExit:
            return
        async for record in changes:
            if _fits(record, request):
                await call.send(_event(record))

    async def update_history(
        self, request: pb.UpdateBuildHistoryRequest, _call: object
    ) -> pb.UpdateBuildHistoryResponse:
        """Keep a record, or forget it."""
        if request.Finalize and not request.Delete:
            return pb.UpdateBuildHistoryResponse()  # all of it is on the disk anyhow
        await self._service.update_record(
            request.Ref, pinned=None if request.Delete else request.Pinned, delete=request.Delete
        )
        return pb.UpdateBuildHistoryResponse()

    # --- the cache

    async def disk_usage(self, request: pb.DiskUsageRequest, _call: object) -> pb.DiskUsageResponse:
        """The entries of the cache."""
        found = await self._service.disk_usage(list(request.filter))
        answer = pb.DiskUsageResponse(record=[_usage(one) for one in found])
        if answer.ByteSize() > ANSWER_LIMIT:
            for record in answer.record:
                record.ClearField("Description")
        return answer

    async def prune(self, call: Call[pb.PruneRequest, pb.UsageRecord]) -> None:
        """Remove entries; tells which."""
        request = await _only(call)
        options = PruneOptions(
            all=request.all,
            filters=tuple(request.filter),
            keep_duration=request.keepDuration,
            reserved_space=request.reservedSpace,
            max_used_space=request.maxUsedSpace,
            min_free_space=request.minFreeSpace,
        )
        await call.begin()
        async for record in self._service.prune(options):
            await call.send(_usage(record))


async def _only(call: Call[Any, Any]) -> Any:
    message = await call.receive()
    if message is None:
        raise GrpcError(Code.INTERNAL, "grpc: no message was sent")
    return message


def _fits(record: BuildRecord, request: pb.BuildHistoryRequest) -> bool:
    return (not request.Ref or record.ref == request.Ref) and (not request.ActiveOnly or record.completed is None)


def _event(record: BuildRecord) -> pb.BuildHistoryEvent:
    described = pb.BuildHistoryRecord(
        Ref=record.ref,
        Frontend=record.frontend,
        FrontendAttrs=record.options,
        ExporterResponse=record.exporter_response,
        CreatedAt=timestamp(record.created),
        Generation=record.generation,
        pinned=record.pinned,
        numCachedSteps=record.cached,
        numTotalSteps=record.steps,
        numCompletedSteps=record.completed_steps,
        numWarnings=record.warnings,
    )
    if record.completed is not None:
        described.CompletedAt.CopyFrom(timestamp(record.completed))
    if record.error:
        described.error.code = Code.UNKNOWN
        described.error.message = record.error[:100_000]
    if described.ByteSize() > ANSWER_LIMIT:
        described.ClearField("FrontendAttrs")
        described.ClearField("ExporterResponse")
    return pb.BuildHistoryEvent(type=_STARTED if record.completed is None else _COMPLETE, record=described)


def _usage(record: CacheRecord) -> pb.UsageRecord:
    described = pb.UsageRecord(
        ID=record.id,
        Mutable=record.mutable,
        InUse=record.in_use,
        Size=record.size,
        CreatedAt=timestamp(record.created),
        UsageCount=record.usage_count,
        Description=record.description,
        RecordType=record.kind,
        Shared=record.shared,
        Parents=record.parents,
    )
    if record.last_used is not None:
        described.LastUsedAt.CopyFrom(timestamp(record.last_used))
    return described
