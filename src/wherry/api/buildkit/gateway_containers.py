"""LLBBridge's containers: NewContainer, ReleaseContainer, and ExecProcess, a stream each way for many processes.

Of one process, in this order::

    client                                  daemon
      Init(ContainerID, Meta, Fds, Tty) ---->
                                        <---- Started
      File(0, data), File(0, EOF)       ---->
      Resize, Signal                    ---->
                                        <---- File(1, data), File(2, data), File(1, EOF), File(2, EOF)
                                        <---- Exit(code, error)
                                        <---- Done

A process ends with the stream that it was asked for by. The first one of a container ends the container.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from wherry.api.buildkit.definition_ops import few, mount_of, network_of, platform_of
from wherry.api.buildkit.grpc import Code, GrpcError, Method
from wherry.api.buildkit.http2 import StreamFailed
from wherry.api.buildkit.proto import common_pb2, llb_pb2
from wherry.api.buildkit.proto import gateway_pb2 as pb
from wherry.api.buildkit.results import CALL
from wherry.api.buildkit.status_errors import as_status
from wherry.build.model.container import ContainerProcess, ContainerRequest
from wherry.build.model.failure import Console
from wherry.build.model.graph import NO_OUTPUT, Bind, HostEntry, SecretEnv, SecurityMode
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from wherry.api.buildkit.builds import Bridge, Bridges
    from wherry.api.buildkit.grpc import Call
    from wherry.build.model.container import BuildContainer
    from wherry.build.model.failure import Leftover, StepStreams
    from wherry.build.model.graph import BuildMount, Edge

__all__ = ["GatewayContainers", "container_of"]

_UNKNOWN: Final = 255  #: the exit code of what did not run (BuildKit's UnknownExitStatus)
_PIECE: Final = 64 << 10  #: bytes of output in one message
_INPUT_LIMIT: Final = 256 << 10  #: bytes of input that wait for a process; then its client waits
_MOST_PROCESSES: Final = 100  #: of one stream, at a time
_LONGEST_ID: Final = 200


class GatewayContainers:
    """The three methods.

    :param build_id: the name of the metadata that says which build a call is about.
    """

    def __init__(self, bridges: Bridges, build_id: str) -> None:
        self._bridges = bridges
        self._build_id = build_id

    async def new(self, request: pb.NewContainerRequest, bridge: Bridge) -> pb.NewContainerResponse:
        """Make a container; nothing runs in it yet."""
        bridge.results.spend(CALL + request.ByteSize())
        identifier = request.ContainerID
        if not 0 < len(identifier) <= _LONGEST_ID:
            raise InvalidInput("a container needs an ID")
        if identifier in bridge.containers:
            raise _exists(f"Container {identifier} already exists")
        container = await bridge.running.container(_container_of(request, bridge))
        if identifier in bridge.containers:
            await container.release()
            raise _exists(f"Container {identifier} already exists")
        bridge.containers[identifier] = container
        return pb.NewContainerResponse()

    async def release(self, request: pb.ReleaseContainerRequest, bridge: Bridge) -> pb.ReleaseContainerResponse:
        """End a container."""
        container = bridge.containers.pop(request.ContainerID, None)
        if container is None:
            raise _missing(request.ContainerID)
        await container.release()
        return pb.ReleaseContainerResponse()

    def execute(self) -> Method[pb.ExecMessage, pb.ExecMessage]:
        """ExecProcess."""

        async def serve(call: Call[pb.ExecMessage, pb.ExecMessage]) -> None:
            bridge = await self._bridges.find(call.first(self._build_id))
            await _Processes(call, bridge).serve()

        return Method(pb.ExecMessage, stream=serve)


def container_of(bridge: Bridge, identifier: str) -> BuildContainer:
    """A container of a build.

    :raises GrpcError: there is none.
    """
    container = bridge.containers.get(identifier)
    if container is None:
        raise _missing(identifier)
    return container


def _exists(text: str) -> GrpcError:
    return GrpcError(Code.ALREADY_EXISTS, text)


def _missing(identifier: str) -> GrpcError:
    text = f'container "{identifier[:_LONGEST_ID]}" previously released or not created'
    return GrpcError(Code.NOT_FOUND, text)


# --- requests -------------------------------------------------------------------------------------


def _container_of(request: pb.NewContainerRequest, bridge: Bridge) -> ContainerRequest:
    inputs: list[Edge | Leftover | None] = []
    mounts: list[BuildMount] = []
    for given in few(request.Mounts):
        mount = llb_pb2.Mount()
        mount.CopyFrom(given)
        mount.input, mount.output = NO_OUTPUT, NO_OUTPUT
        if given.resultID:
            mount.input = len(inputs)
            inputs.append(bridge.results.mounted(given.resultID))
        mounts.append(mount_of(mount, len(inputs)))
    if not any(mount.target == "/" and isinstance(mount.kind, Bind) for mount in mounts):
        raise InvalidInput("a container has no root file system")
    return ContainerRequest(
        mounts=tuple(mounts),
        inputs=tuple(inputs),
        network=network_of(request.Network),
        hostname=request.hostname,
        extra_hosts=tuple(HostEntry(one.Host, one.IP) for one in few(request.extraHosts)),
        platform=platform_of(llb_pb2.Op(platform=request.platform)) if request.HasField("platform") else None,
    )


def _process_of(init: pb.InitMessage) -> ContainerProcess:
    if not init.Meta.args:
        raise InvalidInput("a process needs arguments")
    return ContainerProcess(
        args=tuple(few(init.Meta.args)),
        env=tuple(few(init.Meta.env)),
        cwd=init.Meta.cwd or "/",
        user=init.Meta.user,
        secret_env=tuple(SecretEnv(one.ID, one.name, one.optional) for one in few(init.secretenv)),
        security=SecurityMode.INSECURE if init.Security == 1 else SecurityMode.SANDBOX,
        console=Console(terminal=init.Tty),
    )


def _signal_of(name: str) -> int:
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise GrpcError(Code.INVALID_ARGUMENT, f"Unknown signal {name[:40]}") from None


# --- processes ------------------------------------------------------------------------------------


class _Processes:
    """All processes of one stream."""

    def __init__(self, call: Call[pb.ExecMessage, pb.ExecMessage], bridge: Bridge) -> None:
        self._call = call
        self._bridge = bridge
        self._sending = asyncio.Lock()
        self._processes: dict[str, _Process] = {}

    async def serve(self) -> None:
        """Serve until the client has no more to say, and all has ended; when it goes, all ends."""
        reading = asyncio.create_task(self._read())
        try:
            await reading
            for process in list(self._processes.values()):
                await asyncio.wait([process.task])
        finally:
            reading.cancel()
            tasks = [process.task for process in self._processes.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(reading, *tasks, return_exceptions=True)

    async def _read(self) -> None:
        while (message := await self._call.receive()) is not None:
            if not message.ProcessID:
                raise GrpcError(Code.INVALID_ARGUMENT, "ProcessID required")
            if message.WhichOneof("Input") == "Init":
                self._begin(message.ProcessID, message.Init)
            else:
                await self._deliver(message)

    def _begin(self, identifier: str, init: pb.InitMessage) -> None:
        self._processes = {key: one for key, one in self._processes.items() if not one.task.done()}
        if identifier in self._processes:
            raise _exists(f"Process {identifier[:_LONGEST_ID]} already exists")
        if len(self._processes) >= _MOST_PROCESSES:
            raise GrpcError(Code.RESOURCE_EXHAUSTED, "there are too many processes")
        container = container_of(self._bridge, init.ContainerID)
        self._processes[identifier] = _Process(identifier, init, container, self)

    async def _deliver(self, message: pb.ExecMessage) -> None:
        process = self._processes.get(message.ProcessID)
        if process is None:
            text = f'IO for process "{message.ProcessID[:_LONGEST_ID]}" not found'
            raise GrpcError(Code.NOT_FOUND, text)
        kind = message.WhichOneof("Input")
        if kind == "File":
            if message.File.Fd != 0:
                raise GrpcError(Code.OUT_OF_RANGE, f"fd {message.File.Fd} unavailable to write")
            await process.give(message.File)
        elif kind == "Resize":
            process.resize(message.Resize.Rows, message.Resize.Cols)
        elif kind == "Signal":
            process.signal(_signal_of(message.Signal.Name))

    async def send(self, identifier: str, **members: Any) -> None:
        """Send a message about a process."""
        async with self._sending:
            await self._call.send(pb.ExecMessage(ProcessID=identifier, **members))

    def status_of(self, error: Exception) -> common_pb2.Status:
        """An error, as an exit tells it."""
        return as_status(error, self._bridge.results)


class _Process:
    """One process.

    :ivar task: its whole life.
    """

    def __init__(self, identifier: str, init: pb.InitMessage, container: BuildContainer, others: _Processes) -> None:
        self._id = identifier
        self._init = init
        self._container = container
        self._others = others
        self._fds = frozenset(init.Fds)
        self._input = bytearray()
        self._has_ended = 0 not in self._fds
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._size = (0, 0)
        self._signals: list[int] = []
        self._streams: StepStreams | None = None
        self._is_started = self._is_deaf = False
        self.task: Final = asyncio.get_running_loop().create_task(self._run(), name="wherry-build-process")

    # --- what its client says -----------------------------------------------------------------------

    async def give(self, file: pb.FdMessage) -> None:
        """Take input; waits while much of it was not read."""
        while len(self._input) >= _INPUT_LIMIT and not self._is_deaf:
            self._taken.clear()
            await self._taken.wait()
        if not self._has_ended and not self._is_deaf:
            self._input += file.Data
            self._has_ended = file.EOF
        self._changed.set()

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""
        self._size = (min(rows, 0xFFFF), min(columns, 0xFFFF))
        if self._streams is not None:
            self._streams.resize(*self._size)

    def signal(self, number: int) -> None:
        """Send it a signal, as soon as it runs."""
        if self._streams is not None:
            self._streams.signal(number)
        elif not self._is_started and len(self._signals) < _MOST_PROCESSES:
            self._signals.append(number)

    # --- its life -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            code, status = await self._container.run(_process_of(self._init), self._attend), None
            if code:
                status = common_pb2.Status(code=Code.UNKNOWN, message=f"exit code: {code}")
        except (asyncio.CancelledError, StreamFailed):  # nobody wants it, or to hear of it
            raise
        except Exception as error:
            code, status = _UNKNOWN, self._others.status_of(error)
        finally:
            self._take_no_more()
        await self._start()
        await self._others.send(self._id, Exit=pb.ExitMessage(Code=code, Error=status))
        await self._others.send(self._id, Done=pb.DoneMessage())

    async def _start(self) -> None:
        """Clients wait for this first, whatever becomes of it."""
        if not self._is_started:
            self._is_started = True
            await self._others.send(self._id, Started=pb.StartedMessage())

    async def _attend(self, streams: StepStreams) -> None:
        self._streams = streams
        if any(self._size):
            streams.resize(*self._size)
        for number in self._signals:
            streams.signal(number)
        await self._start()
        feeding = asyncio.create_task(self._feed(streams))
        try:
            async for chunk in streams.output():
                await self._show(chunk.stream, chunk.data)
            for fd in sorted(self._fds - {0}):
                await self._others.send(self._id, File=pb.FdMessage(Fd=fd, EOF=True))
        finally:
            self._streams = None
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _show(self, fd: int, data: bytes) -> None:
        if fd in self._fds:
            for start in range(0, len(data), _PIECE):
                await self._others.send(self._id, File=pb.FdMessage(Fd=fd, Data=data[start : start + _PIECE]))

    async def _feed(self, streams: StepStreams) -> None:
        """Give it what its client says, to the end; then it sees the end of its input."""
        with suppress(BrokenPipeError):
            while True:
                data = bytes(self._input)
                self._input.clear()
                self._taken.set()
                if data:
                    await streams.write(data)
                elif self._has_ended:
                    await streams.close_stdin()
                    return
                else:
                    self._changed.clear()
                    await self._changed.wait()
        self._take_no_more()

    def _take_no_more(self) -> None:
        """It reads no more: what its client says is dropped."""
        self._is_deaf = True
        self._input.clear()
        self._taken.set()
