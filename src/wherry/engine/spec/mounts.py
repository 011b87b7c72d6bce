"""The mounts of a runtime specification: the image, the kernel's file systems, the caller's, the engine's own files."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Final

from wherry.docker.network_mode import joined_container
from wherry.engine.container import etc_files
from wherry.engine.container.mount_point import MountPoint, volume_targets
from wherry.engine.spec.security import writable_cgroups
from wherry.errors import InvalidInput, NotFound
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci.runtime_spec import Mount
from wherry.runtime.compile.mounts import SELECTOR

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.container.mount_point import MountPoint
    from wherry.engine.spec.context import SpecContext

__all__ = ["check_shares_memory", "file_mounts", "mounts", "overlay_mount", "root_propagation"]

_NOEXEC: Final = ("nosuid", "noexec", "nodev")


def mounts(container: Container, context: SpecContext) -> tuple[Mount, ...]:
    """In the order in which they are made: the engine's own files in /etc lie on top of whatever is mounted there."""
    taken = _taken(container, context)
    return (
        *(overlay_mount(part, volatile=context.volatile) for part in context.overlay),
        *(mount for mount in _system_mounts(container, context) if not _is_replaced(mount.destination, taken)),
        *_asked_for(container, context),
        *(mount for mount in _generated_files(container, context) if mount.destination not in taken),
    )


def file_mounts(container: Container, context: SpecContext) -> tuple[Mount, ...]:
    """The mounts whose files are there also while the container does not run: no tmpfs, and nothing of the kernel's."""
    taken = _taken(container, context)
    try:
        generated = _generated_files(container, context)
    except NotFound:  # the container whose network it shares is gone
        generated = []
    return (
        *(overlay_mount(part) for part in context.overlay),
        *(mount for mount in _asked_for(container, context) if mount.type != "tmpfs"),
        *(mount for mount in generated if mount.destination not in taken and os.path.exists(mount.source)),
    )


def _taken(container: Container, context: SpecContext) -> set[str]:
    """Where the container asks for something itself."""
    points = {point.target for point in container.definition.mounts}
    return points | {mount.destination for mount in context.devices.mounts}


def _asked_for(container: Container, context: SpecContext) -> list[Mount]:
    """What the container asks for itself; what its devices bring takes the place of what it names."""
    of_devices = {mount.destination for mount in context.devices.mounts}
    points = [point for point in container.definition.mounts if point.target not in of_devices]
    taken = {point.target for point in points} | of_devices
    wanted = [*(_wanted(point, context) for point in points), *context.devices.mounts]
    wanted += [_own_directory(target) for target in volume_targets(container.config) if target not in taken]
    return sorted(wanted, key=lambda mount: mount.destination.count("/"))


def _wanted(point: MountPoint, context: SpecContext) -> Mount:
    if point.kind == "volume":
        return _volume(point, context)
    if point.kind == "image":
        part = OverlayMount(point.target, context.image_layers(point.source), "", "")
        chosen = [f"{SELECTOR}={point.subpath}"] if point.subpath else []
        return overlay_mount(part, *chosen, *point.options)
    source = point.source or "tmpfs"
    return Mount(destination=point.target, type=point.kind, source=source, options=tuple(point.options))


def _volume(point: MountPoint, context: SpecContext) -> Mount:
    """A volume; of a specification that is only looked at, nobody has said what is bound."""
    found = context.volumes.get(point.target)
    nothing = str(context.settings.exec_root / "rootfs")  # an empty directory, whatever becomes of the specification
    path, is_detached = (point.source or nothing, False) if found is None else found
    options = ("detached",) if is_detached else () if point.writable else ("rro",)
    return Mount(destination=point.target, type="bind", source=path, options=("rbind", "rprivate", *options))


def _own_directory(target: str) -> Mount:
    """The directory of a container that was made when there were no volumes: it is in its own layer."""
    return Mount(destination=target, type="bind", source=target, options=("bind", "own"))


def _is_replaced(destination: str, taken: set[str]) -> bool:
    """Whether a mount of ours is left out, as the caller's is there: who brings a /dev brings all of it."""
    return destination in taken or ("/dev" in taken and destination.startswith("/dev/"))


