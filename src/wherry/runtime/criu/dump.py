"""Write a running container into an image."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final, NamedTuple

from wherry.errors import Conflict, InvalidInput, NotFound, Unsupported, WherryError
from wherry.linux.fd import Fd
from wherry.linux.namespaces import namespace_inode
from wherry.linux.proc import descendants, read_stat
from wherry.oci.runtime_spec import Linux, Spec
from wherry.runtime import cgroups
from wherry.runtime.criu import image
from wherry.runtime.criu.common import Common
from wherry.runtime.criu.messages import Kind, Options, Response
from wherry.runtime.criu.mounts import external, mounted
from wherry.runtime.criu.session import Session, find
from wherry.runtime.plan import Plan

__all__ = ["OUTER_NETWORK", "OUTER_PIDS", "Target", "Wanted", "dump", "executed_in"]

#: What criu calls namespaces that it is given at a restore; runc's names.
OUTER_NETWORK, OUTER_PIDS = "extRootNetNS", "extRootPidNS"
_LOG: Final = "dump.log"
_ENDED: Final = ("Z", "X")
_EXITING: Final = 0x4  # PF_EXITING


class Target(NamedTuple):
    """A running container.

    :ivar pid: of its first process, and ``started``: when that was, in clock ticks since boot.
    :ivar spec: what it was made by, and ``plan``: what that was compiled to.
    """

    pid: int
    started: int
    spec: Spec
    plan: Plan


class Wanted(NamedTuple):
    """How it is to be done; the names are those of runc's flags.

    :ivar common: the directory of the image is made if it is missing.
    :ivar parent: the image that this one continues, as a path from its directory.
    :ivar page_server: address and port of who takes the memory; None for the image.
    """

    common: Common
    parent: str = ""
    leave_running: bool = False
    pre_dump: bool = False
    page_server: tuple[str, int] | None = None


def dump(target: Target, wanted: Wanted) -> None:
    """Write a container into an image; unless it is to be left running, its processes are ended then.

    If that fails, it goes on.

    :raises Unsupported: there is no criu, or the container is of a kind that it cannot restore.
    :raises Conflict: the container has ended, or processes of execs are in it.
    :raises SystemFault: criu could not do it.
    :raises Unavailable: criu hangs.
    """
    program = find(wanted.common.criu)
    _check(target)
    _check_parent(wanted.parent)
    group = cgroups.open(target.plan.cgroup)
    frozen = group.is_frozen()
    with (
        image.opened(wanted.common.images, "image", make=True) as images,
        image.opened(wanted.common.work_directory, "work directory", make=True, links=True) as work,
    ):
        options = _options(target, wanted, group, images, work)
        kind = Kind.PRE_DUMP if wanted.pre_dump else Kind.DUMP
        try:
            with Session(program) as session:
                session.ask(
                    kind,
                    options,
                    work=work.fileno(),
                    images=images.fileno(),
                    notified=_unnoticed,
                    patience=wanted.common.patience,
                )
        finally:
            if not frozen:
                _thaw(group)


def _unnoticed(_: Response, fds: list[Fd]) -> None:
    for fd in fds:
        fd.close()


def _thaw(group: cgroups.Cgroup) -> None:
    """Let go what criu has frozen, should it have been ended in between."""
    with contextlib.suppress(WherryError, OSError):
        if group.is_frozen():
            group.thaw()


def _check(target: Target) -> None:
    if not target.plan.cgroup:
        raise Unsupported("a container without a control group of its own cannot be frozen for a checkpoint")
    stat = read_stat(target.pid)
    if stat is None or stat.start_time != target.started or stat.state in _ENDED or stat.flags & _EXITING:
        raise Conflict("container not running")
    linux = target.spec.linux or Linux()
    for one in linux.namespaces:
        if one.type == "user":
            raise Unsupported("a container in a user namespace cannot be restored yet")
        if one.path and one.type not in ("network", "pid") and _is_foreign(one.path, one.type):
            raise Unsupported(f"a container that shares the {one.type} namespace of another one cannot be restored")
    if any(_has_no_file(pid) for pid in descendants(target.pid)):
        raise Unsupported("a program that is in no file, as that of --init, cannot be restored")
    if others := executed_in(target):
        raise Conflict(
            f"{len(others)} processes have come into the container from outside, which an image cannot hold",
            hint="wait for the end of what was executed in it",
        )


def _has_no_file(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
    except OSError:  # it has ended
        return False


def executed_in(target: Target) -> list[int]:
    """Return the processes in a container that it has not made itself."""
    try:
        pids = cgroups.open(target.plan.cgroup).pids()
    except NotFound:
        return []
    return [pid for pid in pids if _is_from_outside(pid, target.pid)]


def _is_from_outside(pid: int, first: int) -> bool:
    """Whether a process that lives descends from another one than the container's first."""
    while pid != first:
        stat = read_stat(pid)
        if stat is None or stat.state in _ENDED:
            return False
        if stat.parent == 0:
            return True
        pid = stat.parent
    return False


