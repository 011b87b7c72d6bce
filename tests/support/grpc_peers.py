"""The other side of BuildKit's gRPC, by grpclib: a client for our services, and a client's session that we ask."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.client import Channel
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream

from support.fake_builds import FakeBuilds
from wherry.api.buildkit.doors import Doors
from wherry.api.buildkit.gomode import to_go
from wherry.api.buildkit.proto import common_pb2, control_pb2, fsutil_pb2, gateway_pb2, session_pb2
from wherry.oci.platform import Platform

__all__ = ["CONTROL", "GATEWAY", "Client", "SessionOffer", "serving", "session_of", "transport_of", "until"]

_CONTENT = "/containerd.services.content.v1.Content/"
CONTROL = "/moby.buildkit.v1.Control/"
GATEWAY = "/moby.buildkit.v1.frontend.LLBBridge/"
_ANSWERS = {
    CONTROL + "ListWorkers": control_pb2.ListWorkersResponse,
    CONTROL + "Info": control_pb2.InfoResponse,
    CONTROL + "Solve": control_pb2.SolveResponse,
    CONTROL + "Status": control_pb2.StatusResponse,
    CONTROL + "ListenBuildHistory": control_pb2.BuildHistoryEvent,
    CONTROL + "UpdateBuildHistory": control_pb2.UpdateBuildHistoryResponse,
    CONTROL + "DiskUsage": control_pb2.DiskUsageResponse,
    CONTROL + "Prune": control_pb2.UsageRecord,
    CONTROL + "Session": common_pb2.BytesMessage,
    GATEWAY + "Ping": gateway_pb2.PongResponse,
    GATEWAY + "Solve": gateway_pb2.SolveResponse,
    GATEWAY + "Return": gateway_pb2.ReturnResponse,
    GATEWAY + "Evaluate": gateway_pb2.EvaluateResponse,
    GATEWAY + "ReadFile": gateway_pb2.ReadFileResponse,
    GATEWAY + "ReadFileContainer": gateway_pb2.ReadFileResponse,
    GATEWAY + "ReadDir": gateway_pb2.ReadDirResponse,
    GATEWAY + "ReadDirContainer": gateway_pb2.ReadDirResponse,
    GATEWAY + "StatFile": gateway_pb2.StatFileResponse,
    GATEWAY + "StatFileContainer": gateway_pb2.StatFileResponse,
    GATEWAY + "ResolveImageConfig": gateway_pb2.ResolveImageConfigResponse,
    GATEWAY + "ResolveSourceMeta": gateway_pb2.ResolveSourceMetaResponse,
    GATEWAY + "Inputs": gateway_pb2.InputsResponse,
    GATEWAY + "Warn": gateway_pb2.WarnResponse,
    GATEWAY + "NewContainer": gateway_pb2.NewContainerResponse,
    GATEWAY + "ReleaseContainer": gateway_pb2.ReleaseContainerResponse,
    GATEWAY + "ExecProcess": gateway_pb2.ExecMessage,
    GATEWAY + "ReadFileContainer": gateway_pb2.ReadFileResponse,
    "/grpc.health.v1.Health/Check": common_pb2.HealthCheckResponse,
    "/grpc.health.v1.Health/Heal": common_pb2.HealthCheckResponse,
}


class _Details(StatusDetailsCodecBase):
    """Details as they are: values are JSON."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        return b""

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        return list(common_pb2.Status.FromString(data).details)


class _Channel(Channel):
    """A channel over a socket that is connected already."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(codec=ProtoCodec(), status_details_codec=_Details())
        self._socket = connected

    async def _create_connection(self) -> H2Protocol:
        _, protocol = await asyncio.get_running_loop().create_connection(self._protocol_factory, sock=self._socket)
        return protocol


class Client:
    """Calls our services."""

    def __init__(self, connected: socket.socket) -> None:
        self.channel = _Channel(connected)

    def call(self, path: str, request: Any, ref: str = "", *, stream: bool = False) -> Any:
        """A call's context, to be entered."""
        metadata = {"buildkit-controlapi-buildid": ref} if ref else None
        cardinality = Cardinality.UNARY_STREAM if stream else Cardinality.UNARY_UNARY
        return self.channel.request(path, cardinality, type(request), _ANSWERS[path], metadata=metadata)

    def exchange(self, path: str, kind: Any, ref: str = "") -> Any:
        """A call's context with many messages each way, to be entered."""
        metadata = {"buildkit-controlapi-buildid": ref} if ref else None
        return self.channel.request(path, Cardinality.STREAM_STREAM, kind, _ANSWERS[path], metadata=metadata)

    async def ask(self, path: str, request: Any, ref: str = "") -> Any:
        """Call a method that gives one message."""
        async with self.call(path, request, ref) as stream:
            await stream.send_message(request, end=True)
            return await stream.recv_message()

    async def listen(self, path: str, request: Any) -> list[Any]:
        """Call a method that gives many, to its end."""
        async with self.call(path, request, stream=True) as stream:
            await stream.send_message(request, end=True)
            return [message async for message in stream]

    def close(self) -> None:
        """End the connection."""
        self.channel.close()


