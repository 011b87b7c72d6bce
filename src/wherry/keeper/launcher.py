"""What the keeper needs from whoever starts programs; the real one is `wherry.runtime`.

The loop takes a :class:`Launcher` as a parameter, so that it runs with ordinary processes too: nothing in the keeper
depends on namespaces, cgroups or root.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from wherry.linux.fd import Fd


class Executed(NamedTuple):
    """The program runs."""


class Terminal(NamedTuple):
    """The child has made its terminal; the program comes later."""

    master: Fd


class Root(NamedTuple):
    """The child has made its root; while somebody holds this mount, the union file system does not end."""

    mount: Fd


class Failed(NamedTuple):
    """The child did not get to its program, and is about to leave."""

    error: dict[str, Any]
    """As in ARCHITECTURE.md, "Errors from the child"."""


Report = Executed | Terminal | Root | Failed


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

    def fileno(self) -> int:
        """The channel's descriptor: readable when there is something to report."""

    def report(self) -> Report | None:
        """The next report; None if there is none yet."""

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
        """Make ready for the next start; called when one is through, and there may be another one soon."""

    def cool_down(self) -> None:
        """Let go of what is ready: nothing was started for a while, or the keeper is about to end."""

    def was_out_of_memory(self, cgroup: str) -> bool | None:
        """Whether the kernel killed something in this cgroup for want of memory; None if that cannot be told."""
