"""What a step sees of its client's secrets and SSH agents: files and sockets, in a directory that goes with the step.

Nothing of it is ever on a disk: the directory is below the exec root, in memory, and nobody but root enters it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from wherry.build.cache.threads import Threads
from wherry.build.model.executor import StepMount
from wherry.build.model.graph import BuildMount, Secret, SecretEnv, Ssh
from wherry.build.model.session import BuildSession, Connection
from wherry.content.durable import disk_errors, remove_tree, temporary_name, write_all
from wherry.content.threads import finished
from wherry.errors import InvalidInput, NotFound, WherryError

__all__ = ["PrivateFiles"]

_SECRET: Final = 500 << 10  # bytes, as in BuildKit
_CHUNK: Final = 32 << 10
_CONNECTIONS: Final = 64  # of one step at a time


class PrivateFiles:
    """The secrets and sockets of one step.

    :param root: below which the directory is made; in memory.
    :param session: gives the session of a client that waits for the step: another one, when the first has gone.
    """

    def __init__(self, root: Path, session: Callable[[], BuildSession], threads: Threads) -> None:
        self._directory = temporary_name(root, "step")
        self._session = session
        self._threads = threads
        self._agents: list[_Agent] = []
        self._count = 0
        self._is_made = False

    async def environment(self, wanted: Sequence[SecretEnv]) -> list[str]:
        """Variables whose values are secrets.

        :raises NotFound: the client has no such secret.
        """
        found = []
        for one in wanted:
            data = await self._secret(one.id, optional=one.optional)
            if data is not None:
                found.append(f"{one.name}={data.decode(errors='surrogateescape')}")
        return found

    async def secret(self, mount: BuildMount, kind: Secret) -> StepMount | None:
        """A file with a secret; None where it is optional, and the client has none.

        :raises NotFound: the client has no such secret.
        """
        data = await self._secret(kind.id, optional=kind.optional)
        if data is None:
            return None
        path = await self._place()
        await self._threads.run(_write, path, data, kind)
        return StepMount(mount.target, "bind", source=str(path), readonly=True)

    async def _secret(self, identifier: str, *, optional: bool) -> bytes | None:
        try:
            data = await self._session().secret(identifier)
        except NotFound:
            if optional:
                return None
            raise
        if len(data) > _SECRET:
            raise InvalidInput(f"invalid secret size {len(data)}")
        return data

    async def ssh(self, mount: BuildMount, kind: Ssh) -> StepMount | None:
        """A socket to an SSH agent; None where it is optional, and the client has none.

        :raises NotFound: the client has no such agent.
        """
        try:
            (await self._session().ssh(kind.id)).close()
        except NotFound:
            if kind.optional:
                return None
            raise
        path = await self._place()
        listener = await self._threads.run(_listen, path, kind, undo=lambda one: one.close())
        agent = _Agent(listener, lambda: self._session().ssh(kind.id))
        self._agents.append(agent)
        return StepMount(mount.target, "bind", source=str(path))

    async def _place(self) -> Path:
        if not self._is_made:
            self._is_made = True
            with disk_errors("make a directory for secrets"):
                await self._threads.run(lambda: self._directory.mkdir(mode=0o700, parents=True))
        self._count += 1
        return self._directory / str(self._count)

    async def close(self) -> None:
        """Leave nothing; returns when nothing of it is left, also while being cancelled."""
        for agent in self._agents:
            await agent.close()
        if self._is_made:
            await self._threads.finish(remove_tree, self._directory)


def _write(path: Path, data: bytes, kind: Secret) -> None:
    with disk_errors("write a secret"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data)
            os.fchown(fd, kind.uid, kind.gid)
            os.fchmod(fd, stat.S_IMODE(kind.mode))
        finally:
            os.close(fd)


def _listen(path: Path, kind: Ssh) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with disk_errors("make a socket for SSH agents"):
            # the path may be longer than an address of a socket: it is reached through its directory
            parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                listener.bind(f"/proc/self/fd/{parent}/{path.name}")
                os.chown(path, kind.uid, kind.gid)
                path.chmod(stat.S_IMODE(kind.mode))
            finally:
                os.close(parent)
            listener.listen(_CONNECTIONS)
            listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class _Agent:
    """Takes a step's connections, and forwards each to a new one of the client's."""

    def __init__(self, listener: socket.socket, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._listener = listener
        self._connect = connect
        self._running: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(), name="wherry-build-ssh")

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, _ = await loop.sock_accept(self._listener)
            except OSError:
                await asyncio.sleep(0.1)  # no descriptors are left at the moment
                continue
            if len(self._running) >= _CONNECTIONS:
                taken.close()
                continue
            task = loop.create_task(self._serve(taken), name="wherry-build-ssh")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _serve(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        with taken, contextlib.suppress(WherryError, OSError):
            connection = await self._connect()
            try:
                await _relay(taken, connection)
            finally:
                connection.close()

    async def close(self) -> None:
        """End all connections, and take no more; nothing uses the socket's number any more before it is closed."""
        for task in (tasks := [self._accepting, *self._running]):
            task.cancel()
        for task in tasks:
            await finished(task)
        self._listener.close()


async def _relay(taken: socket.socket, connection: Connection) -> None:
    """Carry bytes both ways, until one end has closed."""
    loop = asyncio.get_running_loop()

    async def upwards() -> None:
        while data := await loop.sock_recv(taken, _CHUNK):
            await connection.write(data)

    async def downwards() -> None:
        while data := await connection.read():
            await loop.sock_sendall(taken, data)

    both = [asyncio.ensure_future(upwards()), asyncio.ensure_future(downwards())]
    try:
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if both[0] in done and both[1] not in done:
            await asyncio.wait(both, timeout=1)  # what the agent still has to say
        for task in done:
            task.result()
    finally:
        for task in both:
            task.cancel()
        for task in both:
            await finished(task)
