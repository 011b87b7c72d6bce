"""A builder whose executor, sources and file operations are played: layers and rows are real ones, mounts are none."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.snapshots import World
from wherry.build.builder.builder import Builder
from wherry.build.builder.sessions import Sessions
from wherry.build.cache.cache import BuildCache
from wherry.build.cache.policy import BuilderSettings, Disk
from wherry.build.cache.threads import Threads
from wherry.build.exporters.contract import Product
from wherry.build.model.container import ContainerProcess
from wherry.build.model.executor import Output, Step, StepResult
from wherry.build.model.failure import Attend, Console
from wherry.build.model.graph import (
    NO_INPUT,
    BuildMount,
    Copy,
    Edge,
    ExecOp,
    FileAction,
    FileOp,
    MakeFile,
    Metadata,
    SourceOp,
    Vertex,
)
from wherry.build.model.progress import LogProgress, Progress, ProgressSink, VertexProgress
from wherry.build.model.request import BuildRequest, Export
from wherry.build.model.service import FileInfo, ResolvedImage
from wherry.build.model.session import BuildSession, NoSession
from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.build.remote_cache.remote_cache import RemoteCache
from wherry.build.snapshots.blobs import LayerBlob
from wherry.build.sources.contract import SourceKey, SourceRequest
from wherry.errors import NotFound
from wherry.images.reference_counts import Lease
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = [
    "ClientSession", "FakeExecutor", "FakeExporter", "FakeFiles", "FakeSources", "Workshop", "copy", "image", "local",
    "logs", "make_file", "request", "run", "states", "write",
]  # fmt: skip


_CONFIG = b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'

# --- graphs ---------------------------------------------------------------------------------------


def image(name: str) -> Edge:
    """The root of an image."""
    return Vertex.of(SourceOp(f"docker-image://{name}")).output()


def local(name: str = "context") -> Edge:
    """A directory of the client's."""
    return Vertex.of(SourceOp(f"local://{name}")).output()


def run(base: Edge | None, command: str, *mounts: BuildMount, inputs: Sequence[Edge] = (), **options: Any) -> Edge:
    """RUN; further inputs are numbered from 1."""
    root = BuildMount("/", input=0 if base is not None else NO_INPUT, output=0)
    metadata = Metadata(name=options.pop("name", f"RUN {command}"), ignore_cache=options.pop("ignore_cache", False))
    op = ExecOp(args=("/bin/sh", "-c", command), mounts=(root, *mounts), **options)
    edges = [*([base] if base is not None else []), *inputs]
    return Vertex.of(op, edges, metadata=metadata).output()


def copy(base: Edge | None, origin: Edge, source: str, destination: str, **options: Any) -> Edge:
    """COPY; without a base it is one with ``--link``."""
    metadata = Metadata(name=f"COPY {source} {destination}", ignore_cache=options.pop("ignore_cache", False))
    number = 0 if base is not None else NO_INPUT
    inputs = [*([base] if base is not None else []), origin]
    action = FileAction(Copy(source, destination, **options), input=number, secondary=len(inputs) - 1, output=0)
    return Vertex.of(FileOp((action,)), inputs, metadata=metadata).output()


def make_file(path: str, data: bytes) -> Edge:
    """A file on nothing."""
    return Vertex.of(FileOp((FileAction(MakeFile(path, 0o644, data), output=0),))).output()


def request(ref: str = "build", edge: Edge | None = None, **options: Any) -> BuildRequest:
    """A build of a definition."""
    return BuildRequest(ref=ref, frontend="", definition=edge, **options)


# --- progress -------------------------------------------------------------------------------------


def states(events: Sequence[Progress]) -> dict[str, VertexProgress]:
    """The last state of each vertex, by its name."""
    return {event.name: event for event in events if isinstance(event, VertexProgress)}


def logs(events: Sequence[Progress]) -> bytes:
    """All output."""
    return b"".join(event.data for event in events if isinstance(event, LogProgress))


def write(step: Step, name: str, text: str) -> None:
    """Write a file into a step's root."""
    Path(step.root.upper, name).write_text(text)


# --- parts ----------------------------------------------------------------------------------------


