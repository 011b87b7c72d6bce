"""The build's context, and the Dockerfile in it or beside it."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from wherry.build.dockerfile.lines import SIZE_LIMIT
from wherry.build.front.drafts import Draft, Source
from wherry.build.front.gateway import Gateway
from wherry.build.front.git_reference import GitReference, git_source
from wherry.build.front.options import FrontOptions
from wherry.build.front.paths import absolute
from wherry.build.front.sources import http_source, local_source
from wherry.build.model.graph import Copy, Edge, FileAction, FileOp, Metadata, SourceOp, Vertex
from wherry.build.model.patterns import PatternMatcher, parse_ignore_file
from wherry.build.model.redaction import redacted
from wherry.errors import InvalidInput, NotFound, TooLarge

__all__ = ["BuildContext", "DockerfileText", "follow_paths", "ignore_patterns"]

DOCKERIGNORE: Final = ".dockerignore"
DOCKERIGNORE_LIMIT: Final = 4 << 20
_HEAD: Final = 1024
_LOCAL: Final = "context"
_DOWNLOADED: Final = "context"
_MAGIC: Final = (b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True)
class DockerfileText:
    """A Dockerfile as it was read; `vertex` is where it comes from."""

    name: str
    text: bytes
    vertex: Vertex


class BuildContext:
    """Where the build's files come from. To be made by `BuildContext.load`.

    :ivar excludes: patterns of .dockerignore, where the context is a directory of the client's.
    """

    def __init__(self, options: FrontOptions, gateway: Gateway) -> None:
        self._options = options
        self._gateway = gateway
        self._source: Edge | None = None
        self._dockerfile: Edge | None = None
        self._filename = options.filename
        self._ignore: bytes | None = None
        self.excludes: tuple[str, ...] = ()

    @classmethod
    async def load(cls, options: FrontOptions, inputs: Mapping[str, Edge], gateway: Gateway) -> BuildContext:
        """Find out what the context is; what has to be read for that is read.

        :raises InvalidInput: it is nothing that can be one.
        """
        context = cls(options, gateway)
        if (git := GitReference.parse(options.context, local=True)) is not None:
            context._use_git(git)
        elif options.context.startswith(("http://", "https://")):
            await context._use_download(options.context)
        else:
            context._source = inputs.get("context")
            context._dockerfile = inputs.get(options.dockerfile_name)
        if options.forced_dockerfile:
            context._dockerfile = None
        if context._source is not None and options.context_subdirectory:
            context._source = _subdirectory(context._source, options.context_subdirectory)
        return context

    def _use_git(self, reference: GitReference) -> None:
        times = "commit" if self._options.build_args.get("SOURCE_DATE_EPOCH") else ""
        op = git_source(reference, keep_git_directory=self._options.keep_git_directory, modification_times=times)
        name = f"load git source {redacted(self._options.context)}"
        self._source = self._dockerfile = _vertex(op, name).output()

    async def _use_download(self, url: str) -> None:
        downloaded = _vertex(http_source(url, _DOWNLOADED), "load remote build context").output()
        head = await self._gateway.read_file(downloaded, _DOWNLOADED, limit=_HEAD)
        self._source = self._dockerfile = downloaded
        if _is_archive(head):
            self._source = self._dockerfile = _unpacked(downloaded)
        else:
            self._filename = _DOWNLOADED

    # --- the Dockerfile -------------------------------------------------------------------------

    async def dockerfile(self) -> DockerfileText:
        """Read the Dockerfile, and the .dockerignore that is for it alone.

        :raises InvalidInput: there is none.
        :raises TooLarge: it is too long.
        """
        edge = self._dockerfile if self._dockerfile is not None else self._local_dockerfile().output()
        text = await self._read_dockerfile(edge)
        if not text:
            raise InvalidInput("the Dockerfile cannot be empty")
        try:
            self._ignore = await self._gateway.read_file(
                edge, f"{self._filename}{DOCKERIGNORE}", limit=DOCKERIGNORE_LIMIT + 1
            )
        except NotFound:
            self._ignore = None
        return DockerfileText(self._filename, text, edge.vertex)

    def _local_dockerfile(self) -> Vertex:
        names = [self._filename, f"{self._filename}{DOCKERIGNORE}", *self._other_names()]
        name = self._options.dockerfile_name
        session = self._options.session_of(name, self._gateway.session)
        op = local_source(name, session=session, shared_key=name, follow=names, compare=False)
        return _vertex(op, f"load build definition from {self._filename}")

    def _other_names(self) -> list[str]:
        """``dockerfile`` is taken for ``Dockerfile``."""
        directory, name = posixpath.split(self._filename)
        return [posixpath.join(directory, name.lower())] if name == "Dockerfile" else []

    async def _read_dockerfile(self, edge: Edge) -> bytes:
        for name in (self._filename, *self._other_names()):
            try:
                text = await self._gateway.read_file(edge, name, limit=SIZE_LIMIT + 1)
            except NotFound:
                continue
            if len(text) > SIZE_LIMIT:
                raise TooLarge(f"the Dockerfile is longer than {SIZE_LIMIT >> 20} MiB")
            return text
        raise InvalidInput(f"failed to read dockerfile: open {self._filename}: no such file or directory")

    # --- the files ------------------------------------------------------------------------------

    async def read_excludes(self) -> None:
        """Read .dockerignore, unless there is one for the Dockerfile alone; after `dockerfile`.

        :raises InvalidInput: a pattern is wrong.
        """
        if self._source is not None:
            return
        name = f"{self._filename}{DOCKERIGNORE}"
        data = self._ignore
        if data is None:
            name, session = DOCKERIGNORE, self._options.session_of(_LOCAL, self._gateway.session)
            op = local_source(
                _LOCAL, session=session, shared_key=f"{_LOCAL}-{DOCKERIGNORE}", follow=[DOCKERIGNORE], compare=False
            )
            data = await _read_or_nothing(self._gateway, _vertex(op, f"load {DOCKERIGNORE}").output())
        self.excludes = await self._gateway.in_thread(ignore_patterns, data, name)

    def source(self, paths: Callable[[], Iterable[str]]) -> Source:
        """The context's files.

        :param paths: gives those in use, at the end; nothing else is fetched from the client.
        """
        if self._source is not None:
            return self._source
        return Draft(lambda: self._local(paths()), metadata=Metadata(name="[internal] load build context"))

    def _local(self, paths: Iterable[str]) -> SourceOp:
        return local_source(
            _LOCAL,
            session=self._options.session_of(_LOCAL, self._gateway.session),
            shared_key=_LOCAL,
            follow=follow_paths(paths),
            exclude=self.excludes,
        )


def follow_paths(paths: Iterable[str]) -> list[str]:
    """Absolute paths in use as a client is asked for them; none: all."""
    found = sorted({path.lstrip("/") for path in paths})
    return [] if "" in found else found


def ignore_patterns(data: bytes, name: str) -> tuple[str, ...]:
    """The patterns of a .dockerignore, checked; to be called in a thread.

    :raises InvalidInput: one is wrong, or they are too many; also `TooLarge`.
    """
    if len(data) > DOCKERIGNORE_LIMIT:
        raise TooLarge(f"{name} is longer than {DOCKERIGNORE_LIMIT >> 20} MiB")
    try:
        patterns = parse_ignore_file(data)
        PatternMatcher(patterns)
    except InvalidInput as exc:
        raise InvalidInput(f"failed to read {name}: {exc.message}") from exc
    return tuple(patterns)


async def _read_or_nothing(gateway: Gateway, edge: Edge) -> bytes:
    try:
        return await gateway.read_file(edge, DOCKERIGNORE, limit=DOCKERIGNORE_LIMIT + 1)
    except NotFound:
        return b""


def _vertex(op: SourceOp, name: str) -> Vertex:
    return Vertex.of(op, metadata=Metadata(name=f"[internal] {name}"))


def _unpacked(archive: Edge) -> Edge:
    copy = Copy(f"/{_DOWNLOADED}", "/", unpack_archive=True, create_destination=False, allow_wildcard=False)
    return _copied(archive, copy, "[internal] unpack remote build context")


def _subdirectory(source: Edge, path: str) -> Edge:
    inside = absolute(path)
    copy = Copy(inside, "/", contents_only=True, create_destination=False, allow_wildcard=False)
    return _copied(source, copy, f"[internal] take {inside} as build context")


def _copied(source: Edge, copy: Copy, name: str) -> Edge:
    op = FileOp((FileAction(copy, secondary=0, output=0),))
    return Vertex.of(op, [source], metadata=Metadata(name=name)).output()


def _is_archive(head: bytes) -> bool:
    """Whether what was downloaded is to be unpacked, and no Dockerfile."""
    if head.startswith(_MAGIC):
        return True
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
