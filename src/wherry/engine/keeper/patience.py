"""How long the keeper is waited for, and what is said when it does not answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, TypeVar

from wherry.errors import Unavailable
from wherry.linux.proc import read_stat

__all__ = ["in_time", "trouble_with"]

_log: Final = logging.getLogger(__name__)
_T = TypeVar("_T")
#: Seconds between two looks at a keeper that owes an answer; it takes milliseconds, or on a busy machine a second.
_LOOK: Final = 5.0
_LOOKS: Final = 12


def trouble_with(pid: int) -> Unavailable | None:
    """What to say when the keeper cannot answer, because somebody has stopped it (proc(5), ``stat``)."""
    stat = read_stat(pid)
    if stat is None or stat.state not in ("T", "t"):
        return None  # if it has ended, the connection tells
    return Unavailable(
        f"the keeper (process {pid}) stands still: a signal or a debugger has stopped it", hint=f"kill -CONT {pid}"
    )


async def in_time(answer: asyncio.Future[_T], pid: int, op: str) -> _T:
    """Wait for an answer, as long as there is hope.

    :param pid: of the keeper.
    :param op: what it was asked, for the log.
    :raises Unavailable: it stands still, or has not answered for a minute.
    """
    for _ in range(_LOOKS):
        done, _pending = await asyncio.wait([answer], timeout=_LOOK)
        if done:
            return answer.result()
        if (trouble := trouble_with(pid)) is not None:
            _log.error("%s request=%s", trouble, op)
            raise trouble
        _log.warning("the keeper takes long to answer pid=%d request=%s", pid, op)
    raise Unavailable(f"the keeper (process {pid}) has not answered for {_LOOK * _LOOKS:g} seconds")
