"""What the keeper says of processes, as values: its messages are JSON, and may be an earlier version's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

__all__ = ["ExitReport", "KeptProcess"]


class ExitReport(Struct, kw_only=True, frozen=True):
    """A process has ended.

    :ivar key: its name among all processes; that of a container's is the container's ID.
    :ivar kind: ``container``, ``exec`` or ``step``.
    :ivar status: the exit status; 128 + n for signal n.
    :ivar at: when the keeper learnt it, nanoseconds since the epoch.
    :ivar oom: whether memory ran out in its control group; None if that is not known.
    :ivar log: where its output ends: segment and offset; None where it has no log.
    :ivar forgotten: the keeper does not remember it any more.
    """

    key: str = ""
    kind: str = ""
    status: int
    at: int
    oom: bool | None = None
    log: tuple[int, int] | None = None
    forgotten: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> ExitReport:
        """The keeper's event ``exited``."""
        return msgspec.convert(fields, cls)


class KeptProcess(Struct, kw_only=True, frozen=True):
    """A process that the keeper knows, as it says in its answer to ``hello``.

    :ivar started: nanoseconds since the epoch.
    :ivar exited: how it has ended; None while it runs.
    :ivar log: where its output ends at present, or ended.
    """

    key: str
    kind: str
    pid: int
    started: int
    exited: ExitReport | None = None
    log: tuple[int, int] | None = None

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> KeptProcess:
        """One of the answer's ``processes``."""
        found = msgspec.convert(fields, cls)
        if found.exited is None:
            return found
        return replace(found, exited=replace(found.exited, key=found.key, kind=found.kind, log=found.log))
