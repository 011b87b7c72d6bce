"""The contract of a log driver.

Whatever the driver, the keeper writes a container's output into segments (`wherry.keeper.log_writer`), and ``attach``
reads it there. So a driver is data: which options it takes, how much of the segments is kept, and whether ``docker
logs`` may read them. One that sends logs elsewhere follows the segments in the daemon.

A driver is one file beside this one and one line in the table of `wherry.engine.log_drivers.table`. Nothing outside
this package knows a driver by its name: what differs between drivers is asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["LogBounds", "LogDriver", "OptionCheck", "Options"]

Options = Mapping[str, str]

OptionCheck = Callable[[str], object]
"""Checks the value of an option: raises ``InvalidInput`` or ``Unsupported``."""


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How much of a container's output the keeper keeps.

    :ivar max_size: bytes of a segment; None for no limit.
    :ivar max_files: segments that are kept.
    :ivar blocking: whether the container waits when its log is full, rather than lose output.
    """

    max_size: int | None
    max_files: int
    blocking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDriver:
    """One log driver.

    :ivar name: as in ``--log-driver`` and in the API.
    :ivar title: what it is called in the error about an unknown option.
    :ivar checks: its options, with the checks of their values.
    :ivar bounds: the bounds that the effective options set.
    :ivar retention: how much is kept with these options, for ``docker info``.
    :ivar defaults: options that hold where neither the container nor the daemon has them.
    :ivar is_readable: whether ``docker logs`` can read the log.
    :ivar is_spool: the segments only bridge the time until attached clients have read them: they lie under the exec
        root, and ``inspect`` shows the options as they were asked for.
    """

    name: str
    title: str
    checks: Mapping[str, OptionCheck]
    bounds: Callable[[Options], LogBounds]
    retention: Callable[[Options], str]
    defaults: Options = field(default_factory=dict)
    is_readable: bool = True
    is_spool: bool = False