class ClientSession(NoSession):
    """A client with directories and secrets."""

    def __init__(self, identifier: str = "s", **files: dict[str, bytes]) -> None:
        self.id = identifier
        self.shared_key = ""
        self.directories = files
        self.secrets: dict[str, bytes] = {}

    async def secret(self, identifier: str) -> bytes:
        """A secret."""
        if identifier not in self.secrets:
            raise NotFound(f"secret {identifier}: not found")
        return self.secrets[identifier]


class FakeExecutor:
    """Runs commands that are played: by their text, functions of the step and where to write; others write a file.

    :ivar ran: the commands, as often as each was run.
    :ivar running: those that run now.
    :ivar attended: the steps that somebody attends to, or did, and what they were given.
    :ivar joined: processes in their containers, with the steps' IDs.
    """

    def __init__(self) -> None:
        self.commands: dict[str, Callable[[Step, Output], Awaitable[StepResult | None]]] = {}
        self.ran: Counter[str] = Counter()
        self.running: list[str] = []
        self.steps: list[Step] = []
        self.attended: list[tuple[Step, Console]] = []
        self.joined: list[tuple[str, ContainerProcess]] = []

    async def run(self, step: Step, output: Output) -> StepResult:
        """Run a step."""
        command = step.op.args[-1]
        self.ran[command] += 1
        self.running.append(command)
        self.steps.append(step)
        try:
            if (played := self.commands.get(command)) is not None:
                found = await played(step, output)
                if found is not None:
                    return found
            if command != "true":
                name = hashlib.sha256(command.encode()).hexdigest()[:8]
                write(step, name, command)
            return StepResult(0)
        finally:
            self.running.remove(command)

    async def interact(self, step: Step, console: Console, attend: Attend) -> StepResult:
        """Let somebody attend to a step that does nothing, and has no streams."""
        self.attended.append((step, console))
        streams: Any = None
        await attend(streams)
        return StepResult(0)

    async def join(self, identifier: str, process: ContainerProcess, attend: Attend) -> int:
        """The same, in the container of one that runs."""
        self.joined.append((identifier, process))
        streams: Any = None
        await attend(streams)
        return 0


class FakeFetch:
    """One use of a played source."""

    def __init__(self, sources: FakeSources, asked: SourceRequest) -> None:
        self.sources = sources
        self.asked = asked
        self.is_closed = False
        self.directory: Path | None = None

    async def key(self) -> SourceKey:
        """What the files are."""
        identifier = self.asked.op.identifier
        scheme, _, name = identifier.partition("://")
        self.sources.asked[identifier] += 1
        if self.sources.key_hook is not None:
            await self.sources.key_hook()
        if scheme == "local":
            self.directory = self.sources.synchronise(self.asked.session, name)
            return SourceKey(key=f"local {self.asked.session.id} {name}", kind="source.local", keep=False)
        if name not in self.sources.images:
            raise NotFound(f"{name}: not found")
        text = f"image {sorted(self.sources.images[name].items())}"
        return SourceKey(key=text, description=f"pulled from {name}", pins=((name, "sha256:00"),))

    async def snapshot(self) -> Snapshot:
        """The files."""
        name = self.asked.op.identifier.partition("://")[2]
        self.sources.fetched[name] += 1
        if self.directory is not None:
            return Snapshot((SnapshotLayer(-1, str(self.directory)),))
        if self.sources.fetch_hook is not None:
            await self.sources.fetch_hook()
        return self.sources.world.layer(self.sources.images[name])

    async def close(self) -> None:
        """It is over."""
        self.is_closed = True


