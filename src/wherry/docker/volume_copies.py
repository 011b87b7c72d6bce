"""Requests and answers of wherry's own operations on volumes: snapshots, copies, archives, who uses what."""

from __future__ import annotations

from msgspec import Struct, field

__all__ = ["SnapshotRequest", "SnapshotView", "VolumeDisk", "VolumeUser"]


class SnapshotRequest(Struct, rename="pascal", kw_only=True):
    """The body of VolumeSnapshot, and of VolumeClone.

    :param name: empty: one that says when it was.
    :param freeze: whether the containers that write stand still meanwhile.
    """

    name: str = ""
    labels: dict[str, str] | None = None
    freeze: bool = True


class SnapshotView(Struct, rename="pascal", kw_only=True):
    """A snapshot.

    :param name: ``VOLUME@SNAPSHOT``.
    :param size: the sum of the files' sizes; on the disk it is less where contents are shared.
    :param frozen: the names of the containers that stood still.
    """

    name: str
    volume: str
    snapshot: str
    created_at: str
    labels: dict[str, str]
    size: int
    files: int
    frozen: list[str]


class VolumeUser(Struct, rename="pascal", kw_only=True):
    """A container that has a volume."""

    id: str = field(name="Id")
    name: str
    state: str
    writable: bool
    destinations: list[str]


class VolumeDisk(Struct, rename="pascal", kw_only=True):
    """What a volume takes up, and for whom.

    :param size: in bytes; -1: not known.
    """

    name: str
    driver: str
    size: int
    users: list[VolumeUser]
    snapshots: list[SnapshotView]
