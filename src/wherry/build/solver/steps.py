"""RUN: an exec operation becomes a step whose mounts are all prepared, and its writable mounts become layers."""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wherry.build.cache.directories import KeptDirectories, KeptDirectory
from wherry.build.cache.mounts import MOUNT_KIND, CacheMount
from wherry.build.cache.remote import ImportedCache
from wherry.build.cache.threads import Threads
from wherry.build.model.executor import Executor, Limits, Output, Step, StepMount, StepResult
from wherry.build.model.failure import FailedMount, Leftover
from wherry.build.model.graph import (
    NO_INPUT,
    NO_OUTPUT,
    Bind,
    BuildMount,
    Cache,
    ExecOp,
    HostDirectory,
    Secret,
    Ssh,
    Tmpfs,
)
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import EMPTY, PASSING, Snapshot, SnapshotLayer
from wherry.build.snapshots.draft import Draft
from wherry.build.solver.contract import Files, Snapshots
from wherry.build.solver.leftovers import Leftovers
from wherry.build.solver.private_files import PrivateFiles
from wherry.build.solver.stubs import remove_stubs
from wherry.errors import InvalidInput, WherryError
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci.platform import Platform

__all__ = ["PreparedStep", "StepMaker", "StepRequest"]


@dataclass(frozen=True, kw_only=True)
class StepRequest:
    """What a step is made of.

    :param inputs: the snapshots of the vertex's inputs; those of cache mounts are only used the first time.
    :param caches: its cache mounts, by the numbers of its mounts.
    :param imports: has the first content of cache mounts; None: nobody has.
    :param session: gives the session of a client that waits for it.
    :param waits: called with a sentence when the step has to wait for a cache mount.
    """

    op: ExecOp
    platform: Platform | None
    inputs: Sequence[Snapshot]
    caches: Mapping[int, CacheMount]
    session: Callable[[], BuildSession]
    limits: Limits = field(default_factory=Limits)
    imports: ImportedCache | None = None
    waits: Callable[[str], object] = lambda text: None


class StepMaker:
    """Prepares steps.

    :param private: a directory in memory, for secrets and sockets.
    """

    def __init__(
        self, snapshots: Snapshots, files: Files, directories: KeptDirectories, threads: Threads, private: Path
    ) -> None:
        self.snapshots: Final = snapshots
        self.files: Final = files
        self.directories: Final = directories
        self.threads: Final = threads
        self.private: Final = private

    async def prepare(self, request: StepRequest) -> PreparedStep:
        """Prepare a step: everything that it mounts.

        :raises NotFound: the client has no such secret or agent.
        :raises OutOfSpace: the disk is full.
        """
        prepared = PreparedStep(self, request)
        try:
            await prepared.make()
        except BaseException:
            await prepared.close()
            raise
        return prepared


