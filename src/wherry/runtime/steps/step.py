"""The context that a plan's steps share, and the contract of a step."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from wherry.errors import StepFailed
from wherry.linux.fd import Fd
from wherry.runtime.steps.trampoline import Call

__all__ = ["Context", "Identity", "Step"]


class Identity(NamedTuple):
    """The program's user and groups; IDs inside the container's user namespace."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class Context:
    """What one step leaves for those after it.

    Steps of a plan are immutable; all that comes into being while they are carried out is here.

    :ivar channel: number of the channel to the parent.
    :ivar size: rows and columns that a new terminal gets.
    :ivar container: pidfd of the process whose container is joined, for an exec.
    """

    __slots__ = (
        "_root",
        "added_home",
        "channel",
        "container",
        "container_flags",
        "environment",
        "expects_mounts",
        "identity",
        "index",
        "last_calls",
        "late_limits",
        "pending_cwd",
        "pid_namespace",
        "place",
        "prepared",
        "proc",
        "program",
        "released",
        "size",
        "terminal",
        "user_namespace",
    )

    def __init__(self, channel: int, size: tuple[int, int] | None = None) -> None:
        self.channel = channel
        self.size = size
        self.container: Fd | None = None
        #: Which namespaces of the container are not ours already.
        self.container_flags = 0
        #: ``NAME=value`` strings.
        self.environment: list[str] = []
        #: Whether the last of them was added here, as nobody had asked for it.
        self.added_home = False
        self.identity = Identity(0, 0, (), "/")
        #: Whether the parent hands over detached mounts.
        self.expects_mounts = False
        #: The number of the step being carried out.
        self.index = 0
        #: Where the filter, the capabilities and the program are written down, if something else is to see to them.
        self.last_calls: list[Call] | None = None
        #: Limits that only the program's own process gets: number, soft, hard.
        self.late_limits: list[tuple[int, int, int]] = []
        #: A working directory that only the program's user may enter.
        self.pending_cwd: str | None = None
        #: The PID namespace that the program is born into, and its path, when that is another's.
        self.pid_namespace: tuple[Fd, str] | None = None
        #: Where the root is to be mounted, if that had to be opened before.
        self.place: Fd | None = None
        #: Detached mounts that were prepared outside of the user namespace, by the number of their step.
        self.prepared: dict[int, Fd] = {}
        #: The root of a procfs that nobody else reaches yet.
        self.proc: Fd | None = None
        self.program = ""
        #: Whether the parent has done its part.
        self.released = False
        #: The slave side of the program's terminal.
        self.terminal: Fd | None = None
        self.user_namespace = False
        self._root: Fd | None = None

    def let_go(self) -> None:
        """Close what stands for directories: from here on, paths are the container's affair."""
        joined = None if self.pid_namespace is None else self.pid_namespace[0]
        for fd in (self._root, self.proc, joined):
            if fd is not None:
                fd.close()

    @property
    def root(self) -> Fd:
        """The container's root directory, once it is mounted."""
        if self._root is None:
            raise StepFailed("use the container's root", "it is not mounted yet")
        return self._root

    @root.setter
    def root(self, directory: Fd) -> None:
        self._root = directory


class Step(Protocol):
    """One thing to do on a container's way to its program."""

    def describe(self) -> str:
        """Say what is done, as error messages show it: ``mount proc on /proc``."""

    def apply(self, context: Context) -> None:
        """Do it, in the child."""
