"""Mounts for a container with a user namespace, made outside of it.

Inside, root has no power over the host's files: it cannot reach a source below a directory that is closed to others,
and it cannot have a mount's owners translated. So a helper does that. It is a short-lived child in a mount namespace of
its own, with all of the engine's rights:

* For a bind it makes a detached copy of the mount; where asked, the copy is *id-mapped* (mount_setattr(2)): what
  belongs to user 0 on the disk belongs to the container's user 0, and what the container's user 0 makes belongs to 0
  on the disk.
* Overlayfs cannot be id-mapped, but its layers can (Linux 5.19). They are attached below a scratch tmpfs, because
  before 6.15 layers had to be attached somewhere in the namespace. The overlay works with the identity of whoever
  mounted it, and that identity must exist in the map: so the helper takes on the container's root (as its user ID
  only, all capabilities stay) while mounting. The upper layer thus holds ordinary IDs from 0, and can be committed or
  exported as it is.

The results are detached mounts, sent to the child over its channel; it attaches them in its own mount namespace. The
helper's namespace ends with it, so nothing is ever mounted on the host.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from contextlib import suppress
from typing import Final

from wherry.errors import SystemCallError, SystemFault
from wherry.linux import namespaces
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import (
    AT,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)
from wherry.linux.process import CLONE, clone, pidfd_send_signal, prctl, waitid_pidfd
from wherry.runtime import channel
from wherry.runtime.launch import user_namespace
from wherry.runtime.launch.child import arrange_descriptors
from wherry.runtime.plan import Plan
from wherry.runtime.report import Failed, NotYet, failure
from wherry.runtime.steps.mounts import Bind
from wherry.runtime.steps.overlay import Overlay, mount_root
from wherry.runtime.steps.rootfs import BindRoot

__all__ = ["Preparation", "begin"]

_SET_SECUREBITS: Final = 28
_NO_SETUID_FIXUP: Final = 1 << 2


class Preparation:
    """A running helper. Nothing blocks on it: a file system that it mounts may not answer.

    :param helper: its process ID.
    :param pidfd: stands for it; owned from now on.
    :param reports: the helper's failures arrive here; it is closed when the helper has done its part.
    """

    def __init__(self, helper: int, pidfd: Fd, reports: socket.socket) -> None:
        self._helper: Final = helper
        self._pidfd: Final = pidfd
        self._reports: Final = reports

    def fileno(self) -> int:
        """What is readable when there is something to report."""
        return self._reports.fileno()

    def report(self) -> NotYet | Failed | None:
        """What there is to say, without waiting; None when the child has all its mounts."""
        report = channel.read_report(self._reports)
        if isinstance(report, NotYet):
            return report
        self._reports.close()
        with self._pidfd:
            if not isinstance(report, Failed) and self._was_killed():
                report = Failed("prepare the mounts", "", 0, "the helper was killed", "system")
        return report if isinstance(report, Failed) else None

    def give_up(self) -> None:
        """End the helper, without waiting; its parent reaps it."""
        self._reports.close()
        with self._pidfd, suppress(SystemCallError):  # it has ended, and was reaped
            pidfd_send_signal(self._pidfd, signal.SIGKILL)
            waitid_pidfd(self._pidfd, block=False)

    def _was_killed(self) -> bool:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._helper, 0)[1]) != 0
        except ChildProcessError:  # somebody has reaped it, as he does with all children that he does not know
            return False


def begin(plan: Plan, pid: int, ours: socket.socket) -> Preparation:
    """Have the plan's prepared mounts made and sent to the child, which is to be released afterwards.

    For containers with user namespaces only.

    :param pid: the child, whose user namespace has its maps.
    :raises WherryError: there is no helper.
    """
    reports, helpers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reports.setblocking(False)
    try:
        with helpers_end, namespaces.open_namespace(pid, "user") as user:
            root = user_namespace.root_of(pid)
            helper, pidfd = clone(CLONE.NEWNS)
            if helper == 0:
                _help(plan, root, (0, 1, 2, ours.fileno(), helpers_end.fileno(), user.fileno()))
    except BaseException:
        reports.close()
        raise
    if pidfd is None:
        raise SystemFault("clone returned no descriptor of the process")
    return Preparation(helper, pidfd, reports)


def _help(plan: Plan, root: tuple[int, int], fds: tuple[int, ...]) -> None:
    """In the helper: never returns.

    It may stay for as long as what it mounts likes, hence without what the parent has open.
    """
    doing, report_to = "separate the mounts from the host's", fds[4]
    try:
        gc.disable()  # an object of the parent's could close a number that is ours now
        signal.set_wakeup_fd(-1)
        arrange_descriptors(fds)
        _, _, _, ours, report_to, owner = range(len(fds))
        user = Fd(owner)
        mount(None, "/", None, MS.SLAVE | MS.REC)
        mounts: dict[int, Fd] = {}
        for index in plan.prepared:
            step = plan.steps[index]
            doing = step.describe()
            if isinstance(step, Overlay):
                mounts[index] = _overlay(step, user, root)
            elif isinstance(step, BindRoot):
                mounts[index] = _bind_root(step)
            elif isinstance(step, Bind):
                mounts[index] = _bind(step, user)
        end = socket.socket(fileno=ours)
        end.setblocking(True)
        channel.send_mounts(end, mounts)
    except BaseException as error:
        channel.send_failure(report_to, failure(doing, error))
    finally:
        os._exit(0)


def _bind(step: Bind, user: Fd) -> Fd:
    tree = step.detached()
    if step.id_map is not None:
        uid_map, gid_map = step.id_map
        owner = user_namespace.namespace_with(uid_map, gid_map) if uid_map else user
        _map_ids(tree, owner, below=step.map_below)
    return tree


def _bind_root(step: BindRoot) -> Fd:
    tree = open_tree(AT_FDCWD, step.source, OPEN_TREE.CLONE | AT.RECURSIVE)
    if step.attributes:
        mount_setattr(tree, "", AT.EMPTY_PATH, attr_set=step.attributes)
    return tree


def _map_ids(tree: Fd, user: Fd, *, below: bool = False) -> None:
    flags = AT.EMPTY_PATH | (AT.RECURSIVE if below else 0)
    mount_setattr(tree, "", flags, attr_set=MOUNT_ATTR.IDMAP, userns_fd=user)


def _overlay(step: Overlay, user: Fd, root: tuple[int, int]) -> Fd:
    if not step.mapped:
        return _detached(mount_root(step, step.path))
    mount("tmpfs", step.path, "tmpfs", MS.NODEV | MS.NOSUID, "mode=0755")
    layers = tuple(_mapped_copy(layer, f"{step.path}/{number}", user) for number, layer in enumerate(step.lower))
    upper = work = ""
    if step.upper:
        # Both must lie on one mount, so it is the directory above them that is mapped.
        above = os.path.commonpath([step.upper, step.work])
        copy = _mapped_copy(above, f"{step.path}/writable", user)
        upper, work = (f"{copy}/{os.path.relpath(one, above)}" for one in (step.upper, step.work))
    os.mkdir(f"{step.path}/merged")
    _take_identity(*root)
    return _detached(mount_root(step._replace(lower=layers, upper=upper, work=work), f"{step.path}/merged"))


def _mapped_copy(source: str, place: str, user: Fd) -> str:
    os.mkdir(place)
    with open_tree(AT_FDCWD, source, OPEN_TREE.CLONE) as tree:
        _map_ids(tree, user)
        move_mount(tree, "", AT_FDCWD, place, MOVE_MOUNT.F_EMPTY_PATH)
    return place


def _detached(attached: Fd) -> Fd:
    return open_tree(attached, "", OPEN_TREE.CLONE | AT.EMPTY_PATH)


def _take_identity(uid: int, gid: int) -> None:
    """Change the IDs with which files are made, and keep all capabilities (SECBIT_NO_SETUID_FIXUP, capabilities(7))."""
    prctl(_SET_SECUREBITS, _NO_SETUID_FIXUP)
    os.setresgid(-1, gid, -1)
    os.setresuid(-1, uid, -1)
