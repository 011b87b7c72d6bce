"""Compile the root and the mounts."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from wherry.errors import InvalidInput
from wherry.linux.mount import MOUNT_ATTR, MS
from wherry.oci.runtime_spec import Device, IDMapping, Mount, Root, Spec
from wherry.runtime.compile import mount_options
from wherry.runtime.steps.cgroup_mounts import MountCgroups
from wherry.runtime.steps.devices import DeviceNode, Devices
from wherry.runtime.steps.masks import MaskPaths, ReadOnlyPaths
from wherry.runtime.steps.mounts import Bind, FileSystem, OwnDirectory, ReadOnlyMount
from wherry.runtime.steps.overlay import Overlay
from wherry.runtime.steps.rootfs import BindRoot
from wherry.runtime.steps.step import Step

__all__ = [
    "SELECTOR",
    "closing",
    "device_nodes",
    "file_steps",
    "hiding",
    "id_map",
    "in_bundle",
    "mount_steps",
    "propagation",
    "root_step",
    "sets_up_dev",
]

#: An option of an overlay: a path in it, which alone is mounted.
SELECTOR: Final = "org.wherry.selector"
#: What lxcfs and its like put over files of /proc; anything else there would fool programs about their security.
_ALLOWED_IN_PROC: Final = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "loadavg",
        "meminfo",
        "net/dev",
        "slabinfo",
        "stat",
        "swaps",
        "sys/crypto/fips_enabled",
        "sys/kernel/ns_last_pid",
        "uptime",
    )
)
#: config-linux.md, "Default Devices": path, major, minor.
_DEFAULT_DEVICES: Final = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
_PROPAGATIONS: Final = {
    "": MS.SLAVE | MS.REC,
    "private": MS.PRIVATE | MS.REC,
    "rprivate": MS.PRIVATE | MS.REC,
    "slave": MS.SLAVE | MS.REC,
    "rslave": MS.SLAVE | MS.REC,
    "shared": MS.SHARED | MS.REC,
    "rshared": MS.SHARED | MS.REC,
    "unbindable": MS.PRIVATE | MS.REC,
    "runbindable": MS.PRIVATE | MS.REC,
}


def propagation(name: str) -> int:
    """Return the flags of ``rootfsPropagation`` for the host's side of the tree."""
    if name not in _PROPAGATIONS:
        raise InvalidInput(f"unknown rootfsPropagation {name!r}")
    return int(_PROPAGATIONS[name])


# ------------------------------------------------------------------------------------------------------------ the root


def root_step(root: Root, mounts: tuple[Mount, ...]) -> Overlay | BindRoot:
    """Return the step that makes the root: the mount on ``/``, or a bind of ``root.path``."""
    if not root.path.startswith("/"):
        raise InvalidInput(f"root.path must be an absolute path, not {root.path!r}")
    _check_text(root.path)
    at_root = [mount for mount in mounts if _destination(mount) == "/"]
    if not at_root:
        return BindRoot(root.path, root.path, 0)
    if len(at_root) > 1 or mounts[0] is not at_root[0]:
        raise InvalidInput("the mount with destination '/' must be the first and the only one")
    mount, parsed = at_root[0], mount_options.parse(at_root[0].options)
    if parsed.bind or mount.type == "bind":
        return BindRoot(_source(mount), root.path, parsed.set)
    if mount.type != "overlay":
        raise InvalidInput(f"the root must be of type overlay or bind, not {mount.type!r}")
    return _overlay("/", root.path, parsed)


def in_bundle(spec: Spec, bundle: str) -> Spec:
    """Return the specification with the paths absolute that may be relative to its bundle (config.md).

    These are ``root.path`` and the sources of binds.
    """
    if not bundle.startswith("/"):
        raise InvalidInput(f"the bundle's path must be absolute, not {bundle!r}")
    root = spec.root and replace(spec.root, path=posixpath.join(bundle, spec.root.path))
    mounts = tuple(
        replace(mount, source=posixpath.join(bundle, mount.source)) if mount.source and _is_bind(mount) else mount
        for mount in spec.mounts
    )
    return replace(spec, root=root, mounts=mounts)