class FakeSources:
    """Images and clients' directories.

    :ivar images: files, by name.
    :ivar key_hook: called before a key is given, and `fetch_hook` before files are.
    """

    def __init__(self, world: World, root: Path) -> None:
        self.world = world
        self.root = root
        self.images: dict[str, dict[str, bytes]] = {}
        self.key_hook: Callable[[], Awaitable[None]] | None = None
        self.fetch_hook: Callable[[], Awaitable[None]] | None = None
        self.asked: Counter[str] = Counter()
        self.fetched: Counter[str] = Counter()
        self.fetches: list[FakeFetch] = []
        self._count = 0

    def synchronise(self, session: BuildSession, name: str) -> Path:
        """A client's directory."""
        assert isinstance(session, ClientSession), "only these have files"
        self._count += 1
        directory = self.root / f"{self._count}"
        directory.mkdir(parents=True)
        for path, data in session.directories.get(name, {}).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
        return directory

    def open(self, asked: SourceRequest) -> FakeFetch:
        """Begin."""
        self.fetches.append(fetch := FakeFetch(self, asked))
        return fetch

    async def resolve_image(
        self, reference: str, platform: Platform | None, mode: str, session: BuildSession, progress: ProgressSink
    ) -> ResolvedImage:
        """What a name means."""
        if reference not in self.images:
            raise NotFound(f"{reference}: not found")
        return ResolvedImage(Digest.from_bytes(reference.encode()), reference, _CONFIG)


class FakeFiles:
    """Operations on the files of layers; there are no whiteouts, and a later layer's file hides an earlier one's.

    :ivar executed: how many file operations there were.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.executed = 0
        self.summed: Counter[str] = Counter()
        self.listings: dict[str, dict[str, str]] = {}

    def view(self, snapshot: Snapshot) -> dict[str, bytes]:
        """All files, by their paths."""
        found: dict[str, bytes] = {}
        for layer in snapshot.layers:
            top = Path(layer.path)
            found |= {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        return found

    def _taken(self, snapshot: Snapshot, path: str) -> dict[str, bytes]:
        wanted = path.strip("/").removesuffix("/.").strip(".")
        view = self.view(snapshot)
        if not wanted:
            return view
        name = os.path.basename(wanted)
        found = {name + one[len(wanted) :]: data for one, data in view.items() if f"{one}/".startswith(f"{wanted}/")}
        if not found:
            raise NotFound(f'"/{wanted}": not found')
        return found

    async def execute(self, op: FileOp, inputs: Sequence[Snapshot], platform: Platform | None) -> tuple[Snapshot, ...]:
        """Carry out a file operation with one output."""
        self.executed += 1
        all_of = list(inputs)
        outputs = []
        for action in op.actions:
            base = all_of[action.input] if action.input != NO_INPUT else EMPTY
            what = action.action
            if isinstance(what, Copy):
                taken = self._taken(all_of[action.secondary], what.source)
                files = {f"{what.destination.strip('/')}/{name}".strip("/"): data for name, data in taken.items()}
            else:
                assert isinstance(what, MakeFile), "others are not played"
                files = {what.path.strip("/"): what.data}
            all_of.append(self.world.layer(files, base))
            if action.output >= 0:
                outputs.append(all_of[-1])
        return tuple(outputs)

    async def merge(self, inputs: Sequence[Snapshot]) -> Snapshot:
        """Lay snapshots upon each other."""
        return Snapshot(tuple(dict.fromkeys(layer for one in inputs for layer in one.layers)))

    async def diff(self, lower: Snapshot, upper: Snapshot) -> Snapshot:
        """The layers on top."""
        return Snapshot(upper.layers[len(lower.layers) :])

    async def checksum(self, snapshot: Snapshot, copy: Copy) -> str:
        """Of what a copy takes."""
        self.summed[copy.source] += 1
        taken = self._taken(snapshot, copy.source)
        itself = copy.source.strip("/")  # a file that is taken itself has no name, as in `files.checksum`
        listed = {"" if name == itself else name: _sum({"": data}) for name, data in taken.items()}
        self.listings[found := _sum(taken)] = listed
        return found

    def listing(self, checksum: str) -> dict[str, str]:
        """What a checksum was made of."""
        return self.listings.get(checksum, {})

    async def checksum_of(self, snapshot: Snapshot, path: str) -> str:
        """Of a path."""
        self.summed[path] += 1
        return _sum(self._taken(snapshot, path))

    async def own(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot with layers of its own."""
        return self.world.layer(self.view(snapshot), EMPTY)

    async def copy_out(self, snapshot: Snapshot, destination: Path) -> None:
        """Copy everything."""
        for layer in snapshot.layers:
            shutil.copytree(layer.path, destination, dirs_exist_ok=True)

    async def read(self, snapshot: Snapshot, path: str, offset: int, length: int) -> bytes:
        """A part of a file."""
        view = self.view(snapshot)
        if path.strip("/") not in view:
            raise NotFound(f"no such file: {path}")
        data = view[path.strip("/")][offset:]
        return data if length < 0 else data[:length]

    async def stat(self, snapshot: Snapshot, path: str) -> FileInfo:
        """One file."""
        return FileInfo(path, 0o100644, size=len(await self.read(snapshot, path, 0, -1)))

    async def list_directory(self, snapshot: Snapshot, path: str, pattern: str) -> list[FileInfo]:
        """All files."""
        return [FileInfo(name, 0o100644, size=len(data)) for name, data in sorted(self.view(snapshot).items())]


