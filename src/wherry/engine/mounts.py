"""What ``-v``, ``--mount`` and ``--tmpfs`` ask for, checked and brought into one form.

The words of the errors are Docker's, as clients show them to people who know them.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from wherry.engine.config import HostConfig, Mount, MountBindOptions
from wherry.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MountPoint", "missing_volumes", "mount_points"]

_PROPAGATIONS: Final = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_ACCESS: Final = frozenset({"ro", "rw"})
_RELABEL: Final = frozenset({"z", "Z"})
_CONSISTENCY: Final = frozenset({"consistent", "cached", "delegated", "default"})


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


def mount_points(host: HostConfig) -> list[MountPoint]:
    """All mounts of a host configuration, each checked, in the order in which they are to be made.

    :raises InvalidInput: a specification is wrong, or two have one target.
    :raises Unsupported: a kind of mount that wherry does not have.
    """
    points = [_from_bind(text) for text in host.binds or []]
    points += [_from_mount(mount) for mount in host.mounts or []]
    points += [_from_tmpfs(target, options) for target, options in (host.tmpfs or {}).items()]
    _check_distinct(points)
    return sorted(points, key=lambda point: point.target.count("/") if point.target != "/" else 0)


def missing_volumes(wanted: Iterable[str], points: Iterable[MountPoint]) -> list[str]:
    """Warnings about anonymous volumes that the caller named, and that nothing is mounted on.

    :param wanted: the targets; an image's own are left out: their directories are in the image.
    """
    mounted = {point.target for point in points}
    return [
        f"anonymous volumes are not implemented yet: what is written to {target} goes into the container's own layer"
        for target in wanted
        if posixpath.normpath(target) not in mounted
    ]


def _check_distinct(points: list[MountPoint]) -> None:
    seen: set[str] = set()
    for point in points:
        if point.target in seen:
            raise InvalidInput(f"Duplicate mount point: {point.target}")
        seen.add(point.target)


def _target(text: str) -> str:
    if not text.startswith("/"):
        raise InvalidInput(f"invalid mount path: '{text}' mount path must be absolute")
    cleaned = posixpath.normpath(text)
    if cleaned in ("/", "//"):
        raise InvalidInput("invalid specification: destination can't be '/'")
    return cleaned


def _from_bind(text: str) -> MountPoint:
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidInput(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        raise Unsupported(
            "anonymous volumes are not implemented yet", hint="name a directory of the host: -v /path:/in/container"
        )
    source, target = parts[0], parts[1]
    mode = parts[2] if len(parts) == 3 else ""
    writable, propagation, options = _bind_mode(mode)
    if not source.startswith("/"):
        raise Unsupported(f'named volumes are not implemented yet: "{source}"', hint="use an absolute path of the host")
    try:
        target = _target(target)
    except InvalidInput as exc:
        raise InvalidInput(f"invalid volume specification: '{text}'", cause=exc.message) from exc
    return MountPoint(
        kind="bind", source=posixpath.normpath(source), target=target, mode=mode, writable=writable,
        propagation=propagation, options=["rbind", propagation, *options], create_source=True,
    )  # fmt: skip


def _bind_mode(mode: str) -> tuple[bool, str, list[str]]:
    """Whether it is writable, its propagation, and the options that the mode stands for."""
    writable, propagation = True, "rprivate"
    groups: set[str] = set()
    for word in filter(None, mode.split(",")):
        if word in _ACCESS:
            group, writable = "access", word == "rw"
        elif word in _PROPAGATIONS:
            group, propagation = "propagation", word
        elif word in _RELABEL:
            group = "relabel"  # SELinux: accepted and without effect where there is none, as in Docker
        elif word in _CONSISTENCY or word == "nocopy":
            group = "consistency"
        else:
            raise InvalidInput(f"invalid mode: {mode}")
        if group in groups:
            raise InvalidInput(f"invalid mode: {mode}")
        groups.add(group)
    return writable, propagation, ([] if writable else ["ro"])


def _from_mount(mount: Mount) -> MountPoint:
    target = mount.target or ""
    if not target:
        raise InvalidInput(f'invalid mount config for type "{mount.type}": field Target must not be empty')
    try:
        target = _target(target)
    except InvalidInput as exc:
        raise InvalidInput(f'invalid mount config for type "{mount.type}": {exc.message}') from exc
    if mount.type == "bind":
        return _bind_mount(mount, target)
    if mount.type == "tmpfs":
        return _tmpfs_mount(mount, target)
    if mount.type in ("volume", "image", "cluster", "npipe"):
        raise Unsupported(f'mounts of type "{mount.type}" are not implemented yet', hint="use type=bind or type=tmpfs")
    raise InvalidInput(f'invalid mount config for type "{mount.type}": mount type unknown')


def _bind_mount(mount: Mount, target: str) -> MountPoint:
    source = mount.source or ""
    wrong = 'invalid mount config for type "bind": '
    if not source:
        raise InvalidInput(wrong + "field Source must not be empty")
    if not source.startswith("/"):
        raise InvalidInput(wrong + f"invalid mount path: '{source}' mount path must be absolute")
    choice = mount.bind_options or MountBindOptions()
    propagation = choice.propagation or "rprivate"
    if propagation not in _PROPAGATIONS:
        raise InvalidInput(wrong + f"invalid propagation mode: {propagation}")
    if not choice.create_mountpoint and not os.path.lexists(source):
        raise InvalidInput(wrong + f"bind source path does not exist: {source}")
    options = ["bind" if choice.non_recursive else "rbind", propagation]
    if mount.read_only:
        options.append("rro" if choice.read_only_force_recursive else "ro")
    return MountPoint(
        kind="bind", source=posixpath.normpath(source), target=target, writable=not mount.read_only,
        propagation=propagation, options=options, create_source=bool(choice.create_mountpoint),
    )  # fmt: skip


def _tmpfs_mount(mount: Mount, target: str) -> MountPoint:
    if mount.source:
        raise InvalidInput('invalid mount config for type "tmpfs": field Source must not be specified')
    if mount.bind_options is not None:
        raise InvalidInput('invalid mount config for type "tmpfs": field BindOptions must not be specified')
    options = ["nosuid", "nodev", "noexec"]
    choice = mount.tmpfs_options
    if choice is not None:
        if choice.size_bytes:
            options.append(f"size={choice.size_bytes}")
        if choice.mode:
            options.append(f"mode={choice.mode:o}")
        for pair in choice.options or []:
            if pair == ["exec"]:
                options.remove("noexec")
            else:
                options.append("=".join(pair))
    if mount.read_only:
        options.append("ro")
    return MountPoint(kind="tmpfs", target=target, writable=not mount.read_only, options=options, propagation="")


_TMPFS_FLAGS: Final = frozenset(
    "exec noexec suid nosuid dev nodev ro rw sync async atime noatime diratime nodiratime relatime norelatime "
    "strictatime nostrictatime remount bind rbind private rprivate shared rshared slave rslave".split()
)
_TMPFS_VALUES: Final = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})


def _from_tmpfs(target: str, options: str) -> MountPoint:
    words = [word for word in options.split(",") if word]
    for word in words:
        name, _, value = word.partition("=")
        known = name in _TMPFS_VALUES if value else word in _TMPFS_FLAGS
        if not known:
            raise InvalidInput(f'invalid tmpfs option ["{word}"]')
    chosen = [
        *(d for d in ("noexec", "nosuid", "nodev") if d.removeprefix("no") not in words and d not in words),
        *words,
    ]
    return MountPoint(
        kind="tmpfs", target=_target(target), mode=options, writable="ro" not in words, options=chosen, propagation=""
    )
