"""Requests and answers of the Engine API about volumes."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

__all__ = ["VolumeCreate", "VolumeList", "VolumeUsage", "VolumeView", "VolumesPruned"]


class VolumeCreate(Struct, rename="pascal", kw_only=True):
    """The body of VolumeCreate."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = None


class VolumeUsage(Struct, rename="pascal", kw_only=True):
    """What a volume takes up, in bytes, and how many containers have it; -1: not known."""

    size: int
    ref_count: int


class VolumeView(Struct, rename="pascal", kw_only=True):
    """The body of VolumeInspect."""

    created_at: str
    driver: str
    labels: dict[str, str] | None
    mountpoint: str
    name: str
    options: dict[str, str] | None
    scope: str
    status: dict[str, Any] | UnsetType = UNSET
    usage_data: VolumeUsage | UnsetType = UNSET


class VolumeList(Struct, rename="pascal", kw_only=True):
    """The body of VolumeList."""

    volumes: list[VolumeView]
    warnings: list[str] | None


class VolumesPruned(Struct, rename="pascal", kw_only=True):
    """The body of VolumePrune."""

    volumes_deleted: list[str]
    space_reclaimed: int
