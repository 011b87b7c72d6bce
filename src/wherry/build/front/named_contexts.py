"""Named contexts: ``--build-context name=...`` in place of an image, of a stage, or beside them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from wherry.build.front.context import DOCKERIGNORE, DOCKERIGNORE_LIMIT, follow_paths, ignore_patterns
from wherry.build.front.drafts import Draft, Source
from wherry.build.front.gateway import Gateway
from wherry.build.front.git_reference import GitReference, git_source
from wherry.build.front.options import FrontOptions
from wherry.build.front.sources import http_source, image_source, layout_source, local_source
from wherry.build.model.graph import Edge, Metadata, SourceOp, Vertex
from wherry.build.model.redaction import redacted
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, NotFound
from wherry.oci.platform import Platform

__all__ = ["LoadedContext", "NamedContext", "NamedContexts"]

_SCRATCH: Final = "scratch"
_NO_CONTEXTS: Final = frozenset((_SCRATCH, "context"))
_IMAGE_CONFIG: Final = "containerimage.config"


@dataclass(frozen=True, slots=True)
class NamedContext:
    """A named context that was asked for.

    :param name: as the client calls it, with the platform if it does so.
    :param value: what it is: ``docker-image://alpine``, ``local:src``, a URL.
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class LoadedContext:
    """The files of a named context, and the image's configuration; empty: it is no image."""

    source: Source
    config: bytes = b""


class NamedContexts:
    """The named contexts of a build."""

    def __init__(self, options: FrontOptions, inputs: Mapping[str, Edge], gateway: Gateway) -> None:
        self._options = options
        self._inputs = inputs
        self._gateway = gateway
        self._excludes: dict[str, tuple[str, ...]] = {}
        self._has_any = any(key.startswith("context:") for key in options.raw)

    def find(self, name: str, platform: Platform) -> NamedContext | None:
        """The context that is meant by the name of an image or of a stage, if there is one.

        :raises InvalidInput: it is no name.
        """
        if not self._has_any or name.lower() in _NO_CONTEXTS:
            return None
        try:
            familiar = Reference.parse(name).familiar.removesuffix(":latest")
        except InvalidInput as exc:
            raise InvalidInput(f"invalid context name {name}: {exc}") from exc
        for key in (f"{familiar}::{platform.normalised()}", familiar):
            value = self._options.raw.get(f"context:{key}")
            if value is not None:
                return NamedContext(key, value)
        return None

    async def load(
        self, context: NamedContext, platform: Platform, paths: Callable[[], Iterable[str]]
    ) -> LoadedContext:
        """Find out what a context is.

        :param paths: gives those in use, at the end; nothing else is fetched from the client.
        :raises InvalidInput: it is nothing that can be one.
        :raises NotFound: there is no such image.
        """
        kind, colon, rest = context.value.partition(":")
        if not colon:
            raise InvalidInput(f"invalid context specifier {context.value} for {context.name}")
        match "git" if kind.startswith("git@") or kind == "ssh" else kind:
            case "docker-image":
                return await self._image(context, rest.removeprefix("//"), platform)
            case "oci-layout":
                return await self._layout(context, rest.removeprefix("//"), platform)
            case "git" | "http" | "https":
                return LoadedContext(_remote(context))
            case "local":
                return LoadedContext(await self._local(context, rest, paths))
            case "input":
                return self._input(context, rest)
        raise InvalidInput(f"unsupported context source {kind} for {context.name}")

    async def _image(self, context: NamedContext, text: str, platform: Platform) -> LoadedContext:
        if text == _SCRATCH:
            return LoadedContext(None)
        reference = Reference.parse(text).with_default_tag()
        image = await self._gateway.resolve_image(
            str(reference),
            platform=platform,
            mode=self._options.resolve_mode,
            name=f"[context {context.name}] load metadata for {text}",
        )
        pinned = Reference.parse(image.name or str(reference))
        pinned = Reference(pinned.domain, pinned.path, pinned.tag, image.digest)
        draft = Draft(
            image_source(pinned, self._options.resolve_mode),
            platform=platform,
            metadata=Metadata(name=f"[context {context.name}] {text}"),
        )
        return LoadedContext(draft, image.config)

    async def _layout(self, context: NamedContext, text: str, platform: Platform) -> LoadedContext:
        store, at, digest = text.partition("@")
        if not store or not at:
            raise InvalidInput(f'oci-layout reference "{text}" has no digest')
        name = Reference.parse(context.name.partition("::")[0])
        pinned = Reference.parse(f"{name.name}@{digest}")
        image = await self._gateway.resolve_image(
            str(pinned),
            platform=platform,
            name=f"[context {context.name}] load metadata for {pinned}",
            store=store.partition(":")[0],
        )
        draft = Draft(
            layout_source(pinned, store.partition(":")[0], self._gateway.session),
            platform=platform,
            metadata=Metadata(name=f"[context {context.name}] OCI load from client"),
        )
        return LoadedContext(draft, image.config)

    async def _local(self, context: NamedContext, name: str, paths: Callable[[], Iterable[str]]) -> Source:
        session = self._options.session_of(name, self._gateway.session)
        if context.name not in self._excludes:
            self._excludes[context.name] = await self._read_excludes(context, name, session)
        shared_key = self._options.raw.get(f"sharedkey:localdir:{context.name}", "")

        def op() -> SourceOp:
            return local_source(
                name,
                session=session,
                shared_key=f"context:{context.name}-{shared_key}",
                follow=follow_paths(paths()),
                exclude=self._excludes[context.name],
            )

        return Draft(op, metadata=Metadata(name=f"[context {context.name}] load from client"))

    async def _read_excludes(self, context: NamedContext, name: str, session: str) -> tuple[str, ...]:
        op = local_source(
            name,
            session=session,
            shared_key=f"context:{context.name}-{DOCKERIGNORE}",
            follow=[DOCKERIGNORE],
            compare=False,
        )
        vertex = Vertex.of(op, metadata=Metadata(name=f"[context {context.name}] load {DOCKERIGNORE}"))
        try:
            data = await self._gateway.read_file(vertex.output(), DOCKERIGNORE, limit=DOCKERIGNORE_LIMIT + 1)
        except NotFound:
            return ()
        return await self._gateway.in_thread(ignore_patterns, data, DOCKERIGNORE)

    def _input(self, context: NamedContext, name: str) -> LoadedContext:
        edge = self._inputs.get(name)
        if edge is None:
            raise InvalidInput(f"invalid input {name} for {context.name}")
        return LoadedContext(edge, _config_of_input(self._options.raw.get(f"input-metadata:{name}", "")))


def _remote(context: NamedContext) -> Source:
    reference = GitReference.parse(context.value, local=True)
    shown = redacted(context.value)
    if reference is not None:
        return Draft(git_source(reference), metadata=Metadata(name=f"[internal] load git source {shown}"))
    if not context.value.startswith(("http://", "https://")):
        raise InvalidInput(f"invalid git context {context.value}")
    return Draft(http_source(context.value, "context"), metadata=Metadata(name=f"[context {context.name}] {shown}"))


def _config_of_input(text: str) -> bytes:
    """The image configuration among an input's metadata: base64 in JSON."""
    if not text:
        return b""
    try:
        found = msgspec.json.decode(text, type=dict[str, str | None])
        return base64.b64decode(found.get(_IMAGE_CONFIG) or "", validate=True)
    except (msgspec.MsgspecError, binascii.Error, UnicodeEncodeError) as exc:
        raise InvalidInput("failed to parse input metadata", cause=str(exc)) from exc
