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

import os
import socket
from typing import Final

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
from wherry.linux.process import CLONE, clone, prctl
from wherry.runtime import channel, usermap
from wherry.runtime.mounts import Bind
from wherry.runtime.plan import Plan
from wherry.runtime.rootfs import BindRoot, Overlay, mount_root

__all__ = ["hand_over"]

_SET_SECUREBITS: Final = 28
_NO_SETUID_FIXUP: Final = 1 << 2


def hand_over(plan: Plan, pid: int, ours: socket.socket) -> None:
    """Make the plan's prepared mounts and send them to the child.

    Waits for the helper: some milliseconds, for containers with user namespaces only.

    :param pid: the child, whose user namespace has its maps.
    :raises WherryError: as it happened in the helper.
    """
    user = namespaces.open_namespace(pid, "user")
    told, tell = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    root = usermap.root_of(pid)
    helper, _ = clone(CLONE.NEWNS, want_pidfd=False)
    if helper == 0:
        _help(plan, user, root, ours, tell)
    tell.close()
    user.close()
    told.settimeout(None)
    with told:
        report = channel.read_report(told)
        os.waitpid(helper, 0)
    if isinstance(report, channel.Failed):
        raise report.error()


def _help(plan: Plan, user: Fd, root: tuple[int, int], ours: socket.socket, tell: socket.socket) -> None:
    """In the helper: never returns."""
    doing = "separate the mounts from the host's"
    try:
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
        ours.setblocking(True)
        channel.send_mounts(ours, mounts)
    except BaseException as error:
        channel.send_failure(tell.fileno(), channel.failure(doing, error))
    finally:
        os._exit(0)


def _bind(step: Bind, user: Fd) -> Fd:
    tree = step.detached()
    if step.id_map is not None:
        uid_map, gid_map = step.id_map
        owner = usermap.namespace_with(uid_map, gid_map) if uid_map else user
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
