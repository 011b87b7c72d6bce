"""The contract of a registry's storage.

The contract is that of an object store, because the poorest backend decides: no renaming, no locks, no appending to an
object, but strong consistency - what was written is seen by whoever reads or lists afterwards, from whichever instance.
Objects appear whole or not at all, durably. Several instances may use one storage at once; what needs agreement
between them is done by the order of writes (`wherry.registry.server.gc` says how).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["CHUNK", "Content", "Entry", "Progress", "Stat", "Storage", "key_of_blob"]

CHUNK = 1 << 20
"""Bytes that are moved at a time where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Stat:
    """Size and time of an object."""

    size: int  #: bytes
    modified: float  #: when it was written or touched last; seconds since the epoch, by the storage's clock


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing."""

    key: str
    size: int
    modified: float


class Progress(NamedTuple):
    """How far an upload is. Two that are equal stand for the same bytes, whoever appended meanwhile."""

    size: int  #: bytes
    version: str = ""  #: what tells runs of one length apart, where a storage cannot keep two from appending at once


class Content(Protocol):
    """An object, open for reading; whoever opened it closes it. Deleting the object meanwhile does no harm."""

    size: int  #: bytes of the part that was asked for
    file: BinaryIO | None  #: a plain file to send from, when there is one
    start: int  #: where in `file` the part begins

    def chunks(self) -> AsyncIterator[bytes]:
        """The part's bytes, piece by piece."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class Storage(Protocol):
    """Objects by key, and uploads by name. Every method may raise OutOfSpace or SystemFault."""

    async def read(self, key: str) -> bytes:
        """A small object's bytes.

        :raises NotFound: there is none.
        """
        ...

    async def stat(self, key: str) -> Stat:
        """Size and age.

        :raises NotFound: there is no such object.
        """
        ...

    async def open(self, key: str, start: int = 0, length: int | None = None) -> Content:
        """Open an object, or a part of it, for reading.

        :param start: the first byte; at most the object's size.
        :param length: how many bytes, None for all the rest; the caller has made sure that they are there.
        :raises NotFound: there is no such object.
        """
        ...

    async def write(self, key: str, data: bytes) -> None:
        """Store a small object, or replace it, durably."""
        ...

    async def touch(self, key: str) -> None:
        """Make an object as young as if it had been written now.

        :raises NotFound: there is no such object.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""
        ...

    def entries(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        """All objects whose key begins with `prefix`, which ends with a slash; sorted by key.

        :param after: a key: only those behind it.
        """
        ...

    async def begin(self, upload: str) -> None:
        """Make an empty upload.

        :param upload: a name that nobody else has: letters, digits, dashes.
        """
        ...

    async def uploaded(self, upload: str) -> Progress:
        """How far an upload is.

        :raises NotFound: there is no such upload.
        """
        ...

    async def append(
        self, upload: str, at: Progress, pieces: AsyncIterator[bytes], tap: Callable[[bytes], object]
    ) -> Progress:
        """Append to an upload; what came before `pieces` broke off is kept.

        :param at: how far the upload is.
        :param tap: is told every piece that was appended, in order, in whatever thread.
        :returns: how far the upload is now.
        :raises NotFound: there is no such upload, or no more.
        :raises Conflict: it is elsewhere, or somebody else is appending.
        """
        ...

    async def complete(self, upload: str, at: Progress) -> Progress:
        """Complete an upload: make its bytes readable (S3: complete the multipart upload). No appends afterwards.

        :returns: what the upload is to be called from now on.
        :raises NotFound: there is no such upload.
        :raises Conflict: it is elsewhere.
        """
        ...

    def contents(self, upload: str, at: Progress) -> AsyncIterator[bytes]:
        """The bytes of an upload, from its start.

        :param at: what :meth:`complete` said.
        :raises NotFound: there is no such upload.
        :raises Conflict: it is elsewhere.
        """
        ...

    async def finish(self, upload: str, key: str, at: Progress) -> None:
        """Make an upload the object `key`, durably, replacing one that is there. The upload is gone then.

        Exactly the bytes that `at` stands for become the object, and nothing is ever appended to them.

        :raises NotFound: there is no such upload.
        :raises Conflict: it is elsewhere, or somebody is appending.
        """
        ...

    async def abort(self, upload: str) -> None:
        """Forget an upload; nothing happens when there is none."""
        ...

    def uploads(self) -> AsyncIterator[tuple[str, float]]:
        """The names of all uploads, and when each was last appended to (seconds since the epoch)."""
        ...

    async def adopt(self, key: str) -> bool:
        """Make an object of a blob that this machine has elsewhere, without copying it.

        :param key: a blob's.
        :returns: False when it has none.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and descriptors."""
        ...


def key_of_blob(digest: str) -> str:
    """Where the bytes of a digest are, whichever repositories they belong to."""
    return f"blobs/{digest.replace(':', '/')}"
