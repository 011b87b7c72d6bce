"""The interface through which the keeper starts programs; `wherry.runtime` implements it.

The loop takes a :class:`Launcher` as a parameter, so that it runs with ordinary processes too: nothing in the keeper
depends on namespaces, cgroups or root.
"""

from __future__ import annotations

from typing import Protocol

from wherry.linux.fd import Fd
from wherry.runtime.report import Report


class Child(Protocol):
    """A process on its way to its program."""

    @property
    def pid(self) -> int:
        """Its process ID, as the keeper sees it."""

    @property
    def pidfd(self) -> Fd:
        """The owner of its pidfd; the keeper takes it over."""

    @property
    def cgroup(self) -> str | None:
        """The path of its cgroup, to ask for an out-of-memory kill later."""

    @property
    def is_among_others(self) -> bool:
        """Whether its program is born in a PID namespace with other processes, which could stop it on its way."""

    @property
    def leaves_orphans(self) -> bool:
        """Whether its program's process becomes an orphan that the keeper takes in, and does not know at first."""

    @property
    def reports_at_end(self) -> bool:
        """Whether what it reports next can wait until the other end of its channel is closed.

        Then `fileno` is to be watched for that only: nobody is woken on the way.
        """

    def fileno(self) -> int:
        """What is readable when there is something to report; another one, perhaps, after each question."""

    def report(self) -> Report:
        """The next report, without waiting; `NotYet` if there is none.

        When it is `Born`, `pid` and `pidfd` are the new process's already, and the old descriptor is closed.
        """

    def close(self) -> None:
        """Close the channel."""

    def clean_up(self) -> None:
        """After a failure, and after the process was reaped: remove what was made for it."""


class Launcher(Protocol):
    """Starts programs."""

    def launch(self, plan: bytes, stdio: tuple[Fd, Fd, Fd] | None, size: tuple[int, int] | None) -> Child:
        """Clone a child that carries out the plan; returns without waiting for it.

        :param stdio: its standard streams; None if it makes itself a terminal.
        :param size: rows and columns of that terminal.
        :raises WherryError: nothing was started, and nothing is left.
        """

    def warm_up(self) -> None:
        """Make ready for the next starts; called when one is through, and there may be others soon."""

    def cool_down(self) -> None:
        """End the prepared children: nothing was started for a while, or the keeper is about to end."""

    def was_out_of_memory(self, cgroup: str) -> bool | None:
        """Whether the OOM killer killed a process of this cgroup; None if that is unknown."""
