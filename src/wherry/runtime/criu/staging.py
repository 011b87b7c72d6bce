"""What criu mounts from, when it restores: the container's root, and what is mounted in it from outside.

All of it is in a mount namespace of its own, on a tmpfs that covers a directory nobody needs meanwhile. criu makes a
copy of each of these mounts in the container's namespace; when criu has ended, this one is gone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from wherry.errors import CorruptData, Unsupported
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import AT, MOVE_MOUNT, MS, OPEN_TREE, mount, move_mount, open_tree
from wherry.linux.process import CLONE, unshare
from wherry.runtime import cgroups
from wherry.runtime.channel import CHANNEL
from wherry.runtime.criu.mounts import External, from_outside
from wherry.runtime.plan import Plan
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.cgroup_mounts import MountCgroups, hierarchies
from wherry.runtime.steps.masks import MaskPaths, null_device
from wherry.runtime.steps.mounts import Bind, FileSystem, attach
from wherry.runtime.steps.overlay import Overlay
from wherry.runtime.steps.rootfs import BindRoot
from wherry.runtime.steps.step import Context

__all__ = ["Stage"]

_EMPTY_PATH: Final = int(AT.EMPTY_PATH)
#: Over this directory criu exchanges the root; one of its own it could not make in a root that is read-only.
_PIVOT: Final = "tmp"


class Stage:
    """The root and all that comes from outside; the calling process is in another mount namespace afterwards.

    :param plan: the container's.
    :param place: the directory to cover; it may be empty.
    :param known: what stayed outside when the image was made; without, what the plan says.
    :ivar root: where the root is mounted.
    :ivar sources: mount points in the container, and what is to be mounted there.
    """

    def __init__(self, plan: Plan, place: str, known: Iterable[External]) -> None:
        unshare(CLONE.NEWNS)
        mount(None, "/", None, MS.SLAVE | MS.REC)
        root = self._mount_root(plan)
        mount("tmpfs", place, "tmpfs", MS.NOSUID | MS.NODEV, "mode=700,size=1m")
        mount(None, place, None, MS.PRIVATE)
        self.root: Final = f"{place}/root"
        os.mkdir(self.root)
        move_mount(root, "", AT_FDCWD, self.root, MOVE_MOUNT.F_EMPTY_PATH)
        given = self._mount_outside(plan, place)
        self._root: Final = Fd(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._make_places(plan)
        self._made_tmp: Final = _make_directory(self._root, _PIVOT)
        given |= self._hidden(plan, place) | self._groups(plan)
        self.sources: Final = given | {one.place: _source(one, given, place) for one in known}

    @staticmethod
    def _mount_root(plan: Plan) -> Fd:
        """Mount the root as the plan does, and take a copy of it alone: what is mounted in it is in the image."""
        step = next((step for step in plan.steps if isinstance(step, BindRoot | Overlay)), None)
        if step is None:
            raise Unsupported("a container in another one's mount namespace cannot be restored")
        context = Context(CHANNEL)
        step.apply(context)
        return open_tree(context.root, "", int(OPEN_TREE.CLONE) | _EMPTY_PATH)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what criu needed in the root, and no one else."""
        with self._root:
            if self._made_tmp:
                with suppress(OSError):  # the container is using it by now
                    os.rmdir(_PIVOT, dir_fd=self._root.fileno())

    def _make_places(self, plan: Plan) -> None:
        """Make what is mounted on, where a fresh root lacks it; not below what the image mounts itself."""
        done: list[str] = []
        for step in plan.steps:
            destination = getattr(step, "destination", "/")
            if destination == "/" or any(destination.startswith(f"{above}/") for above in done):
                continue
            is_file = isinstance(step, Bind) and not stat.S_ISDIR(os.stat(step.source).st_mode)
            make = path_in_root.file if is_file else path_in_root.directory
            make(self._root, destination).fd.close()
            if isinstance(step, FileSystem | Bind | Overlay | MountCgroups):
                done.append(destination)

    @staticmethod
    def _mount_outside(plan: Plan, place: str) -> dict[str, str]:
        """Mount each bind and overlay on a place of its own, with the properties that the plan gives it."""
        context = Context(CHANNEL)
        context.root = Fd(os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        sources = {}
        for number, step in enumerate(from_outside(plan)):
            step._replace(destination=f"/{number}").apply(context)
            sources[step.destination] = f"{place}/{number}"
        context.let_go()
        return sources

    @staticmethod
    def _hidden(plan: Plan, place: str) -> dict[str, str]:
        """The null device that hides files; criu takes a mount's properties over from where it comes from."""
        source = f"{place}/null"
        with open(source, "xb"), Fd(os.open(source, os.O_PATH | os.O_CLOEXEC)) as target:
            attach(null_device(), target)
        masks = [step for step in plan.steps if isinstance(step, MaskPaths)]
        return {path: source for step in masks for path, _ in step.paths}

    @staticmethod
    def _groups(plan: Plan) -> dict[str, str]:
        """The container's control group, which need not be there yet."""
        found = {}
        version = cgroups.hierarchies().version
        for step in plan.steps:
            if not isinstance(step, MountCgroups):
                continue
            for one in hierarchies():
                if one.version == version:
                    own = version == 1 or step.private
                    path = one.mount_point + (step.path if own else "")
                    found[f"{step.destination}/{one.directory}" if version == 1 else step.destination] = path
        return found


def _make_directory(root: Fd, name: str) -> bool:
    """Make a directory, if there is none and it can be made; whether it was."""
    try:
        os.mkdir(name, 0o700, dir_fd=root.fileno())
    except OSError:
        return False
    return True


def _source(known: External, given: dict[str, str], place: str) -> str:
    """Where something comes from that stayed outside.

    :raises CorruptData: its specification has no such mount.
    """
    exact = f"{known.destination}/{known.below}".rstrip("/")
    if exact in given:
        return given[exact]
    if known.destination not in given:
        raise CorruptData(f"the image needs a mount on {known.destination!r}, which the specification does not have")
    return _part(given[known.destination], known.below, place)


def _part(source: str, below: str, place: str) -> str:
    """Mount a part of what is mounted on a place, on another one: a link in it must not lead criu out of it."""
    with Fd(os.open(source, os.O_PATH | os.O_CLOEXEC)) as whole:
        part = path_in_root.existing(whole, below)
        if part is None:
            raise CorruptData(f"the image needs {below!r} in a mount of the specification, where it is not")
    with part, open_tree(part, "", int(OPEN_TREE.CLONE) | _EMPTY_PATH) as copy:
        number = len(os.listdir(place))
        with Fd(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as stage:
            find = path_in_root.directory if stat.S_ISDIR(os.fstat(part.fileno()).st_mode) else path_in_root.file
            attach(copy, find(stage, f"part-{number}").fd)
    return f"{place}/part-{number}"
