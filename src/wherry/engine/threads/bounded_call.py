"""Work on what a container controls: in a thread of its own, and with a time limit.

Whoever opens a file that a container can reach may wait for as long as the container likes: it has a lease on it
(fcntl(2), ``F_SETLEASE``), has put a FIFO in its place, or answers for the file system itself (FUSE). On the event loop
that would be the end of all service, and in the loop's own pool of threads a handful of such files would. A thread that
does nothing else can wait as long as it must: when its time is over, the caller gets an error, and the thread ends with
the container (`wherry.engine.threads.workers`). At most a few threads do the same piece of work for one container at a
time, abandoned ones included: repeated requests do not use up all threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from wherry.engine.threads.workers import Workers
from wherry.errors import Unavailable

__all__ = ["PATIENCE", "call_bounded"]

T = TypeVar("T")

PATIENCE: Final = 5.0  # seconds
_MOST: Final = 64  # threads at a time, of which all but the stuck ones take some milliseconds
_SHARE: Final = 2  # of the same work

_workers: Final = Workers(_MOST, "bounded-call")
_Turns = WeakValueDictionary[str, asyncio.Semaphore]  # an entry goes when nothing waits for it or runs
_turns: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]] = WeakKeyDictionary()


async def call_bounded(
    what: str,
    function: Callable[[], T],
    patience: float = PATIENCE,
    *,
    leaves_traces: bool = False,
    workers: Workers | None = None,
) -> T:
    """Run a function in a thread that does nothing else, and return its result or raise its error.

    :param what: the work, for the error: ``"read /etc/hosts of web"``. Few with the same text run at a time, the others
        wait for their turn.
    :param patience: seconds, including the wait for a turn.
    :param leaves_traces: the thread is another one afterwards, in other namespaces for instance: it ends.
    :param workers: other threads than those for the work on containers; None: those.
    :raises Unavailable: it takes longer.
    """
    try:
        async with asyncio.timeout(patience) as limit:
            begun = await _begun(what, function, workers or _workers, leaves_traces=leaves_traces)
            return await asyncio.wrap_future(begun)
    except TimeoutError:
        if not limit.expired():
            raise  # a server that is gone, for one (ETIMEDOUT)
        raise Unavailable(f"cannot {what}", cause=f"a container holds it up for more than {patience:g} s") from None


async def _begun(what: str, function: Callable[[], T], workers: Workers, *, leaves_traces: bool) -> Future[T]:
    """Wait for a turn, and begin."""
    loop, done = asyncio.get_running_loop(), Future[T]()
    turn = _turns.setdefault(loop, _Turns()).setdefault(what, asyncio.Semaphore(_SHARE))
    await turn.acquire()
    done.add_done_callback(partial(_end_turn, loop, turn))
    try:
        workers.start(partial(_carry_out, function, done), leaves_traces=leaves_traces)
    except RuntimeError as error:
        done.cancel()
        raise Unavailable(f"cannot {what}", cause=str(error)) from error
    return done


def _end_turn(loop: asyncio.AbstractEventLoop, turn: asyncio.Semaphore, _: object) -> None:
    """In the thread: the work is done, or was cancelled before it began."""
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(turn.release)


def _carry_out(function: Callable[[], T], done: Future[T]) -> Callable[[], None]:
    if not done.set_running_or_notify_cancel():
        return _nobody_waits
    try:
        return partial(done.set_result, function())
    except BaseException as error:
        return partial(done.set_exception, error)


def _nobody_waits() -> None:
    """The caller does not wait any more."""