def _is_bind(mount: Mount) -> bool:
    return mount.type == "bind" or mount_options.parse(mount.options).bind


def file_steps(spec: Spec) -> list[Step]:
    """Return the steps that put together a root and what is mounted in it, for who only wants its files."""
    assert spec.root is not None
    inside = mount_steps(spec, cgroup="", private_cgroups=False, id_maps=False)
    return [root_step(spec.root, spec.mounts), *inside]


def _overlay(destination: str, path: str, parsed: mount_options.MountOptions) -> Overlay:
    lower: list[str] = []
    named = {"upperdir": "", "workdir": "", SELECTOR: ""}
    others: list[tuple[str, str | None]] = [(flag, None) for flag in parsed.superblock]
    _refuse_remount(parsed)
    for key, value in parsed.data:
        if key == "lowerdir+" and value:
            lower.append(value)
        elif key == "lowerdir" and value:
            lower += _divided(value)
        elif key in named and value:
            named[key] = value
        else:
            others.append((key, value))
    directories = [*lower, *filter(None, (named["upperdir"], named["workdir"]))]
    if not lower:
        raise InvalidInput(f"the overlay on {destination!r} needs at least one lowerdir")
    if bool(named["upperdir"]) != bool(named["workdir"]):
        raise InvalidInput(f"the overlay on {destination!r} needs upperdir and workdir both, or none")
    for directory in directories:
        if not directory.startswith("/"):
            raise InvalidInput(f"the overlay's directory {directory!r} must be an absolute path")
    mapped = bool(parsed.extensions & {"idmap", "ridmap"})
    if named[SELECTOR] and (destination == "/" or mapped):
        raise InvalidInput(f"a part of an overlay cannot be mounted on {destination!r}")
    return Overlay(
        destination, path, tuple(lower), named["upperdir"], named["workdir"], tuple(others), parsed.set, mapped,
        named[SELECTOR],
    )  # fmt: skip


def _divided(text: str) -> list[str]:
    """Divide a ``lowerdir`` at its colons; a backslash takes a colon's meaning away."""
    parts: list[str] = []
    part, escaped = "", False
    for character in text:
        if escaped:
            part, escaped = part + character, False
        elif character == "\\":
            escaped = True
        elif character == ":":
            parts, part = [*parts, part], ""
        else:
            part += character
    return [*parts, part]


# ---------------------------------------------------------------------------------------------------------- the mounts


#: File systems that have labels of their own for what is in them.
_SELF_LABELLED: Final = frozenset({"proc", "sysfs", "mqueue"})


def mount_steps(spec: Spec, *, cgroup: str, private_cgroups: bool, id_maps: bool) -> Iterator[Step]:
    """Return the steps for all mounts but the root.

    :param cgroup: path of the container's control group.
    :param private_cgroups: whether the container has a cgroup namespace of its own.
    :param id_maps: whether it has a user namespace, whose map is the default of id-mapped mounts.
    """
    for mount in spec.mounts:
        destination = _destination(mount)
        if destination == "/":
            continue
        parsed = mount_options.parse(mount.options)
        if "own" in parsed.extensions:
            yield OwnDirectory(destination)
        elif _is_bind(mount):
            yield _bind(mount, destination, parsed, id_maps)
        elif mount.type in ("cgroup", "cgroup2"):
            flags = parsed.set | parsed.set_below
            yield MountCgroups(destination, flags, parsed.propagation, cgroup, private_cgroups)
        elif mount.type == "overlay":
            _check_not_in_proc(destination)
            yield _overlay(destination, spec.root.path if spec.root else "", parsed)
        else:
            yield _labelled(_file_system(mount, destination, parsed), spec.linux.mount_label if spec.linux else "")


