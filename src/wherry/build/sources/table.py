"""All sources, by the schemes of their identifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wherry.build.model.progress import ProgressSink
from wherry.build.model.service import ResolvedImage
from wherry.build.model.session import BuildSession
from wherry.build.sources.contract import Directories, Fetch, Memory, Source, SourceRequest
from wherry.build.sources.drafts import Drafts
from wherry.build.sources.git import GitSource
from wherry.build.sources.http import HttpSource
from wherry.build.sources.image import ImageSource, Registry
from wherry.build.sources.local import LocalSource
from wherry.build.sources.oci_layout import OciLayoutSource
from wherry.errors import InvalidInput, Unsupported
from wherry.images.store import ImageStore
from wherry.oci.platform import Platform

__all__ = ["SourceTable"]

_OCI_LAYOUT: Final = "oci-layout"
_SHOWN: Final = 200


class SourceTable:
    """The sources of a builder.

    :param registry: asked for images that are not here.
    :param directories: where clients' directories and git repositories are kept.
    :param drafts: makes layers.
    :param memory: keeps what web servers said of their files.
    """

    def __init__(
        self, store: ImageStore, registry: Registry, directories: Directories, drafts: Drafts, memory: Memory
    ) -> None:
        self._images = ImageSource(store, registry)
        self._layouts = OciLayoutSource(store, self._images)
        self._http = HttpSource(drafts, memory)
        self._sources: Mapping[str, Source] = {
            "docker-image": self._images,
            "local": LocalSource(directories),
            "http": self._http,
            "https": self._http,
            "git": GitSource(directories, drafts),
            _OCI_LAYOUT: self._layouts,
        }

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    def open(self, request: SourceRequest) -> Fetch:
        """Begin with the source that an identifier's scheme names; see `Sources.open`."""
        scheme, mark, _ = request.op.identifier.partition("://")
        if not mark:
            raise InvalidInput(f"failed to parse source identifier {request.op.identifier[:_SHOWN]!r}")
        source = self._sources.get(scheme)
        if source is None:
            raise Unsupported(f"unsupported source scheme {scheme[:_SHOWN]!r}")
        return source.open(request)

    async def resolve_image(
        self, reference: str, platform: Platform | None, mode: str, session: BuildSession, progress: ProgressSink
    ) -> ResolvedImage:
        """What an image's name means; see `Sources.resolve_image`."""
        if reference.startswith(f"{_OCI_LAYOUT}://"):
            return await self._layouts.resolve(reference, platform, session)
        return await self._images.resolve(reference, platform, mode, session, progress)
