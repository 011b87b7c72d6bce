"""What ``-v``, ``--mount`` and ``--tmpfs`` ask for, checked and brought into one form.

The words of the errors are Docker's, as clients show them to people who know them.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from wherry.docker.container_requests import (
    ContainerConfig,
    HostConfig,
    Mount,
    MountBindOptions,
    MountVolumeDriver,
    MountVolumeOptions,
)
from wherry.engine.container.mount_point import MountPoint, normal_path, volume_targets
from wherry.engine.create.image_mounts import image_mount
from wherry.errors import InvalidInput, Unsupported
from wherry.volumes.model import LOCAL

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

__all__ = ["in_order", "mount_points", "with_anonymous"]

_PROPAGATIONS: Final = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_ACCESS: Final = frozenset({"ro", "rw"})
_RELABEL: Final = frozenset({"z", "Z"})
_CONSISTENCY: Final = frozenset({"consistent", "cached", "delegated", "default"})


def mount_points(
    host: HostConfig, *, read_only_below: bool = True, missing: Container[str] = frozenset()
) -> list[MountPoint]:
    """All mounts of a host configuration, each checked, in the order in which they are to be made.

    :param read_only_below: a read-only bind that says nothing else makes what is mounted below it read-only, too, as
        Docker does since API 1.44.
    :param missing: sources that are not there.
    :raises InvalidInput: a specification is wrong, or two have one target.
    :raises Unsupported: a kind of mount that wherry does not have.
    """
    read_only = "rro" if read_only_below else "ro"
    points = [_from_bind(text, read_only, host.volume_driver or "") for text in host.binds or []]
    points += [_from_mount(mount, read_only, missing) for mount in host.mounts or []]
    points += [_from_tmpfs(target, options) for target, options in (host.tmpfs or {}).items()]
    _check_distinct(point.target for point in points)
    return in_order(points)


def in_order(points: Iterable[MountPoint]) -> list[MountPoint]:
    """The order in which they are to be made: what is mounted in another one comes after it."""
    return sorted(points, key=lambda point: point.target.count("/") if point.target != "/" else 0)


def with_anonymous(points: Iterable[MountPoint], config: ContainerConfig, driver: str) -> list[MountPoint]:
    """The same, and a volume without a name wherever image or caller expect one and nothing is mounted.

    :param config: with the image's volumes.
    """
    found = list(points)
    taken = {point.target for point in found}
    found += [
        MountPoint(kind="volume", target=target, driver=driver, anonymous=True, copy=True, propagation="")
        for target in dict.fromkeys(volume_targets(config))
        if target not in taken
    ]
    return in_order(found)


def _check_distinct(targets: Iterable[str]) -> None:
    seen: set[str] = set()
    for target in targets:
        if target in seen:
            raise InvalidInput(f"Duplicate mount point: {target}")
        seen.add(target)


def _target(text: str) -> str:
    if not text.startswith("/"):
        raise InvalidInput(f"invalid mount path: '{text}' mount path must be absolute")
    cleaned = normal_path(text)
    if cleaned == "/":
        raise InvalidInput("invalid specification: destination can't be '/'")
    return cleaned


def _from_bind(text: str, read_only: str, driver: str) -> MountPoint:
    parts = text.split(":")
    if len(parts) > 3 or not all(parts) or (len(parts) == 2 and _is_mode(parts[1])):
        raise InvalidInput(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return _volume_bind("", _target_of(text, text, "volume"), "", driver)
    source, target = parts[0], parts[1]
    mode = parts[2] if len(parts) == 3 else ""
    writable, propagation = _bind_mode(mode)
    target = _target_of(target, text, "bind" if source.startswith("/") else "volume")
    if not source.startswith("/"):
        return _volume_bind(source, target, mode, driver)
    access = [] if writable else [read_only]
    return MountPoint(
        kind="bind", source=posixpath.normpath(source), target=target, mode=mode, writable=writable,
        propagation=propagation, options=["rbind", propagation, *access], create_source=True,
    )  # fmt: skip


def _volume_bind(name: str, target: str, mode: str, driver: str) -> MountPoint:
    writable, _ = _bind_mode(mode)
    return MountPoint(
        kind="volume", name=name, target=target, mode=mode or _label_of(driver), writable=writable, propagation="",
        driver=driver, anonymous=not name, copy="nocopy" not in mode.split(","),
    )  # fmt: skip


def _label_of(driver: str | None) -> str:
    """The mode of a volume that is given none: Docker shares its SELinux label, where it is a directory."""
    return "z" if driver in (None, "", LOCAL) else ""


def _is_mode(text: str) -> bool:
    """Whether the second word of a bind is a mode: ``/x:ro`` would be a volume with one, which is nothing."""
    try:
        _bind_mode(text)
    except InvalidInput:
        return False
    return True


def _target_of(target: str, text: str, kind: str) -> str:
    try:
        return _target(target)
    except InvalidInput as exc:
        why = f'invalid mount config for type "{kind}": {exc.message}'
        raise InvalidInput(f"invalid volume specification: '{text}'", cause=why) from exc


def _bind_mode(mode: str) -> tuple[bool, str]:
    """Whether it is writable, and its propagation."""
    writable, propagation = True, "rprivate"
    groups: set[str] = set()
    for word in filter(None, mode.split(",")):
        if word in _ACCESS:
            group, writable = "access", word == "rw"
        elif word in _PROPAGATIONS:
            group, propagation = "propagation", word
        elif word in _RELABEL:
            group = "relabel"  # SELinux: accepted and without effect where there is none, as in Docker
        elif word == "nocopy":
            group = "copy"  # about volumes: accepted for binds and without effect, as in Docker
        elif word in _CONSISTENCY:
            group = "consistency"  # about Docker Desktop
        else:
            raise InvalidInput(f"invalid mode: {mode}")
        if group in groups:
            raise InvalidInput(f"invalid mode: {mode}")
        groups.add(group)
    return writable, propagation


def _volume_mount(mount: Mount, target: str) -> MountPoint:
    wrong = 'invalid mount config for type "volume": '
    name, choice = mount.source or "", mount.volume_options or MountVolumeOptions()
    driver = choice.driver_config or MountVolumeDriver()
    if not name and mount.read_only:
        raise InvalidInput(wrong + "must not set ReadOnly mode when using anonymous volumes")
    if choice.subpath:
        if not name:
            raise InvalidInput(wrong + "must not set Subpath when using anonymous volumes")
        if not _is_local(choice.subpath):
            raise InvalidInput(wrong + "subpath must be a relative path within the volume")
    return MountPoint(
        kind="volume", name=name, target=target, mode=_label_of(driver.name), writable=not mount.read_only,
        propagation="", anonymous=not name,
        driver=driver.name or "", driver_options=driver.options or {}, labels=choice.labels or {},
        copy=not choice.no_copy, subpath=choice.subpath or "",
    )  # fmt: skip


def _is_local(path: str) -> bool:
    """Whether a path, by its words, stays in the directory that it begins in (Go's ``filepath.IsLocal``)."""
    depth = 0
    for word in path.split("/"):
        depth += -1 if word == ".." else word not in ("", ".")
        if depth < 0:
            return False
    return bool(path) and not path.startswith("/") and "\0" not in path


def _mount_target(mount: Mount) -> str:
    _check_options(mount)
    wrong = f'invalid mount config for type "{mount.type}": '
    if not mount.target:
        raise InvalidInput(wrong + "field Target must not be empty")
    try:
        return _target(mount.target)
    except InvalidInput as exc:
        raise InvalidInput(wrong + exc.message) from exc


def _from_mount(mount: Mount, read_only: str, missing: Container[str]) -> MountPoint:
    target = _mount_target(mount)
    if mount.type == "bind":
        return _bind_mount(mount, target, read_only, missing)
    if mount.type == "tmpfs":
        return _tmpfs_mount(mount, target)
    if mount.type == "volume":
        return _volume_mount(mount, target)
    if mount.type == "image":
        return image_mount(mount, target)
    if mount.type == "cluster":
        raise Unsupported('mounts of type "cluster" are volumes of a swarm', hint="use type=volume")
    raise InvalidInput(f'invalid mount config for type "{mount.type}": mount type unknown')


def _check_options(mount: Mount) -> None:
    """Options of another kind of mount would have no effect."""
    others = {
        "volume": mount.volume_options, "bind": mount.bind_options, "tmpfs": mount.tmpfs_options,
        "image": mount.image_options,
    }  # fmt: skip
    for kind, options in others.items():
        if options is not None and kind != mount.type:
            raise InvalidInput(f'{kind.capitalize()}Options must not be specified on mount type "{mount.type}"')


def _bind_mount(mount: Mount, target: str, read_only: str, missing: Container[str]) -> MountPoint:
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
    if not choice.create_mountpoint and source in missing:
        raise InvalidInput(wrong + f"bind source path does not exist: {source}")
    _check_read_only(mount, choice)
    options = ["bind" if choice.non_recursive else "rbind", propagation]
    if mount.read_only:
        options.append("ro" if choice.read_only_non_recursive else read_only)
    return MountPoint(
        kind="bind", source=posixpath.normpath(source), target=target, writable=not mount.read_only,
        propagation=propagation, options=options, create_source=bool(choice.create_mountpoint),
    )  # fmt: skip


def _check_read_only(mount: Mount, choice: MountBindOptions) -> None:
    conflict = "mount options conflict: "
    for requested, name in (
        (choice.read_only_non_recursive, "ReadOnlyNonRecursive"),
        (choice.read_only_force_recursive, "ReadOnlyForceRecursive"),
    ):
        if requested and not mount.read_only:
            raise InvalidInput(conflict + f"!ReadOnly && BindOptions.{name}")
    if choice.read_only_non_recursive and choice.read_only_force_recursive:
        raise InvalidInput(conflict + "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")


def _tmpfs_mount(mount: Mount, target: str) -> MountPoint:
    if mount.source:
        raise InvalidInput('invalid mount config for type "tmpfs": field Source must not be specified')
    options = ["nosuid", "nodev", "noexec"]
    choice = mount.tmpfs_options
    if choice is not None:
        if choice.size_bytes:
            options.append(f"size={choice.size_bytes}")
        if choice.mode:
            options.append(f"mode={choice.mode:o}")
        if _may_execute(choice.options or []):
            options.remove("noexec")
    if mount.read_only:
        options.append("ro")
    return MountPoint(kind="tmpfs", target=target, writable=not mount.read_only, options=options, propagation="")


def _may_execute(choices: list[list[str]]) -> bool:
    """Whether programs in a tmpfs may be executed: all that ``--mount`` lets one choose; the last word counts."""
    allowed = False
    for words in choices:
        if not 1 <= len(words) <= 2:
            raise InvalidInput('invalid mount config for type "tmpfs": invalid option array length')
        if words[0] not in ("exec", "noexec"):
            raise InvalidInput(f'invalid mount config for type "tmpfs": invalid option: {words[0]}')
        allowed = words[0] == "exec"
    return allowed


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