def _file_system(mount: Mount, destination: str, parsed: mount_options.MountOptions) -> FileSystem:
    if not mount.type:
        raise InvalidInput(f"the mount on {destination!r} has no type")
    if mount.type != "proc" or destination != "/proc":
        _check_not_in_proc(destination)
    if parsed.extensions & {"idmap", "ridmap"}:
        raise InvalidInput(f"only a bind can be id-mapped, not the {mount.type} on {destination!r}")
    _refuse_remount(parsed)
    copy_up = "tmpcopyup" in parsed.extensions
    if copy_up and mount.type != "tmpfs":
        raise InvalidInput(f"tmpcopyup is for tmpfs only, not for the {mount.type} on {destination!r}")
    given = (*((flag, None) for flag in parsed.superblock), *parsed.data)
    flags = parsed.set | parsed.set_below
    if _is_closed_late(mount, parsed):
        flags &= ~MOUNT_ATTR.RDONLY
    return FileSystem(mount.type, mount.source or mount.type, destination, given, flags, parsed.propagation, copy_up)


def _labelled(step: FileSystem, label: str) -> FileSystem:
    """Have all files of a new file system bear an SELinux label; see mount(8), ``context``."""
    if not label or step.kind in _SELF_LABELLED:
        return step
    return step._replace(options=(*step.options, ("context", label)))


def _is_closed_late(mount: Mount, parsed: mount_options.MountOptions) -> bool:
    return mount.type == "tmpfs" and bool((parsed.set | parsed.set_below) & MOUNT_ATTR.RDONLY)


def closing(spec: Spec) -> Iterator[Step]:
    """Return the steps that make a new tmpfs read-only: when devices and what is mounted in it have their places."""
    for mount in spec.mounts:
        if _is_closed_late(mount, mount_options.parse(mount.options)):
            yield ReadOnlyMount(_destination(mount))


def _bind(mount: Mount, destination: str, parsed: mount_options.MountOptions, id_maps: bool) -> Bind:
    source = _source(mount)
    if destination != "/proc":  # what may be there is seen when it is opened
        _check_not_in_proc(destination)
    unknown = [key for key, _ in parsed.data]
    if unknown or "tmpcopyup" in parsed.extensions:
        raise InvalidInput(f"unknown option {(unknown or ['tmpcopyup'])[0]!r} of the bind on {destination!r}")
    recursive = parsed.recursive or not parsed.bind
    mapping = _mapping(mount, parsed, id_maps)
    if "detached" in parsed.extensions and mapping is not None:
        raise InvalidInput(f"the detached mount for {destination!r} cannot be id-mapped")
    return Bind(
        source,
        destination,
        recursive,
        parsed.set,
        parsed.clear,
        parsed.set_below,
        parsed.clear_below,
        parsed.propagation,
        mapping,
        "ridmap" in parsed.extensions,
        "detached" in parsed.extensions,
    )


def _mapping(mount: Mount, parsed: mount_options.MountOptions, id_maps: bool) -> tuple[str, str] | None:
    """Return the ID maps of a bind: ``("", "")`` for the container's, None for none."""
    own = (id_map(mount.uid_mappings, "uidMappings"), id_map(mount.gid_mappings, "gidMappings"))
    if bool(own[0]) != bool(own[1]):
        raise InvalidInput(f"the mount on {mount.destination!r} needs uidMappings and gidMappings both, or none")
    if not parsed.extensions & {"idmap", "ridmap"}:
        return own if own[0] else None
    if not own[0] and not id_maps:
        raise InvalidInput(
            f"the mount on {mount.destination!r} cannot be id-mapped without a mapping",
            hint="give it uidMappings and gidMappings, or give the container a user namespace",
        )
    return own


def id_map(mappings: tuple[IDMapping, ...], what: str) -> str:
    """Write ranges as /proc/<pid>/uid_map takes them."""
    for one in mappings:
        if one.size < 1 or min(one.container_id, one.host_id) < 0 or max(one.container_id, one.host_id) >= 2**32:
            raise InvalidInput(f"{what}: {one.container_id} {one.host_id} {one.size} is no range of IDs")
    return "".join(f"{one.container_id} {one.host_id} {one.size}\n" for one in mappings)


