"""A mount that a container asked for, checked: part of its definition."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from wherry.docker.container_requests import ContainerConfig

__all__ = ["MountPoint", "normal_path", "volume_targets"]

_KERNELS: Final = ("/dev/", "/proc/", "/sys/")


class MountPoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mount that a container asked for.

    :param kind: ``bind``, ``image``, ``tmpfs`` or ``volume``.
    :param source: the host's path; an image's ID; empty for a tmpfs, and for a volume that is not on the host.
    :param target: the absolute path in the container.
    :param mode: the mode as the user wrote it (``ro,z``), for inspect.
    :param options: options for the runtime, as in the OCI specification.
    :param create_source: make the source directory when missing (``-v`` does, ``--mount`` does not).
    :param name: of the volume; empty, until it is made, for one that nobody names. The image as it was named.
    :param driver: of the volume.
    :param driver_options: and `labels`: of a volume that is to be made; not kept.
    :param anonymous: the volume belongs to the container, and goes with it when that is wished.
    :param copy: a volume that is empty gets what the image has at the target.
    :param subpath: the directory or file of the volume or image that is mounted, instead of all of it.
    """

    kind: str
    source: str = ""
    target: str
    mode: str = ""
    writable: bool = True
    propagation: str = "rprivate"
    options: list[str] = field(default_factory=list)
    create_source: bool = False
    name: str = ""
    driver: str = ""
    driver_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    anonymous: bool = False
    copy: bool = False
    subpath: str = ""


def volume_targets(config: ContainerConfig) -> list[str]:
    """Where a container expects volumes: its image's and its own. Not what is the kernel's, whatever images say."""
    found = [normal_path("/" + text) for text in config.volumes or ()]
    return [target for target in found if target != "/" and not f"{target}/".startswith(_KERNELS)]


def normal_path(path: str) -> str:
    """An absolute path without ``.``, ``..`` and doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")  # POSIX leaves two slashes at the beginning as they are
