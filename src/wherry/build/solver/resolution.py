"""One build's way through its graph: what each vertex is, which ones have to be carried out, and these side by side.

A vertex is *identified* when its identity is known (`cache.keys`), and *realised* when its outputs are there. Asked for
an edge, its vertex is wanted; what is wanted and has no record in the cache wants its inputs. So nothing is carried out
that nobody needs.

A vertex of which the identity depends on a content that does not exist yet (COPY from a stage that has to be built) is
*slow*, and so are all above it. Then what else they need is begun at once, without knowing whether it is needed: all
stages run side by side. Before that, what can be known quickly is waited for.

Nothing here recurses, and no task waits for another one's: thousands of vertices may lie upon each other, and be
cancelled.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wherry.build.cache.keys import ContentUse, content_key, content_uses, fast_key, source_identity
from wherry.build.cache.mounts import CacheMount
from wherry.build.cache.remote import CacheEntry, imported_identity
from wherry.build.model.errors import VertexFailed
from wherry.build.model.graph import Edge, MergeOp, SourceOp, topological
from wherry.build.model.progress import legal_text
from wherry.build.model.snapshot import Snapshot
from wherry.build.solver.cache_mounts import all_cache_mounts
from wherry.build.solver.context import CANCELLED, BuildContext, Solver
from wherry.build.solver.node import Node, Pass
from wherry.build.solver.operations import ExitError, outputs_of
from wherry.build.solver.shared_fetch import SharedFetch
from wherry.build.solver.vertex_work import VertexWork, identities_of, pures_of
from wherry.build.sources.contract import SourceRequest
from wherry.content.threads import finished, in_thread
from wherry.errors import Forbidden, NotFound, WherryError
from wherry.oci.digest import Digest

__all__ = ["Resolution"]

_log: Final = logging.getLogger(__name__)


@dataclass(eq=False)
class _Call:
    """Somebody who waits for vertices."""

    open: set[Node]
    done: Pass = field(default_factory=Pass)
    error: Exception | None = None


class Resolution:
    """All questions of one build."""

    def __init__(self, solver: Solver, context: BuildContext) -> None:
        self._solver = solver
        self._cache = solver.cache
        self._context = context
        self._nodes: dict[Digest, Node] = {}
        self._calls: set[_Call] = set()
        self._quick = 0
        self._eager: list[tuple[Node, Node]] = []
        self._work = VertexWork(solver, context)
        self._stopping: asyncio.Task[None] | None = None
        self._is_closed = False

    # --- asking -----------------------------------------------------------------------------------

    async def solve(self, edges: Sequence[Edge], *, is_final: bool = False) -> list[Snapshot]:
        """Carry out what some edges need; their snapshots stay until `close`.

        :param is_final: whether the snapshots are for an exporter: not a client's directory as it is.
        :raises VertexFailed: a vertex failed.
        """
        while self._stopping is not None:  # what is being cancelled could not be begun again
            await asyncio.wait([self._stopping])
        order = self._add(edges)
        targets = [self._nodes[edge.vertex.digest] for edge in edges]
        call = _Call({node for node in targets if not node.realised.is_open})
        self._calls.add(call)
        try:
            for node in targets:
                if node.error is not None:
                    raise node.error
                self._want(node)
            self._identify(order)
            if call.open:
                await call.done.wait()
            if call.error is not None:
                raise call.error
            snapshots = [node.snapshot(edge.output) for node, edge in zip(targets, edges, strict=True)]
            if is_final:
                snapshots = [
                    await self._work.stable(node) if node.is_volatile else snapshot
                    for node, snapshot in zip(targets, snapshots, strict=True)
                ]
        finally:
            self._calls.discard(call)
            if not self._calls:
                await self._stop()
        for node in order:
            if not node.is_complete and node.error is None:
                node.complete(cached=True)
        return snapshots

    def entries(self) -> list[CacheEntry]:
        """The results of all vertices, as far as they are here or imported, for an export; they stay until `close`."""
        found: list[CacheEntry] = []
        imported: list[CacheEntry] = []
        for node in self._nodes.values():
            if node.pure is not None and node.error is None and not node.is_source:
                some = self._work.entries(node)
                found += some
                imported += [entry for entry in some if node.is_imported and entry.snapshot is not None]
        return self._work.with_parts(found, imported)

    def cache_mounts(self) -> list[CacheMount]:
        """The cache mounts of all steps, whether these were run or not."""
        return all_cache_mounts(self._nodes.values())

    def pins(self) -> dict[Digest, tuple[tuple[str, str], ...]]:
        """By the digest of a source's vertex: the URI and digest of each thing that was fetched for it."""
        return {digest: node.source.pins for digest, node in self._nodes.items() if node.source is not None}

    async def close(self) -> None:
        """End everything of the build; what it has used may go from now on. Also while being cancelled."""
        self._is_closed = True
        await self._stop()
        for fetch in self._work.fetches:
            await fetch.release()
        self._work.fetches.clear()
        helds = [held for node in self._nodes.values() for held in node.held.values()]
        helds += [*self._work.copies.values(), *self._work.exported.values()]
        leftovers = [one for node in self._nodes.values() for one in node.leftovers]
        self._nodes.clear()
        self._work.copies.clear()
        self._work.exported.clear()
        for one in leftovers:
            await one.release()
        await self._cache.release(helds)
        await self._solver.jobs.drain()

    # --- the graph --------------------------------------------------------------------------------

    def _add(self, edges: Iterable[Edge]) -> list[Node]:
        """The nodes that some edges need, inputs first; new ones are made and announced."""
        order = []
        for vertex in topological(edges):
            node = self._nodes.get(vertex.digest)
            if node is None:
                inputs = [self._nodes[edge.vertex.digest] for edge in vertex.inputs]
                node = self._nodes[vertex.digest] = Node(vertex, inputs, self._context.show)
                node.explain = self._context.explain
                node.announce()
                failed = next((one.error for one in inputs if one.error is not None), None)
                if failed is not None:
                    node.error = failed
                else:
                    self._check(node)
            order.append(node)
        return order

    def _check(self, node: Node) -> None:
        """Refuse what the build may not do at once: also where its result is in the cache, as BuildKit does."""
        try:
            self._context.permissions.check(node.vertex.op)
        except Forbidden as error:
            self._fail(node, error)

    # --- tasks ------------------------------------------------------------------------------------

    def _start(self, node: Node, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(node, work), name="wherry-build-vertex")
        node.tasks.add(task)
        task.add_done_callback(node.tasks.discard)

    async def _guarded(self, node: Node, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._fail(node, error)

    async def _stop(self) -> None:
        """Cancel what is under way, and wait for its end, whoever is being cancelled. It can be begun again."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop_now(), name="wherry-build-stop")
        stopping = self._stopping
        await finished(stopping)
        stopping.result()

    async def _stop_now(self) -> None:
        try:
            await self._cancel()
        finally:
            self._stopping = None

    async def _cancel(self) -> None:
        self._eager.clear()
        while tasks := [task for node in self._nodes.values() for task in node.tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            for task in tasks:
                await finished(task)
            self._eager.clear()
        self._quick = 0
        for node in self._nodes.values():
            if not node.realised.is_open:
                node.is_wanted = node.is_slow = False
            if not node.identified.is_open:
                node.is_identifying = False
            if node.progress.started is not None and not node.is_complete and node.error is None:
                self._end_interrupted(node)

    def _end_interrupted(self, node: Node) -> None:
        """It was being worked at; a source whose files nobody needed has done all that it had to."""
        if node.is_source and node.identity is not None and not self._is_closed:
            node.complete(cached=True)
        else:
            node.complete(error=CANCELLED)

    def _fail(self, node: Node, error: Exception) -> None:
        """A vertex failed, and so do all that need it."""
        failure = self._failure(node, error)
        node.complete(error=str(failure))
        pending = [node]
        while pending:
            one = pending.pop()
            if one.error is not None or one.realised.is_open:
                continue
            one.error = failure
            one.identified.open()
            one.realised.open()
            pending += one.consumers
            for call in self._calls:
                if one in call.open:
                    call.error = call.error or failure
                    call.done.open()

    def _failure(self, node: Node, error: Exception) -> VertexFailed:
        if not isinstance(error, WherryError):
            _log.error("a build step failed for a reason that is our own", exc_info=error)
            error = WherryError(f"internal error: {type(error).__name__}: {error}")
        metadata = node.vertex.metadata
        failure = VertexFailed(
            legal_text(str(error)),
            vertex=node.vertex.digest,
            exit_code=error.exit_code if isinstance(error, ExitError) else None,
            file=metadata.file,
            source=self._context.source_text(metadata.file),
            ranges=metadata.ranges,
            step=node.vertex,
            mounts=node.leftovers[-1].mounts if node.leftovers else (),
        )
        failure.__cause__ = error
        return failure

    # --- identifying ------------------------------------------------------------------------------

    def _identify(self, nodes: Iterable[Node]) -> None:
        """Find the identities of vertices whose inputs have theirs, and of those above them."""
        queue = deque(nodes)
        while queue:
            node = queue.popleft()
            if node.identified.is_open or node.is_identifying or node.error is not None:
                continue
            if node.is_source:
                node.is_identifying = True
                self._quick += 1
                self._start(node, self._identify_source(node))
            elif all(one.identity is not None for one in node.inputs):
                queue.extend(self._identify_one(node))
            elif any(one.is_slow for one in node.inputs):
                self._mark_slow(node)
        self._begin_eagerly()

    def _identify_one(self, node: Node) -> Sequence[Node]:
        """Find an identity; returns the nodes that may have theirs now."""
        identities, pures = identities_of(node), pures_of(node)
        volatile = frozenset(number for number, one in enumerate(node.inputs) if one.is_volatile)
        node.fast_key = None if volatile else fast_key(node.vertex, identities)
        is_pure = pures == identities
        if node.fast_key is not None and pures is not None:
            node.pure_key = node.fast_key if is_pure else fast_key(node.vertex, pures)
        node.uses = content_uses(node.vertex, volatile)
        ignores = node.vertex.metadata.ignore_cache
        known = None if node.fast_key is None or ignores else self._cache.records.identity_of(node.fast_key)
        if known is None and not ignores and (pure := self._imported_by_key(node, node.pure_key)):
            assert node.fast_key is not None, "it has a pure one"
            return self._set_identity(node, node.fast_key, pure)
        if known is None and node.uses:
            node.is_identifying = True
            is_quick = all(self._is_at_hand(node, number) for number in node.uses)
            self._quick += is_quick
            self._start(node, self._identify_by_content(node, is_quick=is_quick))
            self._mark_slow(node)
            return ()
        if known is None:
            assert node.fast_key is not None, "a volatile input counts by its content"
            known = self._salted(node, node.fast_key) if ignores else node.fast_key
            pure = known if is_pure else node.pure_key
        else:
            pure = known if is_pure else self._pure_of(node)
        return self._set_identity(node, known, pure)

    def _imported_by_key(self, node: Node, key: str | None) -> str | None:
        """The pure identity of an imported result that a pure key leads to; None where it is here as well."""
        imports, outputs = self._context.imports, outputs_of(node.vertex)
        if not imports or key is None or self._is_here(node.fast_key or "", outputs):
            return None
        pure = imports.identity_of(key)
        return pure if pure is not None and imports.find(pure, outputs) is not None else None

    def _is_here(self, identity: str, outputs: Sequence[int]) -> bool:
        return all(self._cache.has(identity, output) for output in outputs)

    def _pure_of(self, node: Node) -> str | None:
        """The pure identity that a pure key has led to before, in a build that imported as well."""
        if node.pure_key is None or not node.uses:
            return node.pure_key
        return self._cache.records.identity_of(_pure_link(node))

    def _is_at_hand(self, node: Node, number: int) -> bool:
        """Whether an input's content is there without carrying out anything."""
        one = node.inputs[number]
        if one.realised.is_open or one.is_source:
            return True
        return self._cache.has(one.identity or "", node.vertex.inputs[number].output)

    def _salted(self, node: Node, key: str) -> str:
        """The identity of what is carried out whatever the cache has; that of nobody else."""
        return hashlib.sha256(f"{key} {self._context.token} {node.vertex.digest}".encode()).hexdigest()

    def _set_identity(self, node: Node, identity: str, pure: str | None) -> Sequence[Node]:
        """Note an identity; what is not here and can be imported gets one of its own.

        :param identity: found out here, and never an import's word.
        """
        imports, outputs = self._context.imports, outputs_of(node.vertex)
        has_record = not node.is_source and not isinstance(node.vertex.op, MergeOp)
        if imports and pure is not None and has_record and not node.vertex.metadata.ignore_cache:
            other = None if self._is_here(identity, outputs) else imports.find(pure, outputs)
            node.is_imported = other is not None
            identity = other or identity
        node.pure = pure
        node.identity = identity
        node.identified.open()
        return node.consumers

    async def _identify_source(self, node: Node) -> None:
        op = node.vertex.op
        assert isinstance(op, SourceOp), "it is one"
        node.start()
        try:
            if self._context.policy:
                op = await in_thread(self._context.policy.applied, op)
            request = SourceRequest(
                op=op,
                platform=node.vertex.platform,
                session=self._context.session,
                vertex=node.vertex.digest,
                progress=node.show,
                name=node.progress.name,
            )
            node.fetch = SharedFetch(self._solver.sources.open(request))
            self._work.fetches.append(node.fetch)
            node.source = await node.fetch.fetch.key()
            node.is_volatile = not node.source.keep
            if node.is_volatile:
                node.complete()
            identity = source_identity(node.source.key)
            self._identify(self._set_identity(node, identity, identity))
        finally:
            self._end_quick()

    async def _identify_by_content(self, node: Node, *, is_quick: bool) -> None:
        try:
            for number in node.uses:
                self._want(node.inputs[number])
            for number, uses in node.uses.items():
                one = node.inputs[number]
                await one.realised.wait()
                if one.error is not None:
                    return
                snapshot = one.snapshot(node.vertex.inputs[number].output)
                node.checksums[number] = [await self._checksum(node, snapshot, use) for use in uses]
            identities, pures = identities_of(node), pures_of(node)
            key = content_key(node.vertex, identities, node.checksums)
            pure = None if pures is None else content_key(node.vertex, pures, node.checksums)
            if node.vertex.metadata.ignore_cache:
                identity = self._salted(node, key)
            else:
                identity = self._cache.records.identity_of(key) or key
                if node.fast_key is not None:
                    self._cache.link(node.fast_key, identity)
                if pures != identities and node.pure_key is not None and pure is not None:
                    self._cache.link(_pure_link(node), pure)
            node.content_key, node.pure_content_key = key, pure
            linked = None
            is_wanted = bool(self._context.imports) and not node.vertex.metadata.ignore_cache
            if is_wanted and not self._is_here(identity, outputs_of(node.vertex)):
                linked = self._imported_by_key(node, pure)
            known = identity if pures == identities else pure
            self._identify(self._set_identity(node, identity, linked or known))
        finally:
            if is_quick:
                self._end_quick()

    async def _checksum(self, node: Node, snapshot: Snapshot, use: ContentUse) -> str:
        files = self._solver.files
        try:
            if use.copy is not None:
                return await files.checksum(snapshot, use.copy)
            return await files.checksum_of(snapshot, use.path)
        except NotFound as error:
            if use.optional:
                return ""
            ref = str(node.inputs[use.input].identity)[:25]
            raise NotFound(
                f"failed to compute cache key: failed to calculate checksum of ref {ref}: {error}"
            ) from error

    # --- side by side -----------------------------------------------------------------------------

    def _mark_slow(self, node: Node) -> None:
        """Its identity will take long, and so will those of all above it: what they need may be begun."""
        pending = [node]
        while pending:
            one = pending.pop()
            if not one.is_slow:
                one.is_slow = True
                self._eager += [(needed, one) for needed in one.inputs]
                pending += one.consumers

    def _end_quick(self) -> None:
        self._quick -= 1
        self._begin_eagerly()

    def _begin_eagerly(self) -> None:
        """Begin what will probably be needed, once nothing can be learnt quickly any more."""
        if self._quick or not self._eager:
            return
        eager, self._eager = self._eager, []
        for needed, consumer in eager:
            is_open = not consumer.realised.is_open and (consumer.identity is None or consumer.is_wanted)
            if is_open and not needed.is_volatile:
                self._want(needed)

    # --- realising --------------------------------------------------------------------------------

    def _want(self, node: Node) -> None:
        if not node.is_wanted and not node.realised.is_open:
            node.is_wanted = True
            self._start(node, self._realise(node))

    async def _realise(self, node: Node) -> None:
        await node.identified.wait()
        if node.error is not None:
            return
        if node.is_source:
            await self._work.fetch(node)
        elif isinstance(node.vertex.op, MergeOp):
            if not await self._realise_inputs(node):
                return
            await self._work.merge(node, node.vertex.op)
        elif not self._work.take_from_cache(node) and not await self._work.take_imported(node):
            if not await self._realise_inputs(node):
                return
            await self._work.carry_out(node)
        if node.snapshots is None:
            node.snapshots = {output: held.snapshot for output, held in node.held.items()}
        node.realised.open()
        for call in self._calls:
            call.open.discard(node)
            if not call.open:
                call.done.open()

    async def _realise_inputs(self, node: Node) -> bool:
        for one in node.inputs:
            self._want(one)
        for one in node.inputs:
            await one.realised.wait()
            if one.error is not None:
                return False
        return True


def _pure_link(node: Node) -> str:
    """The key that leads to a pure identity: it holds only for those who have the same, by their own identities."""
    return imported_identity(f"pure {node.fast_key}", node.pure_key or "")
