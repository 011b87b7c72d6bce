"""User namespaces, seen from the parent: write ID maps, and clone into an existing one."""

from __future__ import annotations

import os
import signal
import socket
import stat

from wherry.errors import StepFailed, SystemFault
from wherry.linux import namespaces
from wherry.linux.fd import Fd
from wherry.linux.process import CLONE, clone, pidfd_send_signal, set_child_subreaper, setns, waitid_pidfd
from wherry.linux.scm_rights import receive_fds

__all__ = ["adopt_orphans", "clone_into", "first_id", "give_streams", "namespace_with", "write"]


_adopts = False


def adopt_orphans(on: bool = True) -> None:
    """Take in, from now on, the orphans of what is started here: another runtime's containers are such."""
    global _adopts  # noqa: PLW0603  a property of the process
    _adopts = on
    set_child_subreaper(on)


def write(pid: int, uid_map: str, gid_map: str) -> None:
    """Give a new user namespace its maps; see user_namespaces(7).

    :param pid: a process in it, as numbered here.
    """
    for name, value in (("uid_map", uid_map), ("gid_map", gid_map)):
        try:
            fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())  # all lines at once, as the kernel demands
            finally:
                os.close(fd)
        except OSError as error:
            text = f"{value.strip()!r}: {error.strerror}"
            raise StepFailed(f"write {name}", text, call="write", errno=error.errno or 0) from error


def first_id(id_map: str) -> int:
    """Return the host's ID of the container's 0."""
    for line in id_map.splitlines():
        inside, outside, _ = line.split()
        if inside == "0":
            return int(outside)
    raise StepFailed("find the container's root", f"no mapping of ID 0 in {id_map!r}")


def root_of(pid: int) -> tuple[int, int]:
    """Return the host's user and group ID of the root of a process's user namespace."""
    found = []
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
            found.append(first_id(file.read()))
    return found[0], found[1]


def give_streams(uid_map: str, streams: tuple[int, ...]) -> None:
    """Make FIFOs the container's root's, which could not take them itself, so that it can open /dev/stdout again."""
    if not uid_map:
        return
    for fd in streams:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, first_id(uid_map), -1)


def namespace_with(uid_map: str, gid_map: str) -> Fd:
    """Return an empty user namespace with these maps, for id-mapped mounts."""
    pid, pidfd = clone(CLONE.NEWUSER)
    if pid == 0:
        signal.pause()
        os._exit(0)
    if pidfd is None:
        raise SystemFault("clone returned no descriptor of the process")
    with pidfd:
        try:
            write(pid, uid_map, gid_map)
            return namespaces.open_namespace(pid, "user")
        finally:
            pidfd_send_signal(pidfd, signal.SIGKILL)
            waitid_pidfd(pidfd)


def clone_into(user_path: str, flags: int, cgroup: Fd | None) -> tuple[int, Fd | None]:
    """Clone, with the new namespaces owned by an existing user namespace.

    A process that has entered a user namespace cannot come back, so a helper enters it, clones and ends. The child
    becomes ours, because this process takes in orphans meanwhile (PR_SET_CHILD_SUBREAPER; clone3(2) has CLONE_PARENT
    only for children whose end is not signalled).

    :param user_path: the user namespace; empty for this process's own (or a new one, by the flags).
    :returns: as :func:`wherry.linux.process.clone`.
    """
    if not user_path:
        return clone(flags, cgroup_fd=cgroup)
    with namespaces.open_namespace(user_path, "user") as user:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        set_child_subreaper(True)
        helper, _ = clone(0, want_pidfd=False)
        if helper == 0:
            return _clone_and_end(user, flags, theirs)
    theirs.close()
    with ours:
        data, fds = receive_fds(ours, 4096, 1)
    os.waitpid(helper, 0)
    set_child_subreaper(_adopts)
    if not fds:
        raise StepFailed("enter the user namespace", data.decode() or "the helper was killed")
    pidfd = Fd(fds[0])
    return _pid_of(pidfd), pidfd


def _clone_and_end(user: Fd, flags: int, theirs: socket.socket) -> tuple[int, None]:
    """In the helper: returns in the child only."""
    try:
        setns(user, CLONE.NEWUSER)
        pid, pidfd = clone(flags)
        if pid == 0:
            return 0, None
        if pidfd is not None:
            socket.send_fds(theirs, [b"cloned"], [pidfd.fileno()])
    except BaseException as error:
        theirs.send(str(error).encode())
    os._exit(0)


def _pid_of(pidfd: Fd) -> int:
    """Return the number of a process in this PID namespace; see pidfd_open(2)."""
    with open(f"/proc/self/fdinfo/{pidfd.fileno()}", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise SystemFault("the kernel does not tell the number of a process's descriptor")
