"""A client's SSH agent as a socket of this machine, for the git program."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from wherry.build.model.session import BuildSession, Connection
from wherry.errors import WherryError

__all__ = ["forwarded_agent"]

_BLOCK: Final = 16 << 10
_MOST: Final = 64  # connections at once


@asynccontextmanager
async def forwarded_agent(session: BuildSession, identifier: str, known_hosts: str) -> AsyncIterator[tuple[str, str]]:
    """Serve an agent, for as long as the block lasts, to nobody but this user.

    :param identifier: the agent's; empty: there is none.
    :param known_hosts: what a file of hosts' keys is to say; empty: there is none.
    :return: the paths of the socket and of that file, each empty where there is none.
    """
    with tempfile.TemporaryDirectory(prefix="wherry-ssh-") as directory:
        agent, hosts = os.path.join(directory, "agent"), os.path.join(directory, "known_hosts")
        if known_hosts:
            await asyncio.to_thread(Path(hosts).write_bytes, known_hosts.encode(errors="replace"))
        if not identifier:
            yield "", hosts if known_hosts else ""
            return
        serving = _Serving(session, identifier)
        server = await asyncio.start_unix_server(serving.serve, agent)
        try:
            yield agent, hosts if known_hosts else ""
        finally:
            server.close()
            await serving.close()


class _Serving:
    """Passes bytes between the socket's clients and the agent."""

    def __init__(self, session: BuildSession, identifier: str) -> None:
        self._session = session
        self._identifier = identifier
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= _MOST:
            writer.close()
            return
        self._tasks.add(task)
        try:
            with suppress(WherryError, OSError):  # ssh says that it could not ask its agent
                await self._pass(await self._session.ssh(self._identifier), reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    @staticmethod
    async def _pass(agent: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def ask() -> None:
            while data := await reader.read(_BLOCK):
                await agent.write(data)

        async def answer() -> None:
            while data := await agent.read():
                writer.write(data)
                await writer.drain()

        both = {asyncio.ensure_future(ask()), asyncio.ensure_future(answer())}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.wait(both)
            agent.close()

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
