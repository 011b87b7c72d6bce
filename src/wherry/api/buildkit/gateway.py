"""moby.buildkit.v1.frontend.LLBBridge: a client asks for what it needs to drive its build.

The build is named by the metadata `BUILD_ID` of each call.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final

from wherry.api.buildkit import capabilities
from wherry.api.buildkit.definition import decode, ranges_of
from wherry.api.buildkit.gateway_containers import GatewayContainers, container_of
from wherry.api.buildkit.gomode import to_go
from wherry.api.buildkit.grpc import Call, Code, GrpcError, Method
from wherry.api.buildkit.proto import fsutil_pb2
from wherry.api.buildkit.proto import gateway_pb2 as pb
from wherry.api.buildkit.requests import decoded_inputs, frontend_of
from wherry.api.buildkit.results import CALL
from wherry.api.buildkit.status_errors import status_of
from wherry.build.model.progress import WarningProgress
from wherry.content.threads import in_thread
from wherry.errors import InvalidInput, Unsupported
from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from google.protobuf.message import Message

    from wherry.api.buildkit.builds import Bridge, Bridges
    from wherry.api.buildkit.proto import llb_pb2
    from wherry.api.buildkit.workers import Workers
    from wherry.build.model.request import FrontResult
    from wherry.build.model.service import FileInfo

__all__ = ["Gateway"]

BUILD_ID: Final = "buildkit-controlapi-buildid"
READ_LIMIT: Final = 15 << 20  #: bytes of a file that is read: clients take 16 MB here
_SERVICE: Final = "/moby.buildkit.v1.frontend.LLBBridge/"


class Gateway:
    """The service."""

    def __init__(self, bridges: Bridges, workers: Workers) -> None:
        self._bridges = bridges
        self._workers = workers
        self._containers = GatewayContainers(bridges, BUILD_ID)

    def methods(self) -> dict[str, Method[Any, Any]]:
        """Its methods, by path."""
        answers: dict[str, tuple[type[Message], Callable[[Any, Bridge], Awaitable[Message]]]] = {
            "Solve": (pb.SolveRequest, self.solve),
            "Return": (pb.ReturnRequest, self.give_back),
            "Evaluate": (pb.EvaluateRequest, self.evaluate),
            "ReadFile": (pb.ReadFileRequest, self.read_file),
            "ReadFileContainer": (pb.ReadFileRequest, self.read_file_of_container),
            "ReadDir": (pb.ReadDirRequest, self.read_directory),
            "ReadDirContainer": (pb.ReadDirRequest, self.read_directory_of_container),
            "StatFile": (pb.StatFileRequest, self.stat_file),
            "StatFileContainer": (pb.StatFileRequest, self.stat_file_of_container),
            "ResolveImageConfig": (pb.ResolveImageConfigRequest, self.resolve_image),
            "ResolveSourceMeta": (pb.ResolveSourceMetaRequest, self.resolve_source),
            "Inputs": (pb.InputsRequest, self.inputs),
            "Warn": (pb.WarnRequest, self.warn),
            "Ping": (pb.PingRequest, self.ping),
            "NewContainer": (pb.NewContainerRequest, self._containers.new),
            "ReleaseContainer": (pb.ReleaseContainerRequest, self._containers.release),
        }
        found: dict[str, Method[Any, Any]] = {
            _SERVICE + name: Method(request, self._bridged(answer)) for name, (request, answer) in answers.items()
        }
        return found | {_SERVICE + "ExecProcess": self._containers.execute()}

    def _bridged(self, answer: Callable[[Any, Bridge], Awaitable[Message]]) -> Callable[[Any, Any], Awaitable[Message]]:
        async def call(request: Message, call: Call[Any, Any]) -> Message:
            bridge = await self._bridges.find(call.first(BUILD_ID))
            try:
                return await answer(request, bridge)
            except GrpcError:
                raise
            except Exception as error:
                raise bridge.reported(error) from error

        return call

    async def ping(self, _request: pb.PingRequest, _bridge: Bridge) -> pb.PongResponse:
        """What the daemon can."""
        return pb.PongResponse(
            FrontendAPICaps=[pb.APICap(ID=name, Enabled=True) for name in capabilities.FRONTEND],
            LLBCaps=[pb.APICap(ID=name, Enabled=True) for name in capabilities.LLB],
            Workers=await self._workers.records(),
        )

    async def solve(self, request: pb.SolveRequest, bridge: Bridge) -> pb.SolveResponse:
        """Ask a frontend, or hand in a graph."""
        bridge.results.spend(CALL + request.ByteSize())
        options = dict(request.FrontendOpt)
        if request.SourcePolicies:
            raise Unsupported("a source policy of a single call is not supported: it has to come with the build")
        decoded = await in_thread(decode, request.Definition)
        bridge.results.sources |= decoded.sources
        result = await bridge.running.solve(
            frontend_of(request.Frontend, options),
            options,
            await in_thread(decoded_inputs, request.FrontendInputs),
            decoded.edge,
        )
        if request.Evaluate:
            await _evaluate(bridge, result)
        as_array = request.allowResultArrayRef or not request.allowResultReturn
        message = await in_thread(lambda: bridge.results.give(result, as_array=as_array))
        bridge.results.spend(message.ByteSize())
        if not request.allowResultReturn and message.WhichOneof("result") == "ref":
            return pb.SolveResponse(ref=message.ref.id, result=message)
        return pb.SolveResponse(result=message)

    async def give_back(self, request: pb.ReturnRequest, bridge: Bridge) -> pb.ReturnResponse:
        """The client is done."""
        if request.HasField("error") and request.error.code != Code.OK:
            bridge.give_back(status_of(request.error))
        else:
            bridge.give_back(bridge.results.take(request.result))
        return pb.ReturnResponse()

    async def evaluate(self, request: pb.EvaluateRequest, bridge: Bridge) -> pb.EvaluateResponse:
        """Run what gives a result."""
        edge = bridge.results.edge(request.Ref)
        if edge is not None:
            await bridge.running.evaluate(edge)
        return pb.EvaluateResponse()

    async def read_file(self, request: pb.ReadFileRequest, bridge: Bridge) -> pb.ReadFileResponse:
        """A file's content."""
        edge, running = bridge.results.edge(request.Ref), bridge.running
        return await _read(request, partial(running.read_file, edge), partial(running.stat_file, edge))

    async def read_file_of_container(self, request: pb.ReadFileRequest, bridge: Bridge) -> pb.ReadFileResponse:
        """A file's content, in a mount of a container."""
        container, number = container_of(bridge, request.Ref), request.MountIndex
        return await _read(request, partial(container.read_file, number), partial(container.stat_file, number))

    async def read_directory(self, request: pb.ReadDirRequest, bridge: Bridge) -> pb.ReadDirResponse:
        """The entries of a directory."""
        edge = bridge.results.edge(request.Ref)
        found = await bridge.running.read_directory(edge, request.DirPath, request.IncludePattern)
        return pb.ReadDirResponse(entries=[_stat(one) for one in found])

    async def read_directory_of_container(self, request: pb.ReadDirRequest, bridge: Bridge) -> pb.ReadDirResponse:
        """The entries of a directory, in a mount of a container."""
        container = container_of(bridge, request.Ref)
        found = await container.read_directory(request.MountIndex, request.DirPath, request.IncludePattern)
        return pb.ReadDirResponse(entries=[_stat(one) for one in found])

    async def stat_file_of_container(self, request: pb.StatFileRequest, bridge: Bridge) -> pb.StatFileResponse:
        """One file, in a mount of a container."""
        found = await container_of(bridge, request.Ref).stat_file(request.MountIndex, request.Path)
        return pb.StatFileResponse(stat=_stat(found))

    async def stat_file(self, request: pb.StatFileRequest, bridge: Bridge) -> pb.StatFileResponse:
        """One file."""
        found = await bridge.running.stat_file(bridge.results.edge(request.Ref), request.Path)
        return pb.StatFileResponse(stat=_stat(found))

    async def resolve_image(
        self, request: pb.ResolveImageConfigRequest, bridge: Bridge
    ) -> pb.ResolveImageConfigResponse:
        """What an image's name means."""
        platform = _platform(request.Platform) if request.HasField("Platform") else ""
        found = await bridge.running.resolve_image(request.Ref, platform, request.ResolveMode)
        return pb.ResolveImageConfigResponse(Digest=str(found.digest), Config=found.config, Ref=found.name)

    async def resolve_source(
        self, request: pb.ResolveSourceMetaRequest, bridge: Bridge
    ) -> pb.ResolveSourceMetaResponse:
        """What a source means: of images, the digest and the configuration; others are what they are called."""
        identifier = request.Source.identifier
        kind, separator, name = identifier.partition("://")
        if not separator:
            raise InvalidInput(f"invalid source {identifier[:200]!r}")
        if kind != "docker-image":
            raise Unsupported(f"sources of type {kind[:100]} are not resolved before they are fetched")
        platform = _platform(request.Platform) if request.HasField("Platform") else ""
        found = await bridge.running.resolve_image(name, platform, request.ResolveMode)
        response = pb.ResolveSourceMetaResponse(Source=request.Source)
        response.Source.identifier = f"docker-image://{found.name}"
        response.Image.Digest = str(found.digest)
        response.Image.Config = b"" if request.Image.NoConfig else found.config
        return response

    async def inputs(self, _request: pb.InputsRequest, bridge: Bridge) -> pb.InputsResponse:
        """What came with the request to build."""
        return pb.InputsResponse(Definitions=bridge.inputs)

    async def warn(self, request: pb.WarnRequest, bridge: Bridge) -> pb.WarnResponse:
        """Show a warning."""
        bridge.results.spend(CALL + request.ByteSize())
        bridge.running.warn(
            WarningProgress(
                vertex=Digest(request.digest) if request.digest else Digest.from_bytes(b""),
                level=request.level,
                short=request.short.decode(errors="replace"),
                detail=tuple(line.decode(errors="replace") for line in request.detail),
                url=request.url,
                file=request.info.filename,
                source=request.info.data,
                ranges=ranges_of(request.ranges),
            )
        )
        return pb.WarnResponse()


