"""Uploads under way.

Nothing of a session is kept here that another instance would miss: its bytes are in the storage, its repository is
part of its name. Only the running digest is in memory; whoever lacks it reads the bytes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from wherry.errors import Conflict, NotFound
from wherry.oci.digest import Digest
from wherry.registry.server.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from wherry.registry.storage.contract import Progress, Storage

__all__ = ["Sessions", "refused"]

_REMEMBERED: Final = 4096
"""Running digests that are kept at most."""


class _Running:
    """The digest of an upload.

    :ivar at: how far that was when this was its digest.
    """

    def __init__(self, algorithm: str) -> None:
        self.hash: Any = hashlib.new(algorithm)
        self.at: Progress | None = None


class Sessions:
    """The sessions of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._running: OrderedDict[str, _Running] = OrderedDict()

    async def begin(self, name: str) -> str:
        """Begin an upload to a repository. :returns: its name."""
        session = f"{secrets.token_hex(16)}-{_mark(name)}"
        await self._storage.begin(session)
        return session

    async def progress(self, name: str, session: str) -> Progress:
        """How far an upload is.

        :raises Refusal: the repository has no such upload.
        """
        random, _, mark = session.partition("-")
        if mark != _mark(name) or len(random) != 32 or not set(random) <= set("0123456789abcdef"):
            raise _unknown(session)
        try:
            return await self._storage.uploaded(session)
        except NotFound:
            raise _unknown(session) from None

    async def unfinished(self, name: str) -> dict[str, int]:
        """The uploads to a repository that are not finished, and how many bytes each has."""
        found = {}
        mark = f"-{_mark(name)}"
        async for session, _ in self._storage.uploads():
            if session.endswith(mark):
                with contextlib.suppress(NotFound):  # finished meanwhile
                    found[session] = (await self._storage.uploaded(session)).size
        return found

    async def append(
        self, session: str, at: Progress, pieces: AsyncIterator[bytes], algorithm: str = "sha256"
    ) -> Progress:
        """Append to an upload, computing its digest on the way. :returns: how far it is then.

        :raises Conflict: somebody else is appending.
        :raises NotFound: somebody has cancelled it.
        """
        running = self._running.pop(session, None)
        if at.size == 0:
            running = _Running(algorithm)
        elif running is None or running.at != at:
            running = None
        now = await self._storage.append(session, at, pieces, running.hash.update if running else _ignore)
        if running is not None:
            running.at = now
            self._running[session] = running
            if len(self._running) > _REMEMBERED:
                self._running.popitem(last=False)
        return now

    async def digest(self, session: str, at: Progress, algorithm: str) -> tuple[Digest, Progress]:
        """The digest of an upload, and what to finish so that it is that of the object."""
        running = self._running.get(session)
        if running is not None and running.at == at and running.hash.name == algorithm:
            return Digest.from_hash(running.hash), at
        hasher = hashlib.new(algorithm)
        at = await self._storage.complete(session, at)
        async for piece in self._storage.contents(session, at):
            await asyncio.to_thread(hasher.update, piece)
        return Digest.from_hash(hasher), at

    async def finish(self, session: str, key: str, at: Progress) -> None:
        """Make an upload the object `key`.

        :raises Conflict: somebody is appending.
        :raises NotFound: somebody has cancelled it.
        """
        await self._storage.finish(session, key, at)
        self._running.pop(session, None)

    async def cancel(self, session: str) -> None:
        """Forget an upload."""
        self._running.pop(session, None)
        await self._storage.abort(session)


def _mark(name: str) -> str:
    """The part of a session's name that binds it to a repository."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _unknown(session: str) -> Refusal:
    return Refusal("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", {"session": session[:80]})


@contextlib.contextmanager
def refused(session: str) -> Iterator[None]:
    """A storage error about an upload as a response."""
    try:
        yield
    except NotFound:
        raise _unknown(session) from None
    except Conflict as error:
        raise Refusal("BLOB_UPLOAD_INVALID", str(error), status=409) from error


def _ignore(piece: bytes) -> None:
    """Compute nothing."""
