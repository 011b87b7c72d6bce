"""Manifest selection: from a name's manifest or index down to the manifest for a platform."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wherry.distribution.client.repository import RemoteManifest
from wherry.distribution.transfer.layers import RemoteLayer
from wherry.errors import CorruptData, InvalidInput, NotFound, TooLarge, Unsupported
from wherry.oci import media_types
from wherry.oci.digest import Digest, chain_id_of
from wherry.oci.image_config import ImageConfig, parse_config
from wherry.oci.manifest import Descriptor, Index, Manifest, parse_manifest_or_index
from wherry.oci.platform import Platform

__all__ = ["ResolvedManifest", "check_platform", "remote_layers", "select_manifest"]

_MAX_DEPTH = 4
_MAX_MANIFESTS = 20_000  # more than a document of 4 MiB holds, in practice
_MAX_LAYERS = 1000
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ResolvedManifest:
    """The selected manifest, and the path of indexes to it, outermost first."""

    document: RemoteManifest
    manifest: Manifest
    path: tuple[RemoteManifest, ...]


async def select_manifest(
    top: RemoteManifest, platform: Platform | None, fetch: Callable[[str], Awaitable[RemoteManifest]]
) -> ResolvedManifest:
    """Select an image's manifest, descending through indexes.

    :param platform: what to run on; None means this machine.
    :param fetch: gets a document by its digest.
    :raises NotFound: there is nothing for the platform.
    :raises TooLarge: indexes are nested too deeply, or list too much.
    :raises Unsupported: it is no container image.
    """
    path = [top]
    for _ in range(_MAX_DEPTH + 1):
        parsed = parse_manifest_or_index(path[-1].data)
        if isinstance(parsed, Manifest):
            _check_manifest(path[-1].digest, parsed)
            return ResolvedManifest(path[-1], parsed, tuple(path))
        child = _select(parsed, platform)
        if any(document.digest == child.digest for document in path):
            raise InvalidInput(f"the index {child.digest} lists itself")
        found = await fetch(str(child.digest))
        if len(found.data) != child.size:
            raise CorruptData(f"the manifest {child.digest} has {len(found.data)} bytes, not {child.size}")
        path.append(found)
    raise TooLarge(f"the image's indexes are nested more than {_MAX_DEPTH} deep")


def _select(index: Index, platform: Platform | None) -> Descriptor:
    if len(index.manifests) > _MAX_MANIFESTS:
        raise TooLarge(f"the index lists {len(index.manifests)} manifests, where {_MAX_MANIFESTS} are allowed")
    wanted = platform or Platform.host()
    known = media_types.MANIFESTS | media_types.INDEXES
    usable = [one for one in index.manifests if one.media_type in known]
    offered = [one.platform.value() if one.platform else Platform("", "") for one in usable]
    position = wanted.best_of(offered)
    if position is not None:
        return usable[position]
    nested = [one for one in usable if one.platform is None]
    if len(nested) == 1 and len(usable) == 1:
        return nested[0]
    known_here = sorted({str(one) for one in offered if one.architecture not in ("", "unknown")})
    there = ", ".join(known_here[:_SHOWN]) + (" ..." if len(known_here) > _SHOWN else "")
    raise NotFound(
        f"no matching manifest for {wanted} in the manifest list entries",
        hint=f"there are: {there}" if there else None,
    )


def _check_manifest(digest: Digest, manifest: Manifest) -> None:
    if manifest.config.media_type not in media_types.CONFIGS:
        kind = manifest.artifact_type or manifest.config.media_type
        raise Unsupported(f"{digest} is no container image, but a {kind!r}")
    for layer in manifest.layers:
        if not media_types.is_layer(layer.media_type):
            raise Unsupported(f"the layer {layer.digest} is of the unsupported type {layer.media_type!r}")
    if len(manifest.layers) > _MAX_LAYERS:
        raise TooLarge(f"the image has {len(manifest.layers)} layers, where {_MAX_LAYERS} are allowed")


def remote_layers(manifest: Manifest, config: bytes) -> list[RemoteLayer]:
    """An image's layers, bottom first, as its manifest and its configuration together say them.

    :raises InvalidInput: the two contradict each other.
    """
    document: ImageConfig = parse_config(config)
    ids = document.rootfs.diff_ids
    if len(ids) != len(manifest.layers):
        raise InvalidInput(f"invalid manifest, layers length mismatch: expected {len(ids)}, got {len(manifest.layers)}")
    wanted, parent = [], None
    for blob, diff_id in zip(manifest.layers, ids, strict=True):
        chain_id = chain_id_of([parent, diff_id] if parent else [diff_id])
        wanted.append(RemoteLayer(blob, diff_id, chain_id, parent))
        parent = chain_id
    return wanted


def check_platform(name: str, config: bytes, platform: Platform | None) -> None:
    """An image that was asked for with a platform has to be for it, and any for Linux.

    :raises Unsupported: it is for another system, in dockerd's words.
    :raises NotFound: it is for another platform.
    """
    document = parse_config(config)
    if document.os not in ("", "linux"):
        raise Unsupported(f'image operating system "{document.os[:64]}" cannot be used on this platform')
    if platform is None:
        return
    there = Platform(document.os or "linux", document.architecture, document.variant)
    if platform.best_of([there]) is None:
        raise NotFound(
            f"image with reference {name} was found but does not provide the specified platform: "
            f"wanted {platform}, actual: {there.normalised()}"
        )
