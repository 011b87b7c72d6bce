"""Uploads under way.

Nothing of a session is kept here that another instance would miss: its bytes are in the storage, its repository is
part of its name. Only the running digest is in memory; whoever lacks it reads the bytes again.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from wherry.errors import NotFound
from wherry.oci.digest import Digest
from wherry.registry.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wherry.registry.storage import Storage

__all__ = ["Sessions"]

_REMEMBERED: Final = 4096
"""Running digests that are kept at most."""


class _Running:
    """The digest of the first `size` bytes of an upload."""

    def __init__(self, algorithm: str) -> None:
        self.hash: Any = hashlib.new(algorithm)
        self.size = 0

    def __call__(self, piece: bytes) -> None:
        self.hash.update(piece)
        self.size += len(piece)


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

    async def size(self, name: str, session: str) -> int:
        """How many bytes an upload has.

        :raises Refusal: the repository has no such upload.
        """
        unknown = Refusal("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", {"session": session[:80]})
        random, _, mark = session.partition("-")
        if mark != _mark(name) or len(random) != 32 or not set(random) <= set("0123456789abcdef"):
            raise unknown
        try:
            return await self._storage.uploaded(session)
        except NotFound:
            raise unknown from None

    async def append(self, session: str, offset: int, pieces: AsyncIterator[bytes], algorithm: str = "sha256") -> int:
        """Append to an upload, computing its digest on the way. :returns: its size.

        :raises Conflict: somebody else is appending.
        """
        running = self._running.pop(session, None)
        if offset == 0:
            running = _Running(algorithm)
        elif running is None or running.size != offset:
            running = None
        size = await self._storage.append(session, offset, pieces, running or _ignore)
        if running is not None:
            self._running[session] = running
            if len(self._running) > _REMEMBERED:
                self._running.popitem(last=False)
        return size

    async def digest(self, session: str, size: int, algorithm: str) -> Digest:
        """The digest of an upload of `size` bytes."""
        running = self._running.get(session)
        if running is None or running.size != size or running.hash.name != algorithm:
            running = _Running(algorithm)
            async for piece in self._storage.contents(session):
                await asyncio.to_thread(running, piece)
        return Digest.from_hash(running.hash)

    async def finish(self, session: str, key: str) -> None:
        """Make an upload the object `key`."""
        await self._storage.finish(session, key)
        self._running.pop(session, None)

    async def cancel(self, session: str) -> None:
        """Forget an upload."""
        self._running.pop(session, None)
        await self._storage.abort(session)


def _mark(name: str) -> str:
    """What in a session's name says whose it is: a session that was heard of elsewhere is of no use elsewhere."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _ignore(piece: bytes) -> None:
    """Compute nothing."""
