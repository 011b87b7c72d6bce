"""The session: what a client offers to its build. BuildKit's session, and ``POST /build``'s body, are two of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec import Struct

from wherry.errors import NotFound
from wherry.oci.digest import Digest

__all__ = ["BuildSession", "ClientContent", "Connection", "Credentials", "NoSession", "Selection", "UsedDirectory"]


class Selection(Struct, frozen=True):
    """Which files of a directory of the client's are wanted.

    :param include: patterns; empty: all.
    :param exclude: patterns of .dockerignore.
    :param follow: paths whose symbolic links are followed, what they point at is wanted too.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()


class Credentials(NamedTuple):
    """For a registry; with `token`, an identity token."""

    username: str = ""
    password: str = ""
    token: str = ""


class Connection(Protocol):
    """A stream of bytes both ways: to an SSH agent."""

    async def read(self) -> bytes:
        """The next bytes; none at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the other end does not take them."""
        ...

    def close(self) -> None:
        """End it, both ways."""
        ...


class ClientContent(Protocol):
    """A store of blobs of the client's: an OCI layout, a directory with cache."""

    async def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has; None where there is none."""
        ...

    def read(self, digest: Digest) -> AsyncIterator[bytes]:
        """A blob's bytes, as the client has them: not verified.

        :raises NotFound: there is none.
        """
        ...

    async def write(self, digest: Digest, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Store a blob, unless it is there."""
        ...


class UsedDirectory(Protocol):
    """A directory of this machine, in use: nobody changes it until it is released."""

    @property
    def places(self) -> tuple[Path, ...]:
        """Where it is: a directory, and what has to be laid on it, in overlayfs' form."""
        ...

    def release(self) -> None:
        """It is not in use any more; safe to call twice."""
        ...


class BuildSession(Protocol):
    """What a client offers. Everything here raises `Unavailable` once the client has gone."""

    @property
    def id(self) -> str:
        """Unique on this machine."""
        ...

    @property
    def shared_key(self) -> str:
        """Of all sessions from one place (a client's build context); empty: there is none.

        A directory that was sent is kept under it, so that a later build sends what has changed only.
        """
        ...

    async def directory(self, name: str, selection: Selection, progress: Callable[[int], None]) -> UsedDirectory | None:
        """A directory that is what `sync` would make of one; None: there is none, and `sync` is to be asked."""
        ...

    async def sync(
        self, name: str, destination: Path, selection: Selection, progress: Callable[[int], None], *, session: str = ""
    ) -> None:
        """Make a directory like one of the client's: fetch what differs, remove what is not there.

        :param name: the client's name of it: ``context``, ``dockerfile``, a named context.
        :param destination: its files are regular files, directories, symbolic links, made with the client's modes and
            times; nothing else in there is followed or trusted.
        :param progress: called with the number of bytes that came.
        :param session: of another session (``local-sessionid:NAME``), which is waited for.
        :raises NotFound: the client has no such directory.
        """
        ...

    async def secret(self, identifier: str) -> bytes:
        """A secret.

        :raises NotFound: the client has none of that name.
        """
        ...

    async def ssh(self, identifier: str) -> Connection:
        """A new connection to an SSH agent.

        :raises NotFound: the client has none of that name.
        """
        ...

    async def credentials(self, host: str) -> Credentials | None:
        """The client's credentials for a registry; None: it has none."""
        ...

    def upload(self, url: str) -> AsyncIterator[bytes]:
        """What the client sends under a URL of its own (a context from standard input).

        :raises NotFound: it sends nothing under it.
        """
        ...

    def content(self, store: str) -> ClientContent:
        """A store of blobs of the client's, by its name: ``local:…`` for cache, an OCI layout's, ``export``.

        :raises NotFound: it offers none.
        """
        ...

    async def send_file(self, exporter: str, attributes: dict[str, str], pieces: AsyncIterator[bytes]) -> None:
        """Send an archive to the client; `exporter` is the number of the output.

        :raises NotFound: the client takes no files.
        """
        ...

    async def send_tree(self, exporter: str, root: Path, *, prefix: str = "", modified: int | None = None) -> None:
        """Send a directory's content to the client; what is there already stays beside it.

        :param root: may be a descriptor's name in ``/proc/self/fd``: of a mount that nobody else sees.
        :param prefix: the name of a directory at the client's that it goes into; empty: the top.
        :param modified: nanoseconds since the epoch for everything that is sent; None: as it is.
        :raises NotFound: the client takes no files.
        """
        ...


class NoSession:
    """The session of a build whose client offers nothing."""

    id = ""
    shared_key = ""

    async def directory(self, name: str, selection: Selection, progress: Callable[[int], None]) -> UsedDirectory | None:
        """There is none."""
        return None

    async def sync(
        self, name: str, destination: Path, selection: Selection, progress: Callable[[int], None], *, session: str = ""
    ) -> None:
        """Nothing is there."""
        raise NotFound(f"no local sources enabled: {name}")

    async def secret(self, identifier: str) -> bytes:
        """Nothing is there."""
        raise NotFound(f"secret {identifier}: not found")

    async def ssh(self, identifier: str) -> Connection:
        """Nothing is there."""
        raise NotFound(f"unset ssh forward key {identifier}")

    async def credentials(self, host: str) -> Credentials | None:
        """Nothing is there."""
        return None

    async def upload(self, url: str) -> AsyncIterator[bytes]:
        """Nothing is there."""
        raise NotFound(f"no such upload: {url}")
        yield b""

    def content(self, store: str) -> ClientContent:
        """Nothing is there."""
        raise NotFound(f"no content store of the client's: {store}")

    async def send_file(self, exporter: str, attributes: dict[str, str], pieces: AsyncIterator[bytes]) -> None:
        """Nobody takes it."""
        raise NotFound("the client takes no files")

    async def send_tree(self, exporter: str, root: Path, *, prefix: str = "", modified: int | None = None) -> None:
        """Nobody takes it."""
        raise NotFound("the client takes no files")
