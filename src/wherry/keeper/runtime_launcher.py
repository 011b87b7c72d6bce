"""The keeper's launcher for containers: `wherry.runtime`, in the form that the keeper needs."""

from __future__ import annotations

from typing import Final

from wherry.errors import WherryError
from wherry.linux.fd import Fd
from wherry.runtime import cgroups
from wherry.runtime.launch import launch
from wherry.runtime.launch.prefork import Prefork
from wherry.runtime.plan import Plan
from wherry.runtime.report import Report


class RuntimeChild:
    """A process that the runtime has cloned, on its way to its program."""

    def __init__(self, plan: Plan, launched: launch.Launched) -> None:
        self._plan: Final = plan
        self._launched: Final = launched

    @property
    def pid(self) -> int:
        """Its process ID, as the keeper sees it."""
        return self._launched.pid

    @property
    def pidfd(self) -> Fd:
        """The owner of its pidfd."""
        return self._launched.pidfd

    @property
    def cgroup(self) -> str | None:
        """The cgroup that was made for it; an exec joins the container's, which has a history of its own."""
        if self._plan.other is not None:
            return self._plan.other.cgroup or None
        return self._plan.cgroup if self._plan.cgroup and self._plan.resources is not None else None

    @property
    def is_among_others(self) -> bool:
        """Whether its program is born in a PID namespace with other processes."""
        return self._launched.is_apart

    @property
    def leaves_orphans(self) -> bool:
        """Whether its program's process becomes an orphan that the keeper takes in, and does not know at first."""
        return self._plan.other is not None

    @property
    def reports_at_end(self) -> bool:
        """Whether its reports can wait until the other end of its channel is closed."""
        return self._launched.reports_at_end

    def fileno(self) -> int:
        """What is readable when there is something to report."""
        return self._launched.fileno()

    def report(self) -> Report:
        """The next report, without waiting; `NotYet` if there is none."""
        return self._launched.report()

    def close(self) -> None:
        """Close the channel."""
        self._launched.close()

    def clean_up(self) -> None:
        """Remove the cgroup of a child that failed."""
        launch.cleanup(self._plan)


class RuntimeLauncher:
    """Starts containers and processes in them; a plan is what :meth:`wherry.runtime.plan.Plan.encode` gave."""

    def __init__(self) -> None:
        self._prefork: Final = Prefork()

    def launch(self, plan: bytes, stdio: tuple[Fd, Fd, Fd] | None, size: tuple[int, int] | None) -> RuntimeChild:
        """Clone a child that carries out the plan.

        :raises CorruptData: the bytes are no plan of this version.
        :raises WherryError: nothing was started.
        """
        decoded = Plan.decode(plan)
        streams = None if stdio is None else (stdio[0].fileno(), stdio[1].fileno(), stdio[2].fileno())
        return RuntimeChild(decoded, launch.launch(decoded, streams, size=size, prefork=self._prefork, encoded=plan))

    def warm_up(self) -> None:
        """Clone children ahead, for starts like the last ones."""
        self._prefork.fill()

    def cool_down(self) -> None:
        """End the children that wait."""
        self._prefork.drain()

    def was_out_of_memory(self, cgroup: str) -> bool | None:
        """Whether the OOM killer killed a process of this cgroup; None if that is unknown."""
        try:
            return cgroups.open(cgroup).oom_count() > 0
        except (OSError, WherryError):
            return None
