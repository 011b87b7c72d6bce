"""The views of containers' files that are open: made for a copy, shared where that has to be, closed after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from wherry.content.threads import finished
from wherry.engine.archive.view import View
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.lifecycle.copies import Copies, Copy
from wherry.engine.lifecycle.lifecycle import Lifecycle
from wherry.engine.lifecycle.start import Starter
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import Conflict, NotFound, Unavailable
from wherry.linux.fd import Fd
from wherry.runtime.compile.mounts import file_steps
from wherry.runtime.launch.view import assembled_view, running_view

__all__ = ["Views"]

_PATIENCE: Final = 30.0  # seconds: many at once wait for each other


class _Root:
    """The root of a container, and how many copies use it.

    :ivar closing: the last copy that used it, while that closes it.
    """

    def __init__(self, root: Fd) -> None:
        self.root = root
        self.users = 1  # who made it
        self.closing: Copy | None = None


class Views:
    """Opens views; used from the event loop's thread.

    An overlay must not be mounted twice with one upper directory. So copies of a container that does not run share one
    mount, and so do those that come when it has ended under a copy.
    """

    def __init__(self, starter: Starter, lifecycle: Lifecycle, copies: Copies) -> None:
        self._starter = starter
        self._lifecycle = lifecycle
        self._copies = copies
        self._roots: dict[str, set[_Root]] = {}

    @asynccontextmanager
    async def open(self, container: Container, ref: str) -> AsyncIterator[tuple[View, Copy]]:
        """A view of a container's files as it sees them, for a copy.

        :param ref: the container as the caller named it.
        :raises Conflict: it is being removed.
        :raises InvalidInput: it does not run, and could not be started: something that is to be bound is not there.
        :raises Unavailable: it has ended, and the keeper does not say so.
        """
        await self._starter.reconciled()
        root, copy = await self._entered(container)
        try:
            yield View(root.root, ref), copy
        finally:
            self._leave(container.id, root, copy)

    async def _entered(self, container: Container) -> tuple[_Root, Copy]:
        """Begin a copy; one that comes just when the container ends waits until that is noted.

        Before, processes of it may be there still that have its overlay mounted.
        """
        task = asyncio.current_task()
        assert task is not None
        while True:
            async with container.lock:
                _check_there(container)
                copy = self._copies.begin(container.id, partial(_cancel_once, task))
                root = await self._made(container, copy)
                if root is not None:
                    return root, copy
                self._leave(container.id, None, copy)
                ended = container.exit_code()
            if not (await asyncio.wait([ended], timeout=_PATIENCE))[0]:
                raise Unavailable(f"the end of container {container.id} is not known yet")

    async def _made(self, container: Container, copy: Copy) -> _Root | None:
        making = asyncio.ensure_future(self._root_of(container))
        try:
            return await asyncio.shield(making)
        except BaseException:
            await finished(making)  # a mount that comes into being must not be forgotten
            self._leave(container.id, None if making.exception() else making.result(), copy)
            raise

    def _leave(self, container: str, root: _Root | None, copy: Copy) -> None:
        """End a copy, and close a root that nobody uses any more."""
        if root is not None:
            root.users -= 1
        if root is None or root.users:
            self._copies.end(copy)
            return
        root.closing = copy
        self._copies.end(copy, root.root)
        copy.over.add_done_callback(lambda _: self._forget(container, root))

    def _forget(self, container: str, root: _Root) -> None:
        roots = self._roots[container]
        roots.discard(root)
        if not roots:
            del self._roots[container]

    async def _root_of(self, container: Container) -> _Root | None:
        """A root that has one user more; None where the container has ended, and that is not noted yet."""
        if container.state.is_alive:
            try:
                return self._note(container, await self._running(container))
            except NotFound:
                return None
        known = self._roots.get(container.id, set())
        for root in known:
            if root.closing is None:
                root.users += 1  # at once: its last user may leave at any moment
                return root
        if known:
            await asyncio.wait([root.closing.over for root in known if root.closing is not None])
        return self._note(container, await self._assembled(container))

    def _note(self, container: Container, root: Fd) -> _Root:
        noted = _Root(root)
        self._roots.setdefault(container.id, set()).add(noted)
        return noted

    async def _running(self, container: Container) -> Fd:
        if container.pidfd is None:
            raise NotFound("the container has ended")
        pidfd = container.pidfd.duplicate()  # the thread's own, for as long as that waits
        what = f"look at the files of {container.name}"
        return await call_bounded(what, lambda: running_view(pidfd), _PATIENCE, leaves_traces=True)

    async def _assembled(self, container: Container) -> Fd:
        await self._lifecycle.let_go(container)
        async with self._starter.files_of(container) as spec:
            what, steps = f"put together the files of {container.name}", file_steps(spec)
            read_only = spec.root is not None and spec.root.readonly
            make = partial(assembled_view, steps, read_only=read_only)
            return await call_bounded(what, make, _PATIENCE, leaves_traces=True)


def _cancel_once(task: asyncio.Task[object]) -> None:
    """Cancel a task that is not being cancelled already: a second time, it would not wait for its thread any more."""
    if not task.cancelling():
        task.cancel()


def _check_there(container: Container) -> None:
    if container.state.status is Status.REMOVING:
        raise Conflict(f"container {container.id} is being removed")
    if container.state.status is Status.DEAD:
        raise Conflict(f"container {container.id} is dead")
