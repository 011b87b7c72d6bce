"""A client that sends its files in one archive, and nothing more: the session of ``POST /build``.

The archive is unpacked into a directory, and used where it is; where a build asks for a part of it, that is linked from
there, as nobody changes it.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wherry.build.model.patterns import NO_MATCH, PatternMatcher
from wherry.build.model.session import Credentials, NoSession, Selection, UsedDirectory
from wherry.build.sources.contexts import ContextInUse
from wherry.build.sources.tree_links import Judge, everything, excluded, link_tree
from wherry.content.durable import disk_errors
from wherry.content.threads import in_thread
from wherry.errors import NotFound
from wherry.layers.compression import Compression, detect
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.layers.reuse import Reuse
from wherry.layers.tar.entry import Entry, Kind
from wherry.layers.tar.reader import BLOCK, is_header
from wherry.layers.unpack import unpack_files
from wherry.linux import trees
from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from wherry.layers.source import Reader

__all__ = ["ArchiveSession", "unpack_context"]

_NAMES: Final = frozenset({"context", "dockerfile"})
_DOCKERFILE: Final = 16 << 20  # bytes
_SPECIAL: Final = frozenset("*?[\\")
_MOST_PATHS: Final = 1000


def unpack_context(stream: Reader, target: Path, limits: Limits = DEFAULT_LIMITS, former: Path | None = None) -> bool:
    """Unpack a context into an empty directory; what is no archive is taken for a Dockerfile. In a thread.

    :param former: a context that nobody needs any more, whose files are used again; the caller removes what is left.
    :return: whether it was an archive.
    :raises InvalidInput: it wants something that no honest archive wants.
    :raises TooLarge: it goes beyond the limits.
    """
    head = b""
    while len(head) < BLOCK and (piece := stream.read(BLOCK - len(head))):
        head += piece
    if not head:
        return True
    rest = _Rest(head, stream)
    if detect(head) is not Compression.PLAIN or is_header(head):
        with ExitStack() as stack:
            stack.enter_context(disk_errors("unpack a build context"))
            root = stack.enter_context(Fd(os.open(target, trees.DIRECTORY)))
            reuse = stack.enter_context(Reuse(Fd(os.open(former, trees.DIRECTORY)))) if former is not None else None
            unpack_files(rest, root.fileno(), limits, _of_this_user, reuse)
        _drain(rest)
        return True
    with disk_errors("store a Dockerfile"):
        (target / "Dockerfile").write_bytes(_read(rest))
    return False


def _read(stream: _Rest) -> bytes:
    """A Dockerfile; one byte more than it may have, and nobody will take it."""
    data = b""
    while len(data) <= _DOCKERFILE and (piece := stream.read(_DOCKERFILE + 1 - len(data))):
        data += piece
    _drain(stream)
    return data


def _drain(stream: Reader) -> None:
    """Clients do not read an answer before they have sent everything."""
    while stream.read(1 << 20):
        pass


def _of_this_user(entry: Entry) -> bool:
    """A context's owners mean nothing here; what is no file, directory or link is left out."""
    entry.uid, entry.gid = os.geteuid(), os.getegid()
    return entry.kind not in (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO)


class _Rest:
    """A stream whose beginning was read already."""

    def __init__(self, head: bytes, stream: Reader) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._stream.read(size)


class ArchiveSession(NoSession):
    """A session over an unpacked context.

    :param context: the unpacked one; None where it is elsewhere.
    :param credentials: gives those for a registry.
    :param secret_values: secrets by their IDs.
    """

    shared_key = "archive"  # whatever was sent before is replaced as a whole

    def __init__(
        self,
        context: ContextInUse | None,
        credentials: Callable[[str], Credentials | None] = lambda host: None,
        secret_values: Mapping[str, bytes] | None = None,
    ) -> None:
        self.id = secrets.token_hex(16)
        self._context = context
        self._root = context.root if context is not None else None
        self._credentials = credentials
        self._secrets = dict(secret_values or {})

    async def secret(self, identifier: str) -> bytes:
        """One that came with the request."""
        if identifier in self._secrets:
            return self._secrets[identifier]
        return await super().secret(identifier)

    async def directory(self, name: str, selection: Selection, progress: Callable[[int], None]) -> UsedDirectory | None:
        """The context itself; what is excluded of it is hidden, unless that is too much."""
        if self._context is None or name != "context":
            return None
        return await self._used(self._context, selection, progress)

    @staticmethod
    async def _used(
        context: ContextInUse, selection: Selection, progress: Callable[[int], None]
    ) -> UsedDirectory | None:
        """A context; None: what is excluded is too much to be hidden."""
        judge = _without(selection.exclude) if selection.exclude else everything
        found = await in_thread(excluded, context.root, judge, _MOST_PATHS)
        if found is None:
            return None
        size, paths = found
        over = await in_thread(context.hide, paths) if paths else ()
        if over is None:
            return None
        progress(size)
        return context.use(over)

    async def sync(
        self, name: str, destination: Path, selection: Selection, progress: Callable[[int], None], *, session: str = ""
    ) -> None:
        """Link what is wanted of the context, or more; what is excluded is not there."""
        if self._root is None or name not in _NAMES:
            raise NotFound(f"no local sources enabled: {name}")
        progress(await in_thread(self._link, self._root, destination, selection))

    def _link(self, root: Path, destination: Path, selection: Selection) -> int:
        judge = _without(selection.exclude) if selection.exclude else everything
        if _is_simple(root, selection):
            judge = _only(selection.follow, judge)
        return link_tree(root, destination, judge)

    async def credentials(self, host: str) -> Credentials | None:
        """Those that came with the request."""
        return self._credentials(host)


def _without(patterns: Sequence[str]) -> Judge:
    """Takes what does not match patterns of .dockerignore."""
    matcher = PatternMatcher(patterns)

    def chosen(path: bytes, above: Any) -> tuple[bool, bool, Any]:
        text = os.fsdecode(path)
        state = matcher.state(text, NO_MATCH if above is None else above)
        taken = not matcher.is_match(state)
        return taken, taken or matcher.may_change_below(text, state), state

    return chosen


def _is_simple(root: Path, selection: Selection) -> bool:
    """Whether the wanted paths are just those: no patterns, and no links that would have to be followed."""
    if selection.include or not selection.follow or len(selection.follow) > _MOST_PATHS:
        return False
    return all(not _SPECIAL & set(path) and _has_no_link(root, path) for path in selection.follow)


def _has_no_link(root: Path, path: str) -> bool:
    parts = [part for part in path.split("/") if part]
    if not parts or ".." in parts or "." in parts or "\0" in path:
        return False
    place = root
    for part in parts:
        place = place / part
        try:
            if stat.S_ISLNK(os.lstat(place).st_mode):
                return False
        except OSError:
            return True
    return True


def _only(paths: Sequence[str], judge: Judge) -> Judge:
    """Takes these paths, what is below them, and the directories above them."""
    wanted = {os.fsencode(path.strip("/")) for path in paths}
    ways = {path.rsplit(b"/", count)[0] for path in wanted for count in range(1, path.count(b"/") + 1)}

    def chosen(path: bytes, above: Any) -> tuple[bool, bool, Any]:
        inside, below = above if above is not None else (False, None)
        inside = inside or path in wanted
        if not inside and path not in ways:
            return False, False, None
        taken, entered, below = judge(path, below)
        return taken and inside, entered, (inside, below)

    return chosen
