"""Namespaces, in the child: join them, wait for the parent, set host names, bring the loopback up."""

from __future__ import annotations

import os
from typing import NamedTuple

from wherry.errors import InvalidInput, StepFailed, SystemCallError
from wherry.linux import namespaces
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.ifreq import set_link_up
from wherry.linux.mount import AT, open_tree
from wherry.linux.process import CLONE, set_dumpable, setdomainname, sethostname, setns, unshare
from wherry.runtime import cgroups
from wherry.runtime.channel import receive_release
from wherry.runtime.steps.step import Context

__all__ = [
    "AwaitParent",
    "BearInside",
    "BecomeRoot",
    "CgroupNamespace",
    "DomainName",
    "EnterCgroup",
    "HostName",
    "JoinContainer",
    "JoinNamespace",
    "LoopbackUp",
]


class JoinNamespace(NamedTuple):
    """Enter an existing namespace; ``kind`` as under /proc/<pid>/ns.

    A PID namespace is only opened: see :class:`BearInside`.
    """

    kind: str
    path: str

    def describe(self) -> str:
        return f"join the {self.kind} namespace {self.path}"

    def apply(self, context: Context) -> None:
        fd = open_or_complain(self.path, self.kind)
        if self.kind == "pid":
            context.pid_namespace = fd, self.path
            return
        setns(fd, namespaces.KINDS[self.kind])
        fd.close()


class BearInside(NamedTuple):
    """Have this process's children be born in the PID namespace that was opened.

    After the hooks: they are programs of the host's, with its files as their root, and whoever is in that namespace
    could trace them.
    """

    path: str

    def describe(self) -> str:
        return f"join the pid namespace {self.path}"

    def apply(self, context: Context) -> None:
        assert context.pid_namespace is not None
        setns(context.pid_namespace[0], CLONE.NEWPID)


def open_or_complain(path: str, kind: str) -> Fd:
    """Open a namespace to join.

    :raises InvalidInput: nothing is there.
    """
    try:
        return namespaces.open_namespace(path, kind)
    except SystemCallError as error:
        if error.call != "open":
            raise
        raise InvalidInput(f"the {kind} namespace {path!r} cannot be opened", cause=os.strerror(error.errno)) from error


class AwaitParent(NamedTuple):
    """Wait until the parent has written the id maps and has put this process into its control group."""

    def describe(self) -> str:
        return "wait for the parent"

    def apply(self, context: Context) -> None:
        if not context.released:
            context.prepared.update(receive_release(context.channel, with_mounts=context.expects_mounts))
            context.released = True


class EnterCgroup(NamedTuple):
    """Enter the control group that the parent has made, unless this process was born in it (version 2).

    By itself, because that is what version 1 does fast; see :meth:`wherry.runtime.cgroups.contract.Cgroup.enter`.
    """

    path: str

    def describe(self) -> str:
        return f"enter the control group {self.path}"

    def apply(self, context: Context) -> None:
        group = cgroups.open(self.path)
        if group.version == 1:
            group.enter()


class BecomeRoot(NamedTuple):
    """Become user and group 0 of the user namespace that this process is in now.

    :param place: where the root will be mounted, if anywhere: it is opened before, because the engine's directories
        are closed to the container's root.
    """

    place: str

    def describe(self) -> str:
        return "become root of the user namespace"

    def apply(self, context: Context) -> None:
        context.user_namespace = True
        if self.place:
            context.place = Fd(os.open(self.place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        set_dumpable(False)  # as in `SwitchUser`


class CgroupNamespace(NamedTuple):
    """Make this process's control group the root of what it sees; it has been put there by now."""

    def describe(self) -> str:
        return "make a cgroup namespace"

    def apply(self, context: Context) -> None:
        unshare(CLONE.NEWCGROUP)


class HostName(NamedTuple):
    """Set the host name."""

    name: str

    def describe(self) -> str:
        return f"set the host name {self.name}"

    def apply(self, context: Context) -> None:
        sethostname(self.name)


class DomainName(NamedTuple):
    """Set the NIS domain name."""

    name: str

    def describe(self) -> str:
        return f"set the domain name {self.name}"

    def apply(self, context: Context) -> None:
        setdomainname(self.name)


class LoopbackUp(NamedTuple):
    """Switch on the loopback interface of a new network namespace."""

    def describe(self) -> str:
        return "switch on the loopback interface"

    def apply(self, context: Context) -> None:
        set_link_up("lo")


class JoinContainer(NamedTuple):
    """Enter the namespaces of a running container, by the pidfd of its first process.

    The PID namespace is only for this process's children. So nobody in the container sees this process, which is
    still a copy of the engine's.
    """

    def describe(self) -> str:
        return "join the container's namespaces"

    def apply(self, context: Context) -> None:
        if context.container is None:
            raise StepFailed(self.describe(), "there is no container to join")
        setns(context.container, context.container_flags)
        context.container.close()
        os.chdir("/")
        context.root = open_tree(AT_FDCWD, "/", AT.NO_AUTOMOUNT)
        if context.container_flags & CLONE.NEWUSER:
            BecomeRoot("").apply(context)
