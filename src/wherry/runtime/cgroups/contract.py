"""The contract of a cgroup, the same for both versions.

A *cgroup* is one container's group of processes. With version 2 it is one directory; with version 1 it is one
directory of the same name in each mounted *hierarchy*, and each hierarchy has its *controllers* (``memory``, ``pids``
...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from wherry.linux.fd import Fd
from wherry.runtime.cgroups.resources import Resources

__all__ = [
    "Cgroup",
    "CpuStatistics",
    "IoCount",
    "MemoryStatistics",
    "Pids",
    "Statistics",
    "Watch",
]


# ----------------------------------------------------------------------------------------------------------- statistics


class CpuStatistics(NamedTuple):
    """Processor time in nanoseconds.

    :ivar per_cpu: usage of each processor; empty where the kernel does not count so (version 2).
    :ivar periods: how many periods of the quota passed, ``throttled_periods`` of them with processes held back.
    """

    usage: int = 0
    user: int = 0
    system: int = 0
    per_cpu: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class MemoryStatistics(NamedTuple):
    """Memory in bytes.

    :ivar usage: with page cache.
    :ivar maximum: the highest usage there was; 0 where the kernel does not keep it.
    :ivar limit: None if there is none.
    :ivar failures: how often the limit was hit.
    :ivar details: the lines of ``memory.stat``, under the names of the version at hand.
    """

    usage: int = 0
    maximum: int = 0
    limit: int | None = None
    failures: int = 0
    swap_usage: int = 0
    details: Mapping[str, int] = {}


class Pids(NamedTuple):
    """Processes and threads."""

    current: int = 0
    limit: int | None = None


class IoCount(NamedTuple):
    """What was transferred from (``read``) or to (``write``) one block device."""

    major: int
    minor: int
    operation: str
    value: int


class Statistics(NamedTuple):
    """Resource usage of a cgroup; zeros where the controller is missing.

    :ivar io_bytes: and ``io_operations``: counts per device and operation.
    :ivar oom_kills: how many processes were killed for lack of memory.
    """

    cpu: CpuStatistics = CpuStatistics()
    memory: MemoryStatistics = MemoryStatistics()
    pids: Pids = Pids()
    io_bytes: tuple[IoCount, ...] = ()
    io_operations: tuple[IoCount, ...] = ()
    oom_kills: int = 0


class Watch(NamedTuple):
    """A descriptor to wait on.

    :ivar fd: what to register with poll or epoll; the caller closes it.
    :ivar events: for which events (``EPOLLIN`` or ``EPOLLPRI``).
    :ivar acknowledge: to be called after each event, before waiting again.
    """

    fd: Fd
    events: int
    acknowledge: Callable[[], None]


# --------------------------------------------------------------------------------------------------------- the contract


class Cgroup(Protocol):
    """One container's cgroup, which need not exist yet. Creating the object touches nothing.

    Whatever needs it to exist raises :class:`~wherry.errors.NotFound` otherwise.
    """

    @property
    def path(self) -> str:
        """Where it is, seen from the roots of the hierarchies: ``"/wherry/<id>"``."""

    @property
    def version(self) -> int:
        """1 or 2."""

    def exists(self) -> bool:
        """Whether it exists, in any hierarchy."""

    def create(self, resources: Resources) -> None:
        """Make it, parents included, and set its limits; if that fails, nothing is left of it.

        One that exists is used as it is and gets the limits.

        :raises InvalidInput: the kernel rejects a value.
        :raises Unsupported: a limit is asked for, and this machine lacks the controller for it.
        """

    def apply(self, resources: Resources) -> None:
        """Set limits; what ``resources`` leaves out stays as it is. Raises as :meth:`create` does."""

    def add(self, pid: int) -> None:
        """Move a process (all its threads) into it."""

    def enter(self) -> None:
        """Move the calling process, which must have one thread, into it.

        With version 1 this takes microseconds where :meth:`add` may take tens of milliseconds: a thread that moves only
        itself, by the file ``tasks``, needs no lock on the world's forks and exits (``cgroup_procs_write_start`` in the
        kernel), which is waited for during an RCU grace period.
        """

    def open_dir_fd(self) -> Fd | None:
        """Open the directory to clone into (``CLONE_INTO_CGROUP``); None with version 1, where :meth:`add` must do."""

    def pids(self, *, recursive: bool = True) -> list[int]:
        """Return its processes, with those of cgroups below it unless ``recursive`` is false."""

    def freeze(self, timeout: float = 10.0) -> None:
        """Stop all processes, and wait until they stand still.

        :param timeout: seconds; then they are let go again.
        :raises Unavailable: some process did not stop in time, because it hangs in the kernel.
        """

    def thaw(self) -> None:
        """Let the processes go on."""

    def is_frozen(self) -> bool:
        """Whether :meth:`freeze` was called last."""

    def kill_all(self, timeout: float = 10.0) -> None:
        """Kill every process in it and below, including frozen ones and new children, and wait for their end.

        :raises Unavailable: some process did not end in time.
        """

    def statistics(self) -> Statistics:
        """Read all counters."""

    def oom_count(self) -> int:
        """Return how many processes were killed for lack of memory; 0 without the memory controller."""

    def oom_events(self) -> Watch:
        """Return what becomes ready when memory runs out.

        :raises Unsupported: there is no memory controller.
        """

    def destroy(self, timeout: float = 5.0) -> None:
        """Remove it and all below; without effect if it does not exist. Its processes must have ended.

        :param timeout: seconds for the kernel to finish with processes that are just ending.
        :raises Conflict: processes are still in it.
        """

    def destroy_if_empty(self) -> bool:
        """Remove it unless processes or other cgroups are in it, without waiting; returns whether it is gone."""

    def paths(self) -> dict[str, str]:
        """Return its directories: by controller with version 1, under ``""`` with version 2."""
