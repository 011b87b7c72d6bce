"""Disk usage of images: layers and blobs.

A blob is a layer as it came, a configuration, a manifest or an index. ``docker images`` shows the layers' files alone,
as Docker's classic store does; where the disk is accounted for (``system df``) blobs count as well, as in Docker's
store of containerd, so that what it calls reclaimable is what removing gives back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from wherry.docker.image_answers import ImageSummary, ImagesUsage
from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from wherry.images.store import ImageStore, Users

__all__ = ["report"]


def report(store: ImageStore, in_use: Users) -> ImagesUsage:
    """Images with all that they take up, and the sums, for SystemDataUsage; looks at the disk.

    :param in_use: the IDs of the containers that use an image.
    """
    sizes = dict(store.content.walk())
    names = {str(name): str(image.id) for image in store.list() for name in image.names}
    summaries = store.summaries({}, shared_size=True, in_use=in_use)
    blobs = sum(sizes.values())
    shown = _with_blobs(summaries, store.references.blobs_by_owner(), sizes, names)
    return ImagesUsage(store.layers.size() + blobs, blobs, shown)


def _with_blobs(
    summaries: Sequence[ImageSummary],
    owned: Mapping[str, set[Digest]],
    sizes: Mapping[Digest, int],
    names: Mapping[str, str],
) -> list[ImageSummary]:
    """Summaries of images in whose sizes their blobs are counted; ``BlobsSize`` says how much of it these are.

    :param summaries: with their shared sizes.
    :param owned: blobs by who needs them: an image by its ID, or a name.
    :param sizes: those of the blobs that are here.
    :param names: images' IDs by their names.
    """
    blobs: dict[str, set[Digest]] = {}
    for owner, digests in owned.items():
        blobs.setdefault(names.get(owner, owner), set()).update(digests)
    users = Counter(digest for digests in blobs.values() for digest in digests)
    shown = []
    for one in summaries:
        mine = blobs.get(one.id, set())
        size = sum(sizes.get(digest, 0) for digest in mine)
        shared = sum(sizes.get(digest, 0) for digest in mine if users[digest] > 1)
        whole, shared_size = one.size + size, one.shared_size + shared
        shown.append(replace(one, size=whole, virtual_size=whole, shared_size=shared_size, blobs_size=size))
    return shown
