"""Disk usage: ``docker system df``, the Engine API's SystemDataUsage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from wherry.docker import times
from wherry.docker.image_answers import ImageSummary, ImagesUsage
from wherry.docker.system import BuildCacheEntry, DiskUsage, UsageCount
from wherry.engine.container.state import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.build.model.service import CacheRecord
    from wherry.docker.container_answers import ContainerSummary
    from wherry.docker.volumes import VolumeView

__all__ = ["disk_usage"]

_ACTIVE: Final = (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


def disk_usage(
    images: ImagesUsage,
    containers: Sequence[ContainerSummary],
    cache: Sequence[CacheRecord] = (),
    volumes: Sequence[VolumeView] = (),
) -> DiskUsage:
    """The body of SystemDataUsage.

    :param images: all images and the sums of what they take up; see `wherry.images.disk_usage`.
    :param containers: summaries of all containers, with their sizes.
    :param cache: the entries of the build cache.
    :param volumes: those that are directories here, with what they take up.
    """
    return DiskUsage(
        layers_size=images.layers_size,
        blobs_size=images.blobs_size,
        images=images.images,
        containers=containers,
        image_usage=_images(images.images, images.layers_size),
        container_usage=_containers(containers),
        volumes=list(volumes),
        volume_usage=_volumes(volumes),
        build_cache=[_entry(record) for record in cache],
        build_cache_usage=_cache(cache),
    )


def _entry(record: CacheRecord) -> BuildCacheEntry:
    last_used = times.rfc3339(record.last_used) if record.last_used is not None else None
    return BuildCacheEntry(
        id=record.id, parents=list(record.parents) or None, type=record.kind, description=record.description,
        in_use=record.in_use, shared=record.shared, size=record.size, created_at=times.rfc3339(record.created),
        last_used_at=last_used, usage_count=record.usage_count,
    )  # fmt: skip


def _cache(records: Sequence[CacheRecord]) -> UsageCount:
    """As dockerd counts: what an image shares takes up no room of the cache's."""
    own = [record for record in records if not record.shared]
    idle = [record for record in own if not record.in_use]
    return UsageCount(
        active_count=sum(record.in_use for record in records),
        total_count=len(records),
        total_size=sum(record.size for record in own),
        reclaimable=sum(record.size for record in idle),
    )


def _volumes(volumes: Sequence[VolumeView]) -> UsageCount:
    """As dockerd counts: what no container has is reclaimable."""
    usages = [volume.usage_data for volume in volumes if volume.usage_data is not UNSET]
    idle = [usage for usage in usages if not usage.ref_count]
    return UsageCount(
        active_count=len(usages) - len(idle),
        total_count=len(usages),
        total_size=sum(max(usage.size, 0) for usage in usages),
        reclaimable=sum(max(usage.size, 0) for usage in idle),
    )


def _images(images: Sequence[ImageSummary], layers: int) -> UsageCount:
    """As dockerd counts: what only an unused image has is reclaimable."""
    unused = [one for one in images if not one.containers]
    reclaimable = sum(one.size - one.shared_size for one in unused)
    return UsageCount(
        active_count=len(images) - len(unused), total_count=len(images), total_size=layers, reclaimable=reclaimable
    )


def _containers(containers: Sequence[ContainerSummary]) -> UsageCount:
    idle = [one for one in containers if one.state not in _ACTIVE]
    return UsageCount(
        active_count=len(containers) - len(idle), total_count=len(containers), total_size=_written(containers),
        reclaimable=_written(idle),
    )  # fmt: skip


def _written(containers: Iterable[ContainerSummary]) -> int:
    return sum(one.size_rw or 0 for one in containers)
