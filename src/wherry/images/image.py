"""One image, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.layers.overlay_paths import OverlayMount
from wherry.layers.store import EMPTY_LAYER, Layer
from wherry.oci.digest import Digest
from wherry.oci.image_config import ImageConfig
from wherry.oci.manifest import Manifest
from wherry.oci.platform import Platform
from wherry.oci.times import from_rfc3339

__all__ = ["Image", "nanoseconds", "seconds"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is unpacked here.

    :param id: the digest of its configuration.
    :param manifest_digest: the digest of its manifest, under which it is in the content store.
    :param document: its configuration.
    :param config: the configuration's ``config`` member as it stands in the JSON.
    :param layers: bottom first.
    :param names: all its names, sorted.
    :param added: when it came here, in nanoseconds since the epoch.
    :param parts: directories of the host that go over its layers: only the built-in image has any.
    :param removed: whether it has gone for everybody but the containers that still use it.
    """

    id: Digest
    manifest_digest: Digest
    manifest: Manifest
    document: ImageConfig
    config: dict[str, Any]
    layers: tuple[Layer, ...]
    layers_root: Path
    added: int
    names: tuple[Reference, ...] = ()
    parts: tuple[str, ...] = ()
    built_in: bool = False
    removed: bool = False

    @property
    def repo_tags(self) -> list[str]:
        """Its names with a tag, as people write them."""
        return [name.familiar for name in self.names if name.digest is None]

    @property
    def repo_digests(self) -> list[str]:
        """Its names with a digest, as people write them."""
        return [name.familiar for name in self.names if name.digest is not None]

    @property
    def os(self) -> str:
        """The operating system: ``linux``."""
        return self.document.os or "linux"

    @property
    def architecture(self) -> str:
        """The processor that it needs, as Go calls it."""
        return self.document.architecture

    @property
    def variant(self) -> str:
        """The processor's variant: ``v7``."""
        return self.document.variant

    @property
    def platform(self) -> Platform:
        """All three."""
        return Platform(self.os, self.architecture, self.variant)

    @property
    def created(self) -> str:
        """When it was made, as its configuration has it."""
        return self.document.created or ""

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        found: dict[str, str] | None = self.config.get("Labels")
        return found or {}

    @property
    def size(self) -> int:
        """The sum of the sizes of its layers' files, in bytes."""
        return sum(layer.size for layer in self.layers)

    def overlay(self, container_directory: Path) -> list[OverlayMount]:
        """The overlay mounts of a container of this image; `make_directories` creates their directories.

        :param container_directory: where the container's writable directories are.
        """
        lower = [f"{self.layers_root}/{layer.number}" for layer in reversed(self.layers)]
        mounts = [_mount("/", lower or [str(self.layers_root / EMPTY_LAYER)], container_directory, "")]
        for part in self.parts:
            mounts.append(_mount(part, [part], container_directory, part.replace("/", "-")))
        return mounts


def _mount(target: str, lower: Sequence[str], directory: Path, suffix: str) -> OverlayMount:
    return OverlayMount(target, tuple(lower), f"{directory}/upper{suffix}", f"{directory}/work{suffix}")


def seconds(timestamp: str) -> int:
    """A time of an image's configuration (RFC 3339) as seconds since the epoch; 0 where it makes no sense."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def nanoseconds(timestamp: str) -> int:
    """The same in nanoseconds: two images may be made within a second."""
    try:
        return from_rfc3339(timestamp)
    except InvalidInput:
        return 0
