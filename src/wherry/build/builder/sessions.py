"""The sessions of clients: there, or to come."""

from __future__ import annotations

import asyncio
from typing import Final

from wherry.build.model.session import BuildSession, NoSession
from wherry.errors import Conflict, NotFound, TooLarge

__all__ = ["Sessions"]

_PATIENCE: Final = 10.0
"""Seconds for which a build waits for the session of its client."""
_MOST: Final = 1000


class Sessions:
    """Sessions by their IDs.

    :param patience: seconds for which a session that is to come is waited for.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._sessions: dict[str, BuildSession] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def attach(self, session: BuildSession) -> None:
        """A session is there from now on.

        :raises Conflict: there is one with its ID, which is somebody's.
        :raises TooLarge: there are too many.
        """
        if session.id in self._sessions:
            raise Conflict(f"there is a session {session.id} already")
        if len(self._sessions) >= _MOST:
            raise TooLarge("there are too many sessions")
        self._sessions[session.id] = session
        for future in self._waiting.pop(session.id, []):
            if not future.done():
                future.set_result(None)

    def detach(self, identifier: str) -> None:
        """It has ended."""
        self._sessions.pop(identifier, None)

    async def get(self, identifier: str) -> BuildSession:
        """A session, which is waited for; for an empty ID, one that offers nothing.

        :raises NotFound: it does not come.
        """
        if not identifier:
            return NoSession()
        if identifier not in self._sessions:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(identifier, [])
            waiting.append(future)
            try:
                await asyncio.wait_for(future, self._patience)
            except TimeoutError:
                raise NotFound(f"no active session for {identifier}: context deadline exceeded") from None
            finally:
                if future in waiting:
                    waiting.remove(future)
                if not self._waiting.get(identifier, waiting):
                    self._waiting.pop(identifier, None)
        session = self._sessions.get(identifier)
        if session is None:  # it came, and went in the same moment
            raise NotFound(f"no active session for {identifier}: it has ended")
        return session
