"""What a step's mounts are made of: made, and opened, before the step is started. All of this waits for the disk."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from wherry.engine.build.mount_places import places_of
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.spec.mounts import overlay_mount
from wherry.errors import InvalidInput, NotFound, SystemCallError
from wherry.layers.overlay_paths import OverlayMount
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.files import RESOLVE, openat2, openat2_if_there
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, mount_setattr, open_tree
from wherry.runtime.compile.mounts import SELECTOR

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.build.model.executor import Step, StepMount
    from wherry.engine.build.mount_places import PlaceLayers, Places

__all__ = ["Mounts", "make_mounts"]

_IN_ROOT: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
_COPY: Final = int(OPEN_TREE.CLONE | AT.EMPTY_PATH)


@dataclass
class Mounts:
    """What a step mounts, in its order.

    :ivar root: its root.
    :ivar places: for mounts, in the root.
    :ivar points: all others.
    :ivar trees: detached mounts that some of these stand for; to be open until the step runs.
    """

    root: OverlayMount
    places: Places = field(default_factory=dict)
    points: list[MountPoint] = field(default_factory=list)
    trees: list[Fd] = field(default_factory=list)

    def close(self) -> None:
        """The step runs, or will not."""
        while self.trees:
            self.trees.pop().close()


def make_mounts(step: Step, directory: Path, layers: PlaceLayers) -> Mounts:
    """Make what a step mounts; to be called in a thread.

    :param directory: of the step's own, which is there.
    :param layers: of places for mounts.
    :raises NotFound: a source has no such path.
    :raises OSError: the disk is full, for one.
    """
    empty = [directory / name for name in ("empty", "nothing")]
    for one in empty:
        one.mkdir(mode=0o755)
    mounts = Mounts(step.root)
    try:
        for mount in step.mounts:
            mounts.points.append(_point(mount, [*map(str, empty)], mounts.trees))
        own = zip(step.mounts, mounts.points, strict=True)
        targets: list[tuple[str, bool | None]] = [(mount.target, _is_directory(mount, point)) for mount, point in own]
        mounts.places = places_of(targets)
        root, bottom = step.root, layers.layer(mounts.places, directory / "places")
        mounts.root = OverlayMount("/", (*root.lower, bottom), root.upper, root.work)
    except BaseException:
        mounts.close()
        raise
    return mounts


def _is_directory(mount: StepMount, point: MountPoint) -> bool | None:
    """Whether a directory is mounted; of a part of an overlay, as its topmost layer that has it says."""
    if mount.kind == "bind":
        return stat.S_ISDIR(os.stat(point.source).st_mode)
    if mount.kind != "overlay" or mount.overlay is None or not mount.selector.strip("/"):
        return True
    for layer in filter(None, mount.overlay.layers):
        with (
            Fd(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as directory,
            suppress(SystemCallError),  # links in a circle, a name that is too long: the mount says so
        ):
            place = openat2_if_there(directory, mount.selector, os.O_PATH, _IN_ROOT)
            if place is not None:
                with place:
                    return stat.S_ISDIR(os.fstat(place.fileno()).st_mode)
    return None  # a link leads there, perhaps, from one layer into another


def _on(overlay: OverlayMount, empty: list[str]) -> OverlayMount:
    """The same with empty directories below all: the kernel wants one layer below the writable one, else two."""
    missing = (1 if overlay.upper else 2) - len(overlay.lower)
    return OverlayMount(overlay.target, (*overlay.lower, *empty[: max(missing, 0)]), overlay.upper, overlay.work)


def _point(mount: StepMount, empty: list[str], trees: list[Fd]) -> MountPoint:
    if "\0" in mount.target + mount.selector + mount.source:
        raise InvalidInput(f"the mount on {mount.target!r} has a NUL byte in a path")
    if not mount.target.startswith("/"):  # a specification's may be relative; a step's was made absolute before
        raise InvalidInput(f"the mount on {mount.target!r} is not on an absolute path")
    if mount.kind == "tmpfs":
        access = ["ro"] if mount.readonly else []
        return MountPoint(kind="tmpfs", target=mount.target, options=["nosuid", "nodev", *mount.options, *access])
    if mount.kind == "overlay" and mount.overlay is not None:
        return _overlay(mount, mount.overlay, empty)
    if mount.kind == "bind":
        tree = _tree(mount)
        trees.append(tree)
        source = f"/proc/{os.getpid()}/fd/{tree.fileno()}"
        return MountPoint(kind="bind", source=source, target=mount.target, options=["bind", "rprivate", "detached"])
    raise InvalidInput(f'a step cannot have a mount of kind "{mount.kind}"')


def _overlay(mount: StepMount, overlay: OverlayMount, empty: list[str]) -> MountPoint:
    further = [*mount.options, *(["ro"] if mount.readonly else [])]
    if mount.selector.strip("/"):
        further.append(f"{SELECTOR}={mount.selector}")
    spec = overlay_mount(_on(overlay, empty), *further, volatile=True)
    return MountPoint(kind="overlay", source="overlay", target=mount.target, options=list(spec.options))


def _tree(mount: StepMount) -> Fd:
    """A detached copy of what is to be bound: who changes the path afterwards changes nothing."""
    try:
        with openat2(AT_FDCWD, mount.source, os.O_PATH, resolve=RESOLVE.NO_MAGICLINKS) as source:
            tree = _copied(source, mount)
    except SystemCallError as error:
        raise NotFound(f'cannot mount "{mount.source}" on {mount.target}', cause=str(error)) from error
    if mount.readonly:
        mount_setattr(tree, "", int(AT.EMPTY_PATH), attr_set=int(MOUNT_ATTR.RDONLY))
    return tree


def _copied(source: Fd, mount: StepMount) -> Fd:
    if not mount.selector.strip("/"):
        return open_tree(source, "", _COPY)
    place = openat2_if_there(source, mount.selector, os.O_PATH, _IN_ROOT)
    if place is None:
        raise NotFound(f'"{mount.selector}": not found')
    with place:
        return open_tree(place, "", _COPY)
