"""The outputs of one vertex whose inputs are there: from the cache, from a source, or carried out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from wherry.build.cache.cache import Held
from wherry.build.cache.keys import content_uses, source_identity
from wherry.build.cache.remote import CacheEntry, ImportedCache
from wherry.build.model.graph import NO_INPUT, NO_OUTPUT, ExecOp, FileOp, MergeOp
from wherry.build.model.progress import STDERR, Cost, LogProgress, VertexProgress
from wherry.build.model.snapshot import Snapshot
from wherry.build.solver.cache_mounts import cache_mounts
from wherry.build.solver.context import BuildContext, Member, Solver
from wherry.build.solver.grounds import Grounds
from wherry.build.solver.jobs import Abandoned, Job, Outcome
from wherry.build.solver.node import Node
from wherry.build.solver.operations import Task, outputs_of
from wherry.build.solver.shared_fetch import SharedFetch
from wherry.errors import WherryError

__all__ = ["VertexWork", "identities_of", "pures_of"]


class VertexWork:
    """Realises the vertices of one build.

    :ivar fetches: the uses of sources that end with the build.
    :ivar copies: of clients' directories, in layers.
    :ivar exported: results that an export needs, and nothing else.
    """

    def __init__(self, solver: Solver, context: BuildContext) -> None:
        self._solver = solver
        self._cache = solver.cache
        self._context = context
        self.fetches: list[SharedFetch] = []
        self.copies: dict[Node, Held] = {}
        self.exported: dict[tuple[Node, int], Held] = {}

    def take_from_cache(self, node: Node) -> bool:
        """Realise it from the cache, where all its outputs are."""
        if node.held:  # it was carried out, and interrupted while that was explained
            node.complete()
            return True
        found = self._find(node)
        if found is None:
            return False
        node.held = found
        node.complete(cached=True)
        return True

    def _find(self, node: Node) -> Outcome | None:
        """All outputs from the cache, each held; or none."""
        assert node.identity is not None, "it was waited for"
        found: Outcome = {}
        for output in outputs_of(node.vertex):
            held = self._cache.find(node.identity, output)
            if held is None:
                self._cache.release_soon(found.values())
                return None
            found[output] = held
        return found

    async def take_imported(self, node: Node) -> bool:
        """Realise it from the cache of somebody else; False where that has it not, or gives it not: so it is done."""
        imports = self._context.imports
        if imports is None or not node.is_imported:
            return False
        node.start()
        try:
            node.held = await self._do(node, lambda _: self._import_once(node, imports))
        except WherryError as error:
            text = f"cannot use the imported cache: {error}\n".encode()
            node.show(LogProgress(vertex=node.vertex.digest, stream=STDERR, data=text, at=time.time_ns()))
            return False
        node.complete(cached=True)
        return True

    async def _import_once(self, node: Node, imports: ImportedCache) -> Outcome:
        """The job that brings the outputs of a vertex here."""
        found = self._find(node)
        if found is not None:
            return found
        identity, pure = node.identity, node.pure
        assert identity is not None, "it was waited for"
        assert pure is not None, "it was found by it"
        outcome: Outcome = {}
        try:
            for output in outputs_of(node.vertex):
                async with imports.load(pure, output) as snapshot:
                    outcome[output] = await self._kept(
                        identity, snapshot, output=output, description=node.progress.name
                    )
        except BaseException:
            self._cache.release_soon(outcome.values())
            raise
        return outcome

    def entries(self, node: Node) -> list[CacheEntry]:
        """The results of a vertex that are here; they are in use until the end of the build."""
        assert node.pure is not None, "who asks knows it"
        imports = self._context.imports
        found = []
        for output in outputs_of(node.vertex):
            held = self._exported(node, output)
            if held is None and (imports is None or not node.is_imported or imports.find(node.pure, [output]) is None):
                continue
            found.append(
                CacheEntry(
                    identity=node.pure,
                    output=output,
                    snapshot=held.snapshot if held else None,
                    fast_keys=[key for key in (node.pure_key, node.pure_content_key) if key is not None],
                    description=node.progress.name,
                    created=held.record.created if held else 0,
                )
            )
        return found

    def with_parts(self, found: Sequence[CacheEntry], imported: Sequence[CacheEntry]) -> list[CacheEntry]:
        """Imported results that are here as a part of another one, an earlier step of those taken, have its layers.

        :param imported: those that are here.
        """
        imports = self._context.imports
        missing = [(entry.identity, entry.output) for entry in found if entry.snapshot is None]
        if imports is None or not missing:
            return list(found)
        parts = imports.beginnings(missing, [(entry.identity, entry.output) for entry in imported])
        return [
            _part_of(entry, imported[place[0]], place[1])
            if entry.snapshot is None and (place := parts.get((entry.identity, entry.output))) is not None
            else entry
            for entry in found
        ]

    def _exported(self, node: Node, output: int) -> Held | None:
        """An output that is here, in use until the end of the build."""
        held = node.held.get(output) or self.exported.get((node, output))
        if held is None and node.identity is not None:
            held = self._cache.find(node.identity, output)
            if held is not None:
                self.exported[node, output] = held
        return held

    async def fetch(self, node: Node) -> None:
        """Realise a source."""
        if node.is_volatile:
            assert node.fetch is not None, "it has a key"
            node.snapshots = {0: await node.fetch.fetch.snapshot()}
            return
        if self.take_from_cache(node):
            return
        node.held = await self._do(node, lambda job: self._fetch_once(node, job))
        node.complete()

    async def _fetch_once(self, node: Node, job: Job) -> Outcome:
        """The job that fetches a source; the fetch is the job's from now on."""
        fetch, source, identity = node.fetch, node.source, node.identity
        assert fetch is not None, "it has a key"
        assert source is not None, "it has a key"
        assert identity is not None, "it was waited for"
        self.fetches.remove(fetch)
        try:
            snapshot = await fetch.fetch.snapshot()
            return {0: await self._kept(identity, snapshot, kind=source.kind, description=source.description)}
        finally:
            await fetch.release()

    async def merge(self, node: Node, op: MergeOp) -> None:
        """Realise a merge, which has no record of its own."""
        node.snapshots = {0: await self._solver.operations.merge(op, await self.inputs(node))}
        node.complete()

    async def carry_out(self, node: Node) -> None:
        """Realise it by doing it, or by waiting for somebody who does."""
        inputs = await self.inputs(node)
        node.held = await self._do(node, lambda job: self._work(node, inputs, job))
        if node.vertex.metadata.ignore_cache:
            self._link_result(node)
        # lists of all files that were copied are compared for it: in a thread
        node.explanation = await self._solver.threads.run(node.explain, node, False)
        node.complete()

    def _link_result(self, node: Node) -> None:
        """What was carried out although the cache had it is what the cache gives from now on."""
        for key in (node.fast_key, node.content_key):
            if key is not None and node.identity is not None:
                self._cache.link(key, node.identity)

    async def _work(self, node: Node, inputs: Sequence[Snapshot], job: Job) -> Outcome:
        """The job that carries out a vertex; it holds what it reads, as the build that began it may end before it."""
        found = self._find(node)  # it may have come in this moment
        if found is not None:
            return found
        grounds = Grounds.hold(self._cache, node.inputs, self.copies)
        parents = _parents(node, self.copies)
        try:
            snapshots = await self._solver.operations.run(self._task(node, inputs, job), job)
            return await self._record(node, snapshots, parents)
        finally:
            if job.leftovers is not None:
                job.leftovers.with_end(lambda: grounds.release(self._cache))
            else:
                await grounds.release(self._cache)

    async def _record(self, node: Node, snapshots: Mapping[int, Snapshot], parents: Sequence[str]) -> Outcome:
        """The outputs become results of the cache."""
        identity = node.identity
        assert identity is not None, "it was waited for"
        outcome: Outcome = {}
        try:
            for output, snapshot in snapshots.items():
                outcome[output] = self._cache.add(
                    identity, snapshot, output=output, description=node.progress.name, parents=parents
                )
        except BaseException:
            self._cache.release_soon(outcome.values())
            raise
        finally:
            for output, snapshot in snapshots.items():
                if output not in outcome or outcome[output].snapshot != snapshot:
                    await self._solver.threads.finish(self._cache.remove_unless_recorded, snapshot)
        return outcome

    async def _kept(
        self, identity: str, snapshot: Snapshot, *, output: int = 0, kind: str = "regular", description: str = ""
    ) -> Held:
        """A snapshot from elsewhere becomes a result; its layers go where it does not, or there is one already."""
        held: Held | None = None
        try:
            await self._solver.threads.run(self._cache.keep, snapshot)
            held = self._cache.add(identity, snapshot, output=output, kind=kind, description=description)
        finally:
            if held is None or held.snapshot != snapshot:
                await self._solver.threads.finish(self._cache.remove_unless_recorded, snapshot)
        return held

    def _task(self, node: Node, inputs: Sequence[Snapshot], job: Job) -> Task:
        def start() -> None:
            job.show(VertexProgress(digest=node.vertex.digest, name="", started=time.time_ns()))

        def note(cost: Cost) -> None:
            job.show(VertexProgress(digest=node.vertex.digest, name="", cost=cost))

        return Task(
            vertex=node.vertex,
            inputs=inputs,
            caches=cache_mounts(node),
            imports=self._context.imports,
            limits=self._context.limits,
            start=start,
            note_cost=note,
            on_failure=self._context.on_failure,
        )

    async def _do(self, node: Node, work: Callable[[Job], Coroutine[Any, Any, Outcome]]) -> Outcome:
        """Wait for a job that all builds share which need the same; where another one's failed, it is tried anew.

        A build with a person who looks at what has failed shares with nobody: neither shall another build wait for him,
        nor shall he see the secrets of another build's client.
        """
        assert node.identity is not None, "it was waited for"
        member = Member(node, self._context)
        key = node.identity if self._context.on_failure is None else f"{node.identity} {self._context.token}"
        has_tried = False
        while True:
            try:
                return await self._solver.jobs.do(key, member, work)
            except Abandoned as error:
                if error.error is not None:  # of a registry, which nobody reaches? Once more is enough
                    if has_tried:
                        raise error.error from None
                    has_tried = True

    async def inputs(self, node: Node) -> list[Snapshot]:
        """The snapshots of its inputs, in layers that may be built upon."""
        natural = content_uses(node.vertex)
        found = []
        for number, (one, edge) in enumerate(zip(node.inputs, node.vertex.inputs, strict=True)):
            is_kept = one.is_volatile and number not in natural
            found.append(await self.stable(one) if is_kept else one.snapshot(edge.output))
        return found

    async def stable(self, node: Node) -> Snapshot:
        """A copy of a client's directory in layers, for what goes on with it."""
        if node not in self.copies:
            snapshot = node.snapshot(0)
            identity = source_identity(f"copy {await self._solver.files.checksum_of(snapshot, '/')}")
            held = self._cache.find(identity)
            if held is None:
                copied = await self._solver.operations.copy_of(snapshot)
                held = await self._kept(identity, copied, kind="source.local", description=node.progress.name)
            if node in self.copies:
                await self._cache.release([held])
            else:
                self.copies[node] = held
        return self.copies[node].snapshot


