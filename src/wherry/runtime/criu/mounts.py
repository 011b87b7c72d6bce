"""Which mounts of a container stay outside of an image, because what is mounted is the host's.

criu writes down what a container's own file systems hold, and mounts them again. What was bound from the host it has to
be given: by the mount point when it writes (*dump*), and by a path when it restores.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from wherry.errors import Unsupported
from wherry.linux.fd import Fd
from wherry.runtime.plan import Plan
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.cgroup_mounts import MountCgroups
from wherry.runtime.steps.masks import MaskPaths
from wherry.runtime.steps.mounts import Bind, FileSystem, OwnDirectory
from wherry.runtime.steps.overlay import Overlay

__all__ = ["External", "Mounted", "external", "from_outside", "mounted"]

_ESCAPES: Final = {"040": " ", "011": "\t", "012": "\n", "134": "\\"}


class External(NamedTuple):
    """A mount that stays outside.

    :ivar place: its mount point in the container, as the kernel has it.
    :ivar destination: the mount of the specification that it comes from: a bind's destination, a masked path, or where
        the control groups are mounted.
    :ivar below: what of it: empty, or a path below it that something is mounted on outside.
    """

    place: str
    destination: str
    below: str = ""


class Mounted(NamedTuple):
    """A line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)).

    :ivar place: its mount point; ``root``: what of its file system is there; ``kind``: the file system's type.
    :ivar number: the mount's ID.
    """

    place: str
    root: str
    kind: str
    number: int
    is_read_only: bool


def mounted(pid: int) -> list[Mounted]:
    """Return what a process sees mounted."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [_line(line) for line in file]


def _line(line: str) -> Mounted:
    front, _, back = line.partition(" - ")
    fields = front.split(" ")
    read_only = "ro" in fields[5].split(",")
    return Mounted(_unescaped(fields[4]), _unescaped(fields[3]), back.split(" ", 1)[0], int(fields[0]), read_only)


def _unescaped(text: str) -> str:
    first, *others = text.split("\\")
    return first + "".join(_ESCAPES.get(part[:3], "\\" + part[:3]) + part[3:] for part in others)


def from_outside(plan: Plan) -> Iterator[Bind | Overlay]:
    """Return the steps of a plan that mount what is the host's.

    :raises Unsupported: criu cannot restore a mount with mapped IDs.
    """
    for step in plan.steps:
        if isinstance(step, Bind) and step.id_map is not None:
            raise Unsupported(f"what is mounted on {step.destination!r} has mapped IDs, which criu cannot restore")
        if isinstance(step, Bind | Overlay) and step.destination != "/":
            yield step


def external(plan: Plan, pid: int) -> list[External]:
    """Return what stays outside of a running container's image.

    :param pid: the container's first process; its mounts count, because a destination may lead through a link.
    """
    table = mounted(pid)
    places = {one.place for one in table}
    own = {step.destination for step in plan.steps if isinstance(step, FileSystem | OwnDirectory | MountCgroups)}
    with Fd(os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        given = {_place(root, step.destination): step.destination for step in from_outside(plan)}
    found = {place: External(place, destination) for place, destination in given.items() if place in places}
    for one in table:
        if one.place not in found and one.place not in own and (below := _below(one.place, given)):
            found[one.place] = below
    found |= {one.place: one for one in _made_by_us(plan, table) if one.place not in found}
    return list(found.values())


def _place(root: Fd, destination: str) -> str:
    opened = path_in_root.existing(root, destination)
    if opened is None:
        return destination
    with opened:
        return os.readlink(f"/proc/self/fd/{opened.fileno()}")


def _below(place: str, given: dict[str, str]) -> External | None:
    above = [one for one in given if place.startswith(f"{one}/")]
    if not above:
        return None
    nearest = max(above, key=len)
    return External(place, given[nearest], place[len(nearest) + 1 :])


def _made_by_us(plan: Plan, table: Iterable[Mounted]) -> Iterator[External]:
    """Control groups, and files that are hidden behind the host's null device."""
    masked = {path for step in plan.steps if isinstance(step, MaskPaths) for path, _ in step.paths}
    groups = [step.destination for step in plan.steps if isinstance(step, MountCgroups)]
    for one in table:
        if one.place in masked and one.root != "/":
            yield External(one.place, one.place)
        for destination in groups:
            if one.kind in ("cgroup", "cgroup2") and f"{one.place}/".startswith(f"{destination}/"):
                yield External(one.place, destination, one.place[len(destination) + 1 :])