#: Said explicitly, since a kernel or a module parameter may have other defaults: `layers.overlay_view` reads files
#: by these rules, and an attribute that says "this file is elsewhere" is never followed. Linux 4.19 knows all.
_OVERLAY_OPTIONS: Final = ("redirect_dir=nofollow", "metacopy=off", "index=off")


def overlay_mount(part: OverlayMount, *further: str, volatile: bool = False) -> Mount:
    """An overlay as a mount of a specification; without a writable directory where it has none.

    :param further: more options.
    :param volatile: spares the kernel the writing of everything to the disk at its end (Linux 5.10).
    """
    options = [f"lowerdir+={directory}" for directory in part.lower]
    if part.upper:
        options += [f"upperdir={part.upper}", f"workdir={part.work}"]
        options += ["volatile"] if volatile and _knows_volatile() else []
    return Mount(
        destination=part.target, type="overlay", source="overlay", options=(*options, *_OVERLAY_OPTIONS, *further)
    )


@cache
def _knows_volatile() -> bool:
    major, _, rest = os.uname().release.partition(".")
    return (int(major), int(rest.partition(".")[0])) >= (5, 10)


def _system_mounts(container: Container, context: SpecContext) -> list[Mount]:
    host = container.host
    access = () if host.privileged else ("ro",)
    cgroup_access = () if writable_cgroups(host) else access
    of_host = ("relatime",) if host.network_mode == "host" else ()
    pts = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    found = [
        _kernel_mount("/proc", "proc", _NOEXEC),
        _kernel_mount("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        _kernel_mount("/dev/pts", "devpts", pts),
        _kernel_mount("/sys", "sysfs", (*_NOEXEC, *access, *of_host)),
        _kernel_mount("/sys/fs/cgroup", "cgroup", (*_NOEXEC, *cgroup_access)),
    ]
    if host.ipc_mode != "host":
        found.append(_kernel_mount("/dev/mqueue", "mqueue", _NOEXEC))
    return [*found, *_shm(container, context)]


def _kernel_mount(destination: str, kind: str, options: tuple[str, ...]) -> Mount:
    return Mount(destination=destination, type=kind, source=kind, options=options)


def _shm(container: Container, context: SpecContext) -> list[Mount]:
    """/dev/shm belongs to the IPC namespace: shared, where that is shared."""
    mode = container.host.ipc_mode or ""
    if mode == "none":
        return []
    if mode == "host":
        return [_bound("/dev/shm", "/dev/shm")]
    if joined_container(mode) is not None:
        if context.shared_memory is None:  # nothing is going to be mounted
            return []
        return [_bound(context.shared_memory, "/dev/shm", "detached")]
    size = container.host.shm_size or context.settings.shm_size
    options = (*_NOEXEC, "mode=1777", f"size={size}")
    return [Mount(destination="/dev/shm", type="tmpfs", source="shm", options=options)]


def check_shares_memory(donor: Container) -> None:
    """Check that another container can have a part in this one's IPC namespace and its /dev/shm.

    :raises InvalidInput: it keeps them to itself, or has a mount of its own there.
    """
    mode = donor.host.ipc_mode or ""
    shares = mode in ("shareable", "host") or joined_container(mode) is not None
    if not shares or any(point.target == "/dev/shm" for point in donor.definition.mounts):
        raise InvalidInput(
            f"can't join IPC of container {donor.id}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )


def _bound(source: str, target: str, *options: str) -> Mount:
    return Mount(destination=target, type="bind", source=source, options=("rbind", "rprivate", *options))


def _generated_files(container: Container, context: SpecContext) -> list[Mount]:
    """Its own, or those of the container whose network it shares: they are about the network."""
    shared = joined_container(container.host.network_mode)
    owner = container if shared is None else context.join("network", shared)
    access = ("ro",) if container.host.readonly_rootfs else ()
    return [_bound(str(etc_files.path_of(owner, name)), f"/etc/{name}", *access) for name in etc_files.NAMES]


def root_propagation(container: Container) -> str:
    """How mounts come into the container and go out of it, as far as any of its own mounts needs that."""
    kinds = {point.propagation.removeprefix("r") for point in container.definition.mounts}
    if "shared" in kinds:
        return "shared"
    return "rslave" if "slave" in kinds else "rprivate"
