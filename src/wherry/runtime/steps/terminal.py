"""Standard streams: a terminal of the container's own, or descriptors that its user may open again."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from wherry.errors import SystemCallError, SystemFault
from wherry.linux import pty
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import DEVPTS_SUPER_MAGIC, statfs
from wherry.runtime.channel import send_terminal
from wherry.runtime.steps.mounts import new_file_system
from wherry.runtime.steps.step import Context

__all__ = ["ControllingTerminal", "NewSession", "OpenTerminal", "OwnStreams", "TerminalStreams"]

_NULL_DEVICE: Final = os.makedev(1, 3)


class OpenTerminal(NamedTuple):
    """Make a pseudo-terminal in the container's devpts, and send its master to the parent.

    The devpts is verified by descriptor: a running container could have mounted something else in its place.

    :param size: rows and columns, unless whoever starts the process knows better.
    """

    size: tuple[int, int] | None

    def describe(self) -> str:
        return "make a terminal"

    def apply(self, context: Context) -> None:
        resolve = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS
        with openat2(context.root, "/dev/pts", os.O_PATH | os.O_DIRECTORY, resolve=resolve) as devpts:
            if statfs(devpts).f_type != DEVPTS_SUPER_MAGIC:
                raise SystemFault("a terminal needs a devpts file system on /dev/pts of the container")
            master = pty.open_master(devpts)
        slave = pty.open_peer(master)
        size = context.size or self.size
        if size is not None:
            pty.set_winsize(master, *size)
        os.fchown(slave.fileno(), context.identity.uid, -1)
        context.terminal = slave
        send_terminal(context.channel, master)
        master.close()


class NewSession(NamedTuple):
    """Leave the engine's session and terminal."""

    def describe(self) -> str:
        return "begin a session"

    def apply(self, context: Context) -> None:
        os.setsid()


class ControllingTerminal(NamedTuple):
    """Make the terminal the controlling one, and standard input, output and error."""

    def describe(self) -> str:
        return "take the terminal"

    def apply(self, context: Context) -> None:
        if context.terminal is None:
            return
        pty.make_controlling(context.terminal)
        for number in range(3):
            os.dup2(context.terminal.fileno(), number)
        context.terminal.close()


class TerminalStreams(NamedTuple):
    """Make the terminal standard input, output and error; the program's process makes it the controlling one."""

    def describe(self) -> str:
        return "take the terminal's streams"

    def apply(self, context: Context) -> None:
        if context.terminal is None:
            return
        for number in range(3):
            os.dup2(context.terminal.fileno(), number)
        context.terminal.close()


class OwnStreams(NamedTuple):
    """Give the standard streams to the program's user, so that it can reopen /dev/stdout.

    Where one is the null device, which is the host's, another takes its place: by a descriptor the program could change
    the mode and the owner of the node.
    """

    def describe(self) -> str:
        return "give the standard streams to the program's user"

    def apply(self, context: Context) -> None:
        own_null: Fd | None = None
        for number in range(3):
            status = os.fstat(number)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
                own_null = own_null or _null_device_of(context)
                if own_null is not None:
                    os.dup2(own_null.fileno(), number)
                continue
            if status.st_uid == context.identity.uid:
                continue
            if stat.S_ISREG(status.st_mode):
                continue  # a file of somebody's, not a stream made for this container
            try:
                os.fchown(number, context.identity.uid, -1)
            except OSError as error:
                # Not ours to give: another user namespace's, a read-only file system's, a kind without owner.
                if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS):
                    raise


def _null_device_of(context: Context) -> Fd | None:
    """Open a null device that is not the host's: the container's own, or an unnamed one.

    Whoever runs in the container may have put something in its place; it is opened so that this does no harm.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK  # not to wait for the other end of a FIFO
    try:
        null = openat2(context.root, "/dev/null", flags, resolve=RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
    except SystemCallError:
        return _new_null_device(context)
    status = os.fstat(null.fileno())
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL_DEVICE:
        null.close()
        return _new_null_device(context)
    os.set_blocking(null.fileno(), True)
    return null


def _new_null_device(context: Context) -> Fd | None:
    """Make a node in a file system of its own, mounted nowhere; None where that cannot be done, nor is needed."""
    if context.user_namespace:  # no nodes can be made there; nor can those of the host's be changed
        return None
    with new_file_system("tmpfs", "tmpfs", (("mode", "0"), ("nr_inodes", "2")), 0) as place:
        os.mknod("null", stat.S_IFCHR | 0o666, _NULL_DEVICE, dir_fd=place.fileno())
        return Fd(os.open("null", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=place.fileno()))
