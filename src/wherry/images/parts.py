"""Parts of an index become unpacked images: of an image for several platforms only one is, as it comes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wherry.content.store import ContentStore
from wherry.images.load import check_document
from wherry.images.reference_counts import Lease
from wherry.layers.store import LayerStore
from wherry.oci import media_types
from wherry.oci.digest import Digest, chain_ids_of
from wherry.oci.image_config import parse_config

if TYPE_CHECKING:
    from wherry.images.indexes import Part

__all__ = ["can_be_unpacked", "unpack"]


def can_be_unpacked(part: Part) -> bool:
    """Whether a part is an image for Linux, as far as its manifest tells."""
    if part.manifest is None or part.platform is None or part.platform.os != "linux":
        return False
    layers = all(media_types.is_layer(layer.media_type) for layer in part.manifest.layers)
    return layers and part.manifest.config.media_type in media_types.CONFIGS


def unpack(part: Part, content: ContentStore, layers: LayerStore, lease: Lease) -> Digest:
    """Unpack a part that is here.

    :param lease: keeps its layers; its blobs are kept already.
    :return: the ID of the image that it is.
    :raises NotFound: a blob is not here.
    :raises CorruptData: a blob is damaged.
    """
    assert part.manifest is not None, "it is here"
    identifier = part.manifest.config.digest
    document = parse_config(content.read(identifier))
    check_document(document, len(part.manifest.layers))
    ids = document.rootfs.diff_ids
    lease.layer(*chain_ids_of(ids))
    chain_id: Digest | None = None
    for layer, diff_id in zip(part.manifest.layers, ids, strict=True):
        chain_id = layers.ensure(partial(content.open, layer.digest), diff_id, chain_id).chain_id
    return identifier