async def _read(
    request: pb.ReadFileRequest,
    read: Callable[[str, int, int], Awaitable[bytes]],
    look: Callable[[str], Awaitable[FileInfo]],
) -> pb.ReadFileResponse:
    length = request.Range.Length if request.HasField("Range") and request.Range.Length > 0 else -1
    length = min(length, READ_LIMIT)
    offset = max(0, request.Range.Offset)
    if length < 0 and (await look(request.FilePath)).size - offset > READ_LIMIT:
        raise GrpcError(Code.RESOURCE_EXHAUSTED, f"file {request.FilePath[:200]} is too large to be read at once")
    return pb.ReadFileResponse(Data=await read(request.FilePath, offset, length))


async def _evaluate(bridge: Bridge, result: FrontResult) -> None:
    for ref in result.refs.values():
        if ref.edge is not None:
            await bridge.running.evaluate(ref.edge)


def _platform(platform: llb_pb2.Platform) -> str:
    return "/".join(part for part in (platform.OS, platform.Architecture, platform.Variant) if part)


def _stat(info: FileInfo) -> fsutil_pb2.Stat:
    return fsutil_pb2.Stat(
        path=os.fsencode(info.path),
        mode=to_go(info.mode),
        uid=info.uid,
        gid=info.gid,
        size=info.size,
        modTime=info.modified,
        linkname=os.fsencode(info.link),
    )