def identities_of(node: Node) -> list[str]:
    """The identities of its inputs."""
    return [one.identity or "" for one in node.inputs]


def pures_of(node: Node) -> list[str] | None:
    """The pure identities of its inputs; None where one is not known."""
    pures = [one.pure for one in node.inputs if one.pure is not None]
    return pures if len(pures) == len(node.inputs) else None


def _part_of(entry: CacheEntry, whole: CacheEntry, count: int) -> CacheEntry:
    assert whole.snapshot is not None, "it is here"
    return dataclasses.replace(entry, snapshot=Snapshot(whole.snapshot.layers[:count]), created=whole.created)


def _parents(node: Node, copies: dict[Node, Held]) -> list[str]:
    """The records upon whose layers a vertex's outputs lie, or may."""
    op = node.vertex.op
    if isinstance(op, ExecOp):
        bases = {mount.input for mount in op.mounts if mount.output != NO_OUTPUT}
    elif isinstance(op, FileOp):
        bases = {action.input for action in op.actions if action.input < len(node.inputs)}
    else:
        bases = set(range(len(node.inputs)))
    pending = [node.inputs[number] for number in sorted(bases) if number != NO_INPUT]
    found: dict[str, None] = {}
    seen: set[Node] = set()  # merges of merges have more ways to one than can be gone
    while pending:
        one = pending.pop()
        if one in seen:
            continue
        seen.add(one)
        if one in copies:
            found[copies[one].record.id] = None
        elif one.held:
            found.update((held.record.id, None) for held in one.held.values())
        else:
            pending += one.inputs  # a merge, which has no record of its own
    return list(found)
