"""What a source is: where files come from that no step of the build has made.

The solver opens a source for a vertex, asks for its key, looks that up in the cache, and asks for the files only where
the cache has none. `Fetch.close` follows whatever happened before, also where the build was cancelled in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wherry.build.model.graph import CacheSharing, SourceOp
from wherry.build.model.progress import ProgressSink
from wherry.build.model.service import ResolvedImage
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import Snapshot
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["Directories", "Fetch", "KeptDirectory", "Memory", "Source", "SourceKey", "SourceRequest", "Sources"]


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """One use of a source.

    :param platform: the one that the files are for; None: this machine's.
    :param vertex: under which progress is shown.
    :param name: for people: the vertex's.
    """

    op: SourceOp
    platform: Platform | None
    session: BuildSession
    vertex: Digest
    progress: ProgressSink
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceKey:
    """What the files are, before they are there.

    :param key: two fetches with the same key have the same files: a manifest's digest and the platform, a commit and
        the subdirectory, the digest of a file and its name, mode and times. It begins with the kind of source, so that
        no two kinds can have the same.
    :param kind: of the cache's record, as in `CacheRecord`: ``regular``, ``source.local``, ``source.git.checkout``.
    :param description: of the record: ``pulled from docker.io/library/busybox:latest@sha256:…``.
    :param keep: whether the solver keeps a record of the files under the key; not where the source keeps them itself,
        and they may change once they are closed (a client's directory).
    :param pins: for the provenance: the URI and the digest (``sha256:…``, ``sha1:…``) of each thing that was fetched.
    """

    key: str
    kind: str = "regular"
    description: str = ""
    keep: bool = True
    pins: tuple[tuple[str, str], ...] = ()


class Fetch(Protocol):
    """One use of a source, from `Source.open` on."""

    async def key(self) -> SourceKey:
        """What the files are. As cheap as it can be right: a client's directory has to be synchronised for it.

        :raises NotFound: there is no such thing.
        :raises WherryError: it cannot be reached; the sentence names it.
        """
        ...

    async def snapshot(self) -> Snapshot:
        """The files; called at most once, after `key`. Its layers do not change before `close`."""
        ...

    async def close(self) -> None:
        """Leave nothing behind that is not a part of a snapshot which was given; safe to call twice."""
        ...


class Source(Protocol):
    """Sources of one kind."""

    def open(self, request: SourceRequest) -> Fetch:
        """Begin; does not wait.

        :raises InvalidInput: the identifier or an attribute is wrong.
        """
        ...


class Sources(Protocol):
    """All of them; what the builder is given."""

    def open(self, request: SourceRequest) -> Fetch:
        """Begin with the source that an identifier's scheme names.

        :raises InvalidInput: the identifier or an attribute is wrong.
        :raises Unsupported: there is no such kind of source.
        """
        ...

    async def resolve_image(
        self, reference: str, platform: Platform | None, mode: str, session: BuildSession, progress: ProgressSink
    ) -> ResolvedImage:
        """What an image's name means; mode ``pull``, ``local``, or the default, as in BuildKit.

        Also for ``oci-layout://NAME``, whose content the session has.

        :raises NotFound: there is no such image.
        """
        ...


class Memory(Protocol):
    """Small things that sources remember beyond a restart: ETags. Bounded: the oldest are forgotten."""

    def recall(self, name: str) -> str | None:
        """What was remembered under a name."""
        ...

    def remember(self, name: str, value: str) -> None:
        """Remember something, in place of what was."""
        ...


class KeptDirectory(Protocol):
    """A directory of the builder's that outlives builds, in use."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def is_new(self) -> bool:
        """Whether it was made for this use, and is empty."""
        ...

    def release(self) -> None:
        """It is not in use any more, and may be pruned from now on; safe to call twice."""
        ...


class Directories(Protocol):
    """Directories that outlive builds: cache mounts, and what clients have sent. Listed and pruned with the cache."""

    async def acquire(
        self,
        kind: str,
        key: str,
        description: str,
        *,
        sharing: CacheSharing = CacheSharing.PRIVATE,
        waits: Callable[[], object] = lambda: None,
    ) -> KeptDirectory:
        """Use a directory; made when there is none.

        :param kind: of the record: ``source.local``, ``source.git.checkout`` (a bare repository), ``exec.cachemount``.
        :param key: which one; kinds have keys of their own.
        :param sharing: ``private`` gives another one while it is in use, ``locked`` waits.
        :param waits: called once before it waits.
        """
        ...

    def paths(self, kind: str) -> Sequence[tuple[str, Path]]:
        """The keys and paths of all directories of a kind."""
        ...
