"""Standard streams: a terminal of the container's own, or descriptors that its user may open again."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from wherry.errors import SystemFault
from wherry.linux import pty
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import statfs
from wherry.runtime.channel import send_terminal
from wherry.runtime.context import Context

__all__ = ["ControllingTerminal", "NewSession", "OpenTerminal", "OwnStreams"]

#: linux/magic.h
_DEVPTS_SUPER_MAGIC: Final = 0x1CD1
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
            if statfs(devpts).f_type != _DEVPTS_SUPER_MAGIC:
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


class OwnStreams(NamedTuple):
    """Give the standard streams to the program's user, who may want to open /dev/stdout again."""

    def describe(self) -> str:
        return "give the standard streams to the program's user"

    def apply(self, context: Context) -> None:
        for number in range(3):
            status = os.fstat(number)
            if status.st_uid == context.identity.uid or status.st_rdev == _NULL_DEVICE:
                continue
            if stat.S_ISREG(status.st_mode):
                continue  # a file of somebody's, not a stream made for this container
            try:
                os.fchown(number, context.identity.uid, -1)
            except OSError as error:
                # Not ours to give: another user namespace's, a read-only file system's, a kind without owner.
                if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS):
                    raise