def _is_foreign(path: str, kind: str) -> bool:
    kind = {"mount": "mnt"}.get(kind, kind)
    try:
        return os.stat(path).st_ino != namespace_inode(os.getpid(), kind)
    except OSError:
        return True


def _check_parent(path: str) -> None:
    if path.startswith("/") or "\0" in path:
        raise InvalidInput(f"the parent image {path!r} must be a path from the image to it")


def _options(target: Target, wanted: Wanted, group: cgroups.Cgroup, images: Fd, work: Fd) -> Options:
    linux = target.spec.linux or Linux()
    process = target.spec.process
    options = wanted.common.options(_LOG)
    options.plain |= {
        "images_dir_fd": images.fileno(),
        "work_dir_fd": work.fileno(),
        "pid": target.pid,
        "leave_running": wanted.leave_running,
        "root": target.spec.root.path if target.spec.root else "/",
        "parent_img": wanted.parent,
        "track_mem": wanted.pre_dump or bool(wanted.parent),
        "orphan_pts_master": process is not None and process.terminal,
        "freeze_cgroup": _freezer(group),
    }
    options.page_server = wanted.page_server
    if not wanted.pre_dump:
        outside = external(target.plan, target.pid)
        image.write_external(images, outside)
        options.ext_mnt = [(one.place, one.place) for one in outside]
        streams = _streams(target.pid)
        image.write_streams(images, streams)
        options.external = [name for name in streams if name.startswith("file[")]
    for one in linux.namespaces:
        key = {"network": ("net", OUTER_NETWORK), "pid": ("pid", OUTER_PIDS)}.get(one.type)
        if one.path and key and _is_foreign(one.path, key[0]):
            options.external.append(f"{key[0]}[{namespace_inode(target.pid, key[0])}]:{key[1]}")
    return options


def _freezer(group: cgroups.Cgroup) -> str:
    paths = group.paths()
    return paths.get("", paths.get("freezer", ""))


def _streams(pid: int) -> list[str]:
    """What criu calls the standard streams: a pipe, or a file or FIFO that is not in the container, or a path in it.

    Of the first process; or of a later one where that has closed what it was given, as an init does.
    """
    inside = {one.number for one in mounted(pid)}
    found = ["", "", ""]
    for one in descendants(pid):
        found = [name or _stream(one, number, inside) for number, name in enumerate(found)]
    return found


def _stream(pid: int, number: int, inside: set[int]) -> str:
    try:
        name = os.readlink(f"/proc/{pid}/fd/{number}")
        status = os.stat(f"/proc/{pid}/fd/{number}")
        with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
            mount = int(next(line.split()[1] for line in file if line.startswith("mnt_id:")))
    except (OSError, StopIteration):
        return ""
    is_file = stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)
    if name.startswith("/") and is_file and mount not in inside:
        return f"file[{mount:x}:{status.st_ino:x}]"
    return name
