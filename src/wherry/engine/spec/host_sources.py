"""Paths of the host in a container's configuration: sources of binds, devices; looked at apart from the event loop.

Such a path can lie on a file system that somebody serves who does not answer: another container (FUSE), a server that
is gone (NFS).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.engine.spec.devices import HostDevices, gather
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import InvalidInput
from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.docker.container_requests import HostConfig
    from wherry.engine.container.container import Container
    from wherry.engine.container.mount_point import MountPoint

__all__ = ["missing_sources", "on_the_host"]

_PATIENCE: Final = 30.0  # seconds: a server that is slow is no attack


async def on_the_host(container: Container, cdi_spec_dirs: Sequence[str]) -> HostDevices:
    """See that what a container names is there, make what may be made, and find its devices.

    :param cdi_spec_dirs: where specifications of devices are.
    :raises InvalidInput: a device is none, or a mount is not shared as its propagation needs.
    :raises OSError: a directory cannot be made.
    """
    host, points = container.host, [point for point in container.definition.mounts if point.kind == "bind"]
    if not (points or host.devices or host.device_requests or host.privileged):
        return HostDevices()
    return await call_bounded(
        f"look at what {container.name} names of the host", lambda: _look(host, points, cdi_spec_dirs), _PATIENCE
    )


def _look(host: HostConfig, points: Iterable[MountPoint], cdi_spec_dirs: Sequence[str]) -> HostDevices:
    for point in points:
        if point.create_source and not os.path.lexists(point.source):
            Path(point.source).mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = point.propagation.removeprefix("r")
        if kind in ("shared", "slave"):
            _check_propagation(point.source, kind)
    return gather(host, cdi_spec_dirs)


def _check_propagation(source: str, kind: str) -> None:
    """Mounts come from, and go to, the host only where the mount that the source lies on takes part in that.

    :raises InvalidInput: it does not; as dockerd says it.
    """
    try:
        mounted_on, shared, slave = _mount_of(source)
    except OSError:
        return  # it is not there: the start says so
    if not shared and not (slave and kind == "slave"):
        what = "a shared mount" if kind == "shared" else "a shared or slave mount"
        raise InvalidInput(f"path {source} is mounted on {mounted_on} but it is not {what}")


def _mount_of(path: str) -> tuple[str, bool, bool]:
    """Where the mount that a path lies on is, and whether it is shared, and a slave: proc(5), /proc/pid/mountinfo."""
    with Fd(os.open(path, os.O_PATH | os.O_CLOEXEC)) as fd:
        lines = Path(f"/proc/self/fdinfo/{fd.fileno()}").read_text().splitlines()
        number = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
        for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
            left, _, _ = line.partition(" - ")
            fields = left.split(" ")
            if fields[0] == number:
                tags = {field.partition(":")[0] for field in fields[6:]}
                return fields[4], "shared" in tags, "master" in tags
    return "/", False, False


async def missing_sources(host: HostConfig) -> frozenset[str]:
    """Of the binds that do not make their sources: which sources are not there."""
    sources = {mount.source for mount in host.mounts or [] if mount.type == "bind" and mount.source}
    if not sources:
        return frozenset()
    return await call_bounded(
        f"look for {', '.join(sorted(sources))}",
        lambda: frozenset(source for source in sources if not os.path.lexists(source)),
        _PATIENCE,
    )
