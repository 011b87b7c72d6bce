"""Cache that comes from elsewhere, and goes there: what the solver knows of it.

A registry's word is believed only by those who have named it. So what comes from elsewhere has an identity of its own
(`imported_identity`): all that is built on top of it has other keys than what was built here, and nobody else finds it.
The identities that go out, and that are looked up elsewhere, are the *pure* ones: as if nothing had been imported. They
may be a registry's word, so no result is kept here under one unless it was also found out here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from wherry.build.model.snapshot import Snapshot

__all__ = ["CacheEntry", "ImportedCache", "imported_identity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """A result to be exported; its snapshot is in use meanwhile.

    :param identity: the pure one.
    :param output: which of its vertex's.
    :param snapshot: None: it is not here, but where it is imported from.
    :param fast_keys: the pure keys that lead to the identity.
    :param created: nanoseconds since the epoch.
    """

    identity: str
    output: int
    snapshot: Snapshot | None
    fast_keys: Sequence[str] = ()
    description: str = ""
    created: int = 0


class ImportedCache(Protocol):
    """All that a build imports; false where that is nothing."""

    def __bool__(self) -> bool: ...

    def find(self, identity: str, outputs: Sequence[int]) -> str | None:
        """Whether there are all of some outputs.

        :param identity: the pure one.
        :return: the identity under which they are to be kept here; None: they are not there.
        """
        ...

    def identity_of(self, fast_key: str) -> str | None:
        """The pure identity that a pure fast key leads to there."""
        ...

    def beginnings(
        self, parts: Sequence[tuple[str, int]], wholes: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int, int]]:
        """Which results are the lowest layers of other ones; all of them by identity and output.

        :return: of each part that is one: the position of such a whole, and how many layers the part has.
        """
        ...

    def load(self, identity: str, output: int) -> AbstractAsyncContextManager[Snapshot]:
        """Bring an output here; the snapshot is in use inside the block, and to be kept by who wants it longer.

        :param identity: the pure one.
        :raises WherryError: it cannot be had, or is not what it should be.
        """
        ...

    def has_mount(self, key: str) -> bool:
        """Whether there is the content of a cache mount.

        :param key: the pure one (`cache.mounts`).
        """
        ...

    def load_mount(self, key: str) -> AbstractAsyncContextManager[Snapshot]:
        """Bring the content of a cache mount here; the snapshot is in use inside the block.

        :raises WherryError: it cannot be had, or is not what it should be.
        """
        ...


def imported_identity(namespace: str, identity: str) -> str:
    """The identity of what comes from elsewhere.

    :param namespace: whose word it is, and which layers he says that it has.
    :param identity: the pure one.
    """
    return hashlib.sha256(f"imported {namespace} {identity}".encode()).hexdigest()
