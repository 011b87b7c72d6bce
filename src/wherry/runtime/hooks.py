"""Run a hook of a runtime specification (config.md, "POSIX-platform Hooks"): a program of the host's.

It gets the container's state as its standard input, from memory, so that one that does not read it holds up nobody; and
what it says goes to memory, so that one that leaves others behind holds up nobody either.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from typing import Final, NamedTuple

from wherry.errors import StepFailed

__all__ = ["Hook", "run", "run_all"]

#: How much of what a failed hook said is repeated, in bytes.
_REPEATED: Final = 2048


class Hook(NamedTuple):
    """A program to be run.

    :param kind: ``"prestart"``, ``"createRuntime"`` ...
    :param args: with the name that it is called by; empty for its path.
    :param env: ``NAME=value``; None for this process's.
    :param timeout: seconds; None to wait for as long as it takes.
    """

    kind: str
    path: str
    args: tuple[str, ...]
    env: tuple[str, ...] | None
    timeout: int | None


def run_all(hooks: Iterable[Hook], state: bytes) -> None:
    """Run hooks, one after another, up to the first that fails.

    :param state: the container's, as JSON.
    :raises StepFailed: one could not be executed, failed, or took too long.
    """
    for index, hook in enumerate(hooks):
        run(hook, state, index)


def run(hook: Hook, state: bytes, index: int = 0) -> None:
    """Run one hook; see :func:`run_all`."""
    doing = f"run {hook.kind} hook #{index}"
    given = os.memfd_create("state", os.MFD_CLOEXEC)
    said = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        os.write(given, state)
        os.lseek(given, 0, os.SEEK_SET)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # until it can be ended
        try:
            pid = _spawn(hook, given, said, doing)
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        status = _end_of(pid, hook.timeout, before)
        if status is None:
            raise StepFailed(doing, f"{hook.path!r} did not end within {hook.timeout} seconds, and was killed")
        if status:
            said_last = os.pread(said, _REPEATED, 0).decode(errors="replace").strip()
            ended = f"exit status {status}" if status > 0 else f"signal: {-status}"
            raise StepFailed(doing, f"{hook.path!r}: {ended}" + (f": {said_last}" if said_last else ""))
    finally:
        os.close(given)
        os.close(said)


def _spawn(hook: Hook, given: int, said: int, doing: str) -> int:
    environment = os.environ if hook.env is None else dict(one.split("=", 1) for one in hook.env if "=" in one)
    streams = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
    try:
        return os.posix_spawn(
            hook.path,
            hook.args or (hook.path,),
            environment,
            file_actions=streams,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE,),
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StepFailed(doing, f"{hook.path!r}: {reason.lower()}") from error


def _end_of(pid: int, timeout: int | None, mask: Iterable[int]) -> int | None:
    """Wait for a child of this process: its exit code, or minus its signal; None if it took too long.

    :param mask: the signals that are to be blocked meanwhile.
    """
    pidfd = os.pidfd_open(pid)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        in_time = bool(poll.poll(None if timeout is None else timeout * 1000))
        if not in_time:
            os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:  # whoever waits for it was interrupted
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(pidfd)
    return status if in_time else None
