"""Whether a container may be given its own control group to divide: what it writes there must be its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wherry.docker.container_requests import HostConfig
from wherry.engine.spec.security import writable_cgroups
from wherry.errors import InvalidInput

__all__ = ["check_delegation", "is_version_1"]

_CONTROLLERS: Final = Path("/sys/fs/cgroup/cgroup.controllers")
_MOUNTS: Final = Path("/proc/self/mounts")


def check_delegation(host: HostConfig) -> None:
    """See that a container with writable control groups cannot lift its own limits.

    To be asked at each start: another program may change the option of the host's mount at any time.

    :raises InvalidInput: the groups are of version 1, or not private, or their namespace is no border; cgroups(7).
    """
    if not writable_cgroups(host) or host.privileged:
        return
    if is_version_1():
        raise InvalidInput("invalid --security-opt: writable-cgroups needs cgroup v2, and this machine has v1")
    if host.cgroupns_mode == "host":
        raise InvalidInput("invalid --security-opt: writable-cgroups needs a private cgroup namespace")
    if not _delegates():
        raise InvalidInput(
            "invalid --security-opt: writable-cgroups needs cgroups mounted with the option nsdelegate",
            hint="without it a container could lift its own limits; mount -o remount,nsdelegate /sys/fs/cgroup",
        )


def is_version_1() -> bool:
    """Whether this machine's controllers are those of version 1."""
    return not _CONTROLLERS.exists()


def _delegates() -> bool:
    """Whether a cgroup namespace is a border: what limits its root is written from outside only (cgroups(7))."""
    fields = [line.split(" ") for line in _MOUNTS.read_text().splitlines()]
    return any(kind == "cgroup2" and "nsdelegate" in options.split(",") for _, _, kind, options, *_ in fields)