async def until(condition: Callable[[], object], patience: float = 60) -> None:
    """Wait for what nobody tells of, with patience for a machine that is busy."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0)


async def transport_of(connected: socket.socket) -> asyncio.Transport:
    """A transport without a protocol worth the name."""
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, connected)
    return transport


async def devices() -> list[str]:
    """Two devices of a vendor's."""
    return ["vendor.example/kind=one", "vendor.example/kind=two"]


@asynccontextmanager
async def serving(builds: FakeBuilds) -> AsyncIterator[tuple[Doors, Client]]:
    """Our services over a socket, and a client for them."""
    doors = Doors(builds, lambda: [Platform("linux", "amd64")], lambda: "172.17.0.1", devices)
    ours, theirs = socket.socketpair()
    doors.open(await transport_of(ours), b"", lambda _: None)
    client = Client(theirs)
    try:
        yield doors, client
    finally:
        client.close()
        await doors.close()


# --- a session ------------------------------------------------------------------------------------


class SessionOffer:
    """What a client offers: every member may be set by the test.

    :param directory: by name.
    """

    def __init__(self) -> None:
        self.directories: dict[str, Path] = {}
        self.secrets: dict[str, bytes] = {}
        self.credentials: dict[str, tuple[str, str]] = {}
        self.uploads: dict[str, bytes] = {}
        self.metadata: list[dict[str, list[str]]] = []  #: of calls that came
        self.files: dict[str, bytes] = {}  #: archives that came
        self.blobs: dict[str, bytes] = {}
        self.begun: dict[str, bytes] = {}  #: what is there of a blob already
        self.requested: list[int] = []
        self.sender: Callable[[Stream[Any, Any]], Any] | None = None  #: in place of an honest one

    def __mapping__(self) -> dict[str, Handler]:
        """For grpclib."""
        unary, both = Cardinality.UNARY_UNARY, Cardinality.STREAM_STREAM
        packet, data, session = fsutil_pb2.Packet, common_pb2.BytesMessage, session_pb2
        return {
            "/moby.filesync.v1.FileSync/DiffCopy": Handler(self.diff_copy, both, packet, packet),
            "/moby.filesync.v1.FileSend/DiffCopy": Handler(self.take_file, both, data, data),
            "/moby.filesync.v1.Auth/Credentials": Handler(
                self.credentials_for, unary, session.CredentialsRequest, session.CredentialsResponse
            ),
            "/moby.buildkit.secrets.v1.Secrets/GetSecret": Handler(
                self.secret, unary, session.GetSecretRequest, session.GetSecretResponse
            ),
            "/moby.sshforward.v1.SSH/CheckAgent": Handler(
                self.check_agent, unary, session.CheckAgentRequest, session.CheckAgentResponse
            ),
            "/moby.sshforward.v1.SSH/ForwardAgent": Handler(self.echo, both, data, data),
            "/moby.upload.v1.Upload/Pull": Handler(self.pull, both, data, data),
            _CONTENT + "Info": Handler(self.blob_info, unary, session.InfoRequest, session.InfoResponse),
            _CONTENT + "Read": Handler(
                self.read_blob, Cardinality.UNARY_STREAM, session.ReadContentRequest, session.ReadContentResponse
            ),
            _CONTENT + "Write": Handler(
                self.write_blob, both, session.WriteContentRequest, session.WriteContentResponse
            ),
        }

    def _note(self, stream: Stream[Any, Any]) -> dict[str, list[str]]:
        metadata: dict[str, list[str]] = {}
        for key, value in (stream.metadata or {}).items():
            metadata.setdefault(key, []).append(str(value))
        self.metadata.append(metadata)
        return metadata

    async def diff_copy(self, stream: Stream[Any, Any]) -> None:
        """Send a directory."""
        metadata = self._note(stream)
        if self.sender is not None:
            await self.sender(stream)
            return
        directory = self.directories.get(metadata["dir-name"][0])
        if directory is None:
            raise GRPCError(Status.NOT_FOUND, f"no access allowed to dir {metadata['dir-name'][0]!r}")
        files = []
        for path in _in_order(directory):
            await stream.send_message(fsutil_pb2.Packet(stat=stat_of(directory, path)))
            files.append(path)
        await stream.send_message(fsutil_pb2.Packet())
        async for packet in stream:
            if packet.type == 1:
                self.requested.append(packet.ID)
                data = files[packet.ID].read_bytes()
                for start in range(0, len(data), 32768):
                    piece = data[start : start + 32768]
                    await stream.send_message(fsutil_pb2.Packet(type=2, ID=packet.ID, data=piece))
                await stream.send_message(fsutil_pb2.Packet(type=2, ID=packet.ID))
            elif packet.type == 3:
                await stream.send_message(fsutil_pb2.Packet(type=3))
                return

    async def take_file(self, stream: Stream[Any, Any]) -> None:
        """Take an archive."""
        metadata = self._note(stream)
        data = b"".join([message.data async for message in stream])
        self.files[metadata["buildkit-attachable-exporter-id"][0]] = data
        await stream.send_initial_metadata()

    async def credentials_for(self, stream: Stream[Any, Any]) -> None:
        """Credentials for a registry."""
        request = await stream.recv_message()
        name, secret = self.credentials.get(request.Host, ("", ""))
        await stream.send_message(session_pb2.CredentialsResponse(Username=name, Secret=secret))

    async def secret(self, stream: Stream[Any, Any]) -> None:
        """A secret."""
        request = await stream.recv_message()
        if request.ID not in self.secrets:
            raise GRPCError(Status.NOT_FOUND, f"secret {request.ID}: not found")
        await stream.send_message(session_pb2.GetSecretResponse(data=self.secrets[request.ID]))

    async def check_agent(self, stream: Stream[Any, Any]) -> None:
        """Whether there is an agent."""
        request = await stream.recv_message()
        if request.ID != "default":
            raise GRPCError(Status.UNKNOWN, f"unset ssh forward key {request.ID}")
        await stream.send_message(session_pb2.CheckAgentResponse())

    async def echo(self, stream: Stream[Any, Any]) -> None:
        """An agent that says what it is told."""
        self._note(stream)
        async for message in stream:
            await stream.send_message(message)

    async def pull(self, stream: Stream[Any, Any]) -> None:
        """A context from standard input."""
        metadata = self._note(stream)
        for start in range(0, len(data := self.uploads[metadata["urlpath"][0]]), 100_000):
            await stream.send_message(common_pb2.BytesMessage(data=data[start : start + 100_000]))

    async def blob_info(self, stream: Stream[Any, Any]) -> None:
        """How large a blob is."""
        self._note(stream)
        request = await stream.recv_message()
        if request.digest not in self.blobs:
            raise GRPCError(Status.NOT_FOUND, f"content {request.digest}: not found")
        info = session_pb2.ContentInfo(digest=request.digest, size=len(self.blobs[request.digest]))
        await stream.send_message(session_pb2.InfoResponse(info=info))

    async def read_blob(self, stream: Stream[Any, Any]) -> None:
        """A blob."""
        request = await stream.recv_message()
        if request.digest not in self.blobs:
            raise GRPCError(Status.NOT_FOUND, f"content {request.digest}: not found")
        data = self.blobs[request.digest]
        for start in range(0, len(data), 100_000):
            piece = data[start : start + 100_000]
            await stream.send_message(session_pb2.ReadContentResponse(offset=start, data=piece))

    async def write_blob(self, stream: Stream[Any, Any]) -> None:
        """Take a blob; one that is there is refused."""
        async for request in stream:
            if request.expected in self.blobs:
                raise GRPCError(Status.ALREADY_EXISTS, "it exists")
            data = self.begun.setdefault(request.ref, b"")
            assert request.offset == (0 if request.action == 0 else len(data))
            self.begun[request.ref] = data = data + request.data
            if request.action == 2:
                self.blobs[request.expected] = data
            await stream.send_message(session_pb2.WriteContentResponse(action=request.action, offset=len(data)))


