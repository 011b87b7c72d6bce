"""The keeper's launcher for containers: `wherry.runtime`, in the form that the keeper needs."""

from __future__ import annotations

from typing import Final

from wherry.errors import WherryError
from wherry.keeper.launcher import Executed, Failed, Report, Root, Terminal
from wherry.linux.fd import Fd
from wherry.runtime import cgroups, launch
from wherry.runtime.plan import Plan


class RuntimeChild:
    """A process that the runtime has cloned, on its way to its program."""

    def __init__(self, plan: Plan, launched: launch.Launched) -> None:
        self._plan: Final = plan
        self._channel: Final = launched.channel
        self.pid: Final = launched.pid
        self.pidfd: Final = launched.pidfd

    @property
    def cgroup(self) -> str | None:
        """The cgroup that was made for it; an exec joins the container's, which has a history of its own."""
        return self._plan.cgroup if self._plan.cgroup and self._plan.resources is not None else None

    def fileno(self) -> int:
        """The channel's descriptor."""
        return self._channel.fileno()

    def report(self) -> Report | None:
        """The next report; None if there is none yet."""
        report = launch.read_report(self._channel)
        if isinstance(report, launch.Terminal):
            return Terminal(report.master)
        if isinstance(report, launch.Root):
            return Root(report.mount)
        if isinstance(report, launch.Failed):
            return Failed(report._asdict())
        return Executed() if isinstance(report, launch.Executed) else None

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def clean_up(self) -> None:
        """Remove the cgroup of a child that failed."""
        launch.cleanup(self._plan)


class RuntimeLauncher:
    """Starts containers and processes in them; a plan is what :meth:`wherry.runtime.plan.Plan.encode` gave."""

    def __init__(self) -> None:
        self._warm: Final = launch.Warm()

    def launch(self, plan: bytes, stdio: tuple[Fd, Fd, Fd] | None, size: tuple[int, int] | None) -> RuntimeChild:
        """Clone a child that carries out the plan.

        :raises CorruptData: the bytes are no plan of this version.
        :raises WherryError: nothing was started.
        """
        decoded = Plan.decode(plan)
        streams = None if stdio is None else (stdio[0].fileno(), stdio[1].fileno(), stdio[2].fileno())
        return RuntimeChild(decoded, launch.launch(decoded, streams, size=size, warm=self._warm, encoded=plan))

    def warm_up(self) -> None:
        """Clone a child ahead, for a start like the last one."""
        self._warm.up()

    def cool_down(self) -> None:
        """End the child that waits."""
        self._warm.down()

    def was_out_of_memory(self, cgroup: str) -> bool | None:
        """Whether the kernel killed something in the cgroup for want of memory; None if it is gone or does not tell."""
        try:
            return cgroups.open(cgroup).oom_count() > 0
        except (OSError, WherryError):
            return None
