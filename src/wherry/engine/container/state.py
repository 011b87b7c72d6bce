"""The state of a container, and the moves that are legal.

::

    created ──start──▶ running ◀──unpause/pause──▶ paused
       ▲  └─(failed start: stays created, with an exit code and an error)
       │                 │ exit
       │                 ▼
       └───────────── exited ──(restart policy)──▶ restarting ──▶ running
                         ▲                            │  ▲
                         └──(stop, kill, no tries)────┘  └─ (failed start: again, later)
    any of them ──remove──▶ removing ──▶ gone

"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from wherry.docker.container_answers import Health
from wherry.docker.times import ZERO_TIME
from wherry.errors import Conflict, NotModified

__all__ = ["State", "Status"]


class Status(StrEnum):
    """Where in its life a container is; the values are those of the Engine API."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


_ALIVE: Final = frozenset({Status.RUNNING, Status.PAUSED})


class State(Struct, kw_only=True, omit_defaults=True):
    """What changes about a container; one row's ``state`` column, and the API's ``State``.

    Times are RFC 3339 with nanoseconds; `exit_code` is 128+n for a signal.
    """

    status: Status = Status.CREATED
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    restart_count: int = 0
    stopped_by_hand: bool = False
    health: Health | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it has processes."""
        return self.status in _ALIVE

    def check_can_start(self) -> None:
        """Raise what Docker says when a container cannot be started now.

        :raises NotModified: it runs.
        :raises Conflict: it is paused, or being removed.
        """
        if self.status is Status.PAUSED:
            raise Conflict("cannot start a paused container, try unpause instead")
        if self.status in (Status.RUNNING, Status.RESTARTING):
            raise NotModified("container is already running")
        if self.status in (Status.REMOVING, Status.DEAD):
            raise Conflict("container is marked for removal and cannot be started")

    def check_running(self, identifier: str) -> None:
        """Raise unless it has processes.

        :raises Conflict: it has none.
        """
        if self.status is Status.RESTARTING:
            raise Conflict(f"Container {identifier} is restarting, wait until the container is running")
        if not self.is_alive:
            raise Conflict(f"container {identifier} is not running")
