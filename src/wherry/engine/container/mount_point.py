"""A mount that a container asked for, checked: part of its definition."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from wherry.docker.container_requests import ContainerConfig

__all__ = ["MountPoint", "normal_path", "volume_targets"]

_KERNELS: Final = ("/dev/", "/proc/", "/sys/")


class MountPoint(Struct, frozen=True, kw_only=True):
    """One mount that a container asked for.

    :param kind: ``bind`` or ``tmpfs``.
    :param source: the host's path; empty for a tmpfs.
    :param target: the absolute path in the container.
    :param mode: the mode as the user wrote it (``ro,z``), for inspect.
    :param options: options for the runtime, as in the OCI specification.
    :param create_source: make the source directory when missing (``-v`` does, ``--mount`` does not).
    """

    kind: str
    source: str = ""
    target: str
    mode: str = ""
    writable: bool = True
    propagation: str = "rprivate"
    options: list[str] = field(default_factory=list)
    create_source: bool = False


def volume_targets(config: ContainerConfig) -> list[str]:
    """Where a container expects volumes: its image's and its own. Not what is the kernel's, whatever images say."""
    found = [normal_path("/" + text) for text in config.volumes or ()]
    return [target for target in found if target != "/" and not f"{target}/".startswith(_KERNELS)]


def normal_path(path: str) -> str:
    """An absolute path without ``.``, ``..`` and doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")  # POSIX leaves two slashes at the beginning as they are