def _in_order(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"), key=lambda path: str(path.relative_to(directory)).split("/"))


def stat_of(directory: Path, path: Path) -> fsutil_pb2.Stat:
    """What a client says of a file."""
    status = path.lstat()
    return fsutil_pb2.Stat(
        path=os.fsencode(path.relative_to(directory)),
        mode=to_go(status.st_mode),
        size=status.st_size if stat.S_ISREG(status.st_mode) else 0,
        modTime=status.st_mtime_ns,
        linkname=os.fsencode(os.readlink(path)) if path.is_symlink() else b"",
    )


@asynccontextmanager
async def session_of(builds: FakeBuilds, offer: SessionOffer, identifier: str = "s1") -> AsyncIterator[Any]:
    """A client's session with what it offers; gives what builds see of it."""
    doors = Doors(builds, list, lambda: "", devices)
    ours, theirs = socket.socketpair()
    server = Server([offer])
    headers = {"x-docker-expose-session-uuid": [identifier], "x-docker-expose-session-sharedkey": ["key"]}
    serve = asyncio.create_task(doors.session(await transport_of(ours), b"", headers, lambda _: None))
    await builds.session_there.wait()
    await asyncio.get_running_loop().connect_accepted_socket(server._protocol_factory, theirs)  # it speaks at once
    try:
        yield builds.sessions[identifier]
    finally:
        await doors.close()
        await serve
        for handler in server._handlers:
            handler.close()
            await handler.wait_closed()