def _refuse_remount(parsed: mount_options.MountOptions) -> None:
    if "remount" in parsed.extensions:
        raise InvalidInput("the mount option 'remount' makes no sense here", hint="give the options that are wanted")


def _destination(mount: Mount) -> str:
    return _normal(mount.destination)


@lru_cache(maxsize=256)
def _normal(destination: str) -> str:
    """Return it absolute: old tools write it relative to the root (config.md, "Mounts")."""
    if not destination:
        raise InvalidInput("a mount has no destination")
    _check_text(destination)
    return "/" + posixpath.normpath(f"/{destination}").lstrip("/")


def _source(mount: Mount) -> str:
    if not mount.source.startswith("/"):
        raise InvalidInput(
            f"the source of the bind on {mount.destination!r} must be an absolute path, not {mount.source!r}"
        )
    _check_text(mount.source)
    return mount.source


def _check_text(path: str) -> None:
    if "\0" in path:
        raise InvalidInput(f"the path {path!r} contains a NUL byte")


def _check_not_in_proc(destination: str) -> None:
    inside = destination == "/proc" or destination.startswith("/proc/")
    if inside and destination not in _ALLOWED_IN_PROC:
        raise InvalidInput(f"{destination!r} cannot be mounted because it is inside /proc")


# --------------------------------------------------------------------------------------------------- devices and masks


def sets_up_dev(spec: Spec) -> bool:
    """Whether /dev is ours to fill; not when the host's is bound."""
    over_dev = (mount for mount in spec.mounts if _destination(mount) == "/dev")
    return not any(_is_bind(mount) for mount in over_dev)


def device_nodes(devices: tuple[Device, ...]) -> Devices:
    """Return the default devices and those asked for, which replace a default one of the same path."""
    nodes = {
        path: DeviceNode(path, stat.S_IFCHR, os.makedev(major, minor), 0o666, 0, 0)
        for path, major, minor in _DEFAULT_DEVICES
    }
    for device in devices:
        node = _device_node(device)
        nodes[node.path] = node
    return Devices(tuple(nodes.values()))


def _device_node(device: Device) -> DeviceNode:
    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    if device.type not in kinds:
        raise InvalidInput(f"the device {device.path!r} is of unknown type {device.type!r}")
    path = posixpath.normpath(device.path)
    if not path.startswith("/") or path == "/":
        raise InvalidInput(f"the device's path {device.path!r} must be absolute")
    if device.type != "p" and not (0 <= device.major < 4096 and 0 <= device.minor < 1 << 20):
        raise InvalidInput(f"the device {device.path!r} has the impossible number {device.major}:{device.minor}")
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    number = 0 if device.type == "p" else os.makedev(device.major, device.minor)
    return DeviceNode(path, kinds[device.type], number, mode, device.uid, device.gid)


def hiding(spec: Spec) -> Iterator[Step]:
    """Return the steps that mask paths and make paths read-only."""
    if spec.linux is None:
        return
    if spec.linux.masked_paths:
        yield MaskPaths(_verified(spec, spec.linux.masked_paths))
    if spec.linux.readonly_paths:
        yield ReadOnlyPaths(_verified(spec, spec.linux.readonly_paths))


def _verified(spec: Spec, paths: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """Pair each path with whether it must turn out to be on procfs: below /proc, and nothing else mounted over it."""
    over = [place for place in map(_destination, spec.mounts) if place.startswith("/proc/")]
    proc = any(mount.type == "proc" and _destination(mount) == "/proc" for mount in spec.mounts)
    found = []
    for path in paths:
        if not path.startswith("/"):
            raise InvalidInput(f"a masked or read-only path must be absolute, not {path!r}")
        _check_text(path)
        covered = any(path == one or path.startswith(f"{one}/") for one in over)
        found.append((path, proc and path.startswith("/proc/") and not covered))
    return tuple(found)