@dataclass
class PreparedStep:
    """A step, and all that it needs; to be closed whatever happens."""

    maker: StepMaker
    request: StepRequest
    drafts: dict[int, Draft] = field(default_factory=dict)
    kept: list[KeptDirectory] = field(default_factory=list)
    caches: dict[int, KeptDirectory] = field(default_factory=dict)
    step: Step | None = None

    def __post_init__(self) -> None:
        self.files = PrivateFiles(self.maker.private, self.request.session, self.maker.threads)

    async def make(self) -> None:
        """Prepare."""
        op = self.request.op
        self.caches = await self._acquire_caches()
        root = _root_of(op)
        root_draft = await self._draft(root)
        mounts = []
        for number, mount in sorted(enumerate(op.mounts), key=lambda one: _depth(one[1].target)):
            if number != root:
                mounts += [made] if (made := await self._mount(number, mount)) is not None else []
        env = (*op.proxy_env, *op.env, *await self.files.environment(op.secret_env))
        self.step = Step(
            id=secrets.token_hex(32),
            op=op,
            root=root_draft.overlay(),
            env=env,
            mounts=tuple(mounts),
            platform=self.request.platform,
            limits=self.request.limits,
            readonly=op.mounts[root].readonly,
        )

    async def run(self, executor: Executor, output: Output) -> StepResult:
        """Run it."""
        assert self.step is not None, "it was prepared"
        return await executor.run(self.step, output)

    async def commit(self) -> dict[int, Snapshot]:
        """Its outputs, by their numbers; only where the step has succeeded. Cancelled: nothing is left."""
        op = self.request.op
        targets = [mount.target for mount in op.mounts if mount.target != "/"]
        wanted = {number: mount for number, mount in enumerate(op.mounts) if mount.output != NO_OUTPUT}
        return await self.maker.threads.run(self._commit, wanted, targets, undo=self._undo)

    def _commit(self, wanted: Mapping[int, BuildMount], targets: Sequence[str]) -> dict[int, Snapshot]:
        outputs: dict[int, Snapshot] = {}
        try:
            for number, mount in wanted.items():
                draft = self.drafts.get(number)
                if draft is None:  # it is read-only: the same comes out as went in
                    outputs[mount.output] = self._input(mount)
                    continue
                outputs[mount.output] = self._commit_draft(draft, mount, targets)
        except BaseException:
            self._undo(outputs)
            raise
        return outputs

    def _commit_draft(self, draft: Draft, mount: BuildMount, targets: Sequence[str]) -> Snapshot:
        if mount.target == "/" and targets:
            remove_stubs(draft.upper, draft.parent.lower, targets)
        return self.maker.snapshots.commit(draft)

    def _undo(self, outputs: Mapping[int, Snapshot]) -> None:
        """Remove the layers that were made; in a thread."""
        before = {layer.number for snapshot in self.request.inputs for layer in snapshot.layers}
        made = {layer.number for snapshot in outputs.values() for layer in snapshot.layers}
        self.maker.snapshots.remove(made - before)

    async def leave(self) -> Leftovers:
        """What is in its mounts, where the step has failed. Cancelled: nothing is left.

        :raises OutOfSpace: the disk is full.
        """
        targets = [mount.target for mount in self.request.op.mounts if mount.target != "/"]
        left = await self.maker.threads.run(self._leave, targets, undo=self._undo)
        mounts = [self._failed(number, mount, left) for number, mount in enumerate(self.request.op.mounts)]

        async def release() -> None:
            await self.maker.threads.finish(self._undo, left)

        return Leftovers(mounts, release)

    def _leave(self, targets: Sequence[str]) -> dict[int, Snapshot]:
        """All writable mounts become layers, by their numbers; in a thread."""
        left: dict[int, Snapshot] = {}
        try:
            for number, draft in self.drafts.items():
                left[number] = self._commit_draft(draft, self.request.op.mounts[number], targets)
        except BaseException:
            self._undo(left)
            raise
        return left

    def _failed(self, number: int, mount: BuildMount, left: Mapping[int, Snapshot]) -> FailedMount:
        if isinstance(mount.kind, Cache):
            cache = Leftover(self._input(mount), self.request.caches[number].key)
            return FailedMount(cache, cache)
        before = Leftover(self._input(mount)) if mount.input != NO_INPUT else None
        return FailedMount(before, Leftover(left[number]) if number in left else before)

    async def close(self) -> None:
        """Leave nothing behind that was not committed; also while being cancelled."""
        await self.files.close()
        for directory in self.kept:
            directory.release()
        self.kept.clear()
        self.caches.clear()
        drafts = list(self.drafts.values())
        self.drafts.clear()
        if drafts:
            await self.maker.threads.finish(self._discard, drafts)

    def _discard(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            self.maker.snapshots.discard(draft)

    def view(self, number: int) -> Snapshot:
        """What a mount shows by now, to be read, also while the step runs: all layers are mounted without devices.

        :raises InvalidInput: it shows no files that are on the disk.
        """
        mount = self.request.op.mounts[number] if 0 <= number < len(self.request.op.mounts) else None
        draft = self.drafts.get(number)
        if draft is not None:
            below = draft.parent.layers or (SnapshotLayer(PASSING, draft.bottom),)
            return Snapshot((*below, SnapshotLayer(PASSING, str(draft.upper))))
        if mount is not None and isinstance(mount.kind, Bind):
            return self._input(mount)
        if number in self.caches:
            bottom = next(iter(self.drafts.values())).bottom  # there is one of the root
            directory = str(self.caches[number].path)
            return Snapshot((SnapshotLayer(PASSING, bottom), SnapshotLayer(PASSING, directory)))
        raise InvalidInput(f"the mount {number} has no files that could be read")

    # --- mounts -----------------------------------------------------------------------------------

    def _input(self, mount: BuildMount) -> Snapshot:
        return self.request.inputs[mount.input] if mount.input != NO_INPUT else EMPTY

    async def _draft(self, number: int) -> Draft:
        base = self._input(self.request.op.mounts[number])
        snapshots = self.maker.snapshots
        draft = await self.maker.threads.run(snapshots.draft, base, undo=snapshots.discard)
        self.drafts[number] = draft
        return draft

    async def _mount(self, number: int, mount: BuildMount) -> StepMount | None:
        kind = mount.kind
        if isinstance(kind, Secret):
            return await self.files.secret(mount, kind)
        if isinstance(kind, Ssh):
            return await self.files.ssh(mount, kind)
        if isinstance(kind, HostDirectory):
            return StepMount(mount.target, "bind", source=kind.source, readonly=mount.readonly)
        if isinstance(kind, Tmpfs):
            return StepMount(mount.target, "tmpfs", readonly=mount.readonly, options=_tmpfs_options(kind))
        if isinstance(kind, Cache):
            source = str(self.caches[number].path)
            return StepMount(mount.target, "bind", source=source, selector=mount.selector, readonly=mount.readonly)
        return await self._bind(number, mount)

    async def _bind(self, number: int, mount: BuildMount) -> StepMount:
        if mount.readonly:
            overlay = OverlayMount(mount.target, self._input(mount).lower, "", "")
        else:
            overlay = (await self._draft(number)).overlay(mount.target)
        return StepMount(mount.target, "overlay", overlay, selector=mount.selector, readonly=mount.readonly)

    # --- cache mounts -----------------------------------------------------------------------------

    async def _acquire_caches(self) -> dict[int, KeptDirectory]:
        """All cache mounts, in an order that all steps have: no two wait for each other."""
        found: dict[int, KeptDirectory] = {}
        by_key: dict[str, KeptDirectory] = {}
        for number, cache in sorted(self.request.caches.items(), key=lambda one: (one[1].key, one[0])):
            if cache.key not in by_key:
                by_key[cache.key] = await self._acquire(cache, self.request.op.mounts[number])
            found[number] = by_key[cache.key]
        return found

    async def _acquire(self, cache: CacheMount, mount: BuildMount) -> KeptDirectory:
        assert isinstance(mount.kind, Cache), "it is a cache mount"

        async def fill(path: Path) -> None:
            if not await self._import(cache, path) and mount.input != NO_INPUT:
                await self.maker.files.copy_out(self.request.inputs[mount.input], path)

        kept = await self.maker.directories.acquire(
            MOUNT_KIND,
            cache.key,
            f"cached mount {mount.target} from exec {' '.join(self.request.op.args)[:200]} with id {cache.id[:200]!r}",
            sharing=mount.kind.sharing,
            waits=lambda: self.request.waits(f"waiting for the cache mount {cache.id}"),
            fill=fill,
        )
        self.kept.append(kept)
        return kept

    async def _import(self, cache: CacheMount, path: Path) -> bool:
        """Fill a new cache mount with what somebody else has exported; whether there is any."""
        imports = self.request.imports
        if imports is None or not imports.has_mount(cache.pure):
            return False
        async with AsyncExitStack() as stack:
            try:
                snapshot = await stack.enter_async_context(imports.load_mount(cache.pure))
            except WherryError as error:
                self.request.waits(f"cannot import the cache mount {cache.id}: {error}")
                return False
            await self.maker.files.copy_out(snapshot, path)
        return True


def _root_of(op: ExecOp) -> int:
    for number, mount in enumerate(op.mounts):
        if mount.target == "/" and isinstance(mount.kind, Bind):
            return number
    raise InvalidInput("a step has no root file system")


def _depth(target: str) -> int:
    """Mounts inside of others come after them."""
    return len([part for part in posixpath.normpath(target).split("/") if part])


def _tmpfs_options(kind: Tmpfs) -> tuple[str, ...]:
    return (f"size={kind.size}",) if kind.size else ()