def _sum(files: dict[str, bytes]) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


class FakeExporter:
    """Remembers what it gets."""

    def __init__(self) -> None:
        self.products: list[Product] = []
        self.error: Exception | None = None
        self.hook: Callable[[], Awaitable[None]] | None = None

    async def export(self, product: Product, export: Export) -> dict[str, str]:
        """Export."""
        self.products.append(product)
        if self.hook is not None:
            await self.hook()
        if self.error is not None:
            raise self.error
        return {"exported": export.type}


# --- the whole ------------------------------------------------------------------------------------


@dataclass
class Workshop:
    """A builder and its parts, for an ``async with`` block.

    :param root: of its data root; a second one with the same is the builder after a restart.
    :param registries: of cache that goes elsewhere; None: it goes nowhere.
    """

    root: Path
    settings: BuilderSettings = field(default_factory=lambda: BuilderSettings(collect_after=0))
    disk: Disk = field(default_factory=lambda: Disk(10**12, 9 * 10**11))
    builds: int = 0
    session: Any = None
    patience: float = 60
    export: Export = field(default_factory=lambda: Export("moby"))
    registries: Any = None

    def make(self) -> None:
        """Make all parts."""
        self.world = World(self.root)
        self.threads = Threads(4)
        self.executor = FakeExecutor()
        self.files = FakeFiles(self.world)
        self.sources = FakeSources(self.world, self.root / "clients")
        self.exporter = FakeExporter()
        build = self.root / "build"
        self.remote: RemoteCache | None = None
        self.cache = BuildCache(build, self.world.database, self.world.snapshots, self.threads, disk=lambda: self.disk)
        if self.registries is not None:
            self.remote = RemoteCache(
                self.world.images,
                self.world.snapshots,
                self,
                self.registries,
                directories=self.cache.directories,
                own=self.files.own,
            )
        self.builder = Builder(
            build,
            self.root / "private",
            self.world.database,
            cache=self.cache,
            snapshots=self.world.snapshots,
            files=self.files,
            sources=self.sources,
            executor=self.executor,
            exporters={"moby": self.exporter},
            threads=self.threads,
            settings=self.settings,
            sessions=Sessions(patience=self.patience),
            patience=self.patience,
            remote_cache=self.remote,
        )

    async def blobs(self, snapshot: Snapshot, lease: Lease) -> Sequence[LayerBlob]:
        """The blobs of a snapshot's layers."""
        return await asyncio.to_thread(self.world.snapshots.blobs, snapshot, lease)

    async def __aenter__(self) -> Workshop:
        self.make()
        await self.builder.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.builder.close()
        self.end()

    def end(self) -> None:
        """End the threads and close the files, as the end of a process does."""
        if self.remote is not None:
            self.remote.close()
        self.threads.close()
        self.world.close()

    async def build(self, edge: Edge, ref: str = "", **options: Any) -> list[Progress]:
        """A whole build; what happened in it."""
        self.builds += 1
        ref = ref or f"build {self.builds}"
        await self.builder.build(request(ref, edge, **options))
        return await self.events(ref)

    async def events(self, ref: str) -> list[Progress]:
        """All that happened in a build."""
        return [event async for event in self.builder.progress(ref)]

    def layer_directories(self) -> set[str]:
        """The layers on the disk."""
        return {name for name in os.listdir(self.world.images.layers.root) if name.isdecimal()} - {"0"}

    def drafts(self) -> list[str]:
        """The drafts on the disk, without those that are being removed."""
        self.world.snapshots.wait_for_removals()
        return os.listdir(self.root / "build" / "drafts")
