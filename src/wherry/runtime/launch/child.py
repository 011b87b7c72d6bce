"""Between clone and execve: the child carries out the plan's steps.

It is a copy of the engine's process. It keeps no descriptor but its streams and the channel, collects no garbage (an
object of the parent's could close a number that is ours now), imports nothing, and leaves by execve or ``os._exit``.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys
from collections.abc import Iterable
from typing import Final, NoReturn

from wherry.linux.fd import Fd
from wherry.linux.files import close_range
from wherry.linux.process import reset_signal, set_dumpable, unshare
from wherry.runtime import channel
from wherry.runtime.plan import Plan
from wherry.runtime.report import failure
from wherry.runtime.steps.step import Context, Step

__all__ = ["CHANNEL", "apply_steps", "arrange_descriptors", "carry_out", "prepare_child", "run_steps"]

CHANNEL: Final = channel.CHANNEL
#: Above all places that are going to be used.
_AWAY: Final = 64


def carry_out(
    plan: Plan,
    fds: tuple[int, ...],
    *,
    size: tuple[int, int] | None,
    container_flags: int | None,
    ignored: Iterable[int],
) -> NoReturn:
    """Do what the plan says, right after clone.

    :param fds: the streams, the channel, for an exec the pidfd of the container's first process, and from
        `FIRST_PRESERVED` on what the program is to have, too.
    :param size: rows and columns of a new terminal.
    :param container_flags: for an exec, the namespaces to join; None otherwise.
    :param ignored: signals that this process ignores and a program should not.
    """
    ready = False
    try:
        prepare_child(fds, ignored)
        ready = True
    except BaseException as error:
        channel.send_failure(fds[CHANNEL], failure("prepare the new process", error))
    finally:
        if not ready:
            os._exit(1)
    context = Context(CHANNEL, size)
    if container_flags is not None:
        context.container, context.container_flags = Fd(CHANNEL + 1), container_flags
    run_steps(plan, context)


class _NothingElse:
    """In place of the finders of modules: what is not imported by now would come from the container's files."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> NoReturn:
        """Find no module."""
        raise ImportError(f"{name!r} is not imported on the way into a container", name=name)


def prepare_child(fds: tuple[int, ...], ignored: Iterable[int]) -> None:
    """Stop being a copy of the engine's process.

    :param fds: what to keep, at the places 0, 1, 2, ...
    :param ignored: signals to be treated as a program expects.
    """
    gc.disable()
    sys.meta_path[:] = [_NothingElse]
    set_dumpable(False)  # whoever is in the container already may not look into this copy of the engine
    arrange_descriptors(fds)
    _forget_signals(ignored)
    os.umask(0)  # modes are given exactly; the program's mask is set at the end


def run_steps(plan: Plan, context: Context, *, new: int = 0) -> NoReturn:
    """Carry out a plan's steps, the streams and the channel being in their places.

    :param new: namespaces that this process was not born into and has to make.
    """
    try:
        if apply_steps(plan, context, new=new):
            error = RuntimeError("the plan ends without a program")
            channel.send_failure(CHANNEL, failure("execute the program", error))
    finally:
        os._exit(1)


def apply_steps(plan: Plan, context: Context, *, new: int = 0) -> bool:
    """Carry out a plan's steps; False if one failed, which the parent has been told.

    :param new: namespaces that this process was not born into and has to make.
    """
    step: Step | None = None
    try:
        if new:
            unshare(new)
        context.environment = list(plan.environment)
        context.expects_mounts = bool(plan.prepared)
        for index, step in enumerate(plan.steps):
            context.index = index
            step.apply(context)
    except BaseException as error:
        doing = "prepare the new process" if step is None else step.describe()
        channel.send_failure(CHANNEL, failure(doing, error))
        return False
    return True


def arrange_descriptors(fds: tuple[int, ...]) -> None:
    """Move descriptors to 0, 1, 2, ... and close all others.

    The first three stay open across execve. Closing first of all means that nothing of the engine's is open when
    this process enters a container (CVE-2024-21626).
    """
    if min(fds) < len(fds):  # a place is taken by one that has yet to be moved
        fds = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _AWAY) for fd in fds)
    for place, fd in enumerate(fds):
        os.dup2(fd, place, inheritable=place < CHANNEL)
    close_range(len(fds))


def _forget_signals(ignored: Iterable[int]) -> None:
    """Undo what the engine's process does with signals; handlers go by themselves (CLONE_CLEAR_SIGHAND)."""
    signal.set_wakeup_fd(-1)
    for number in ignored:
        reset_signal(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
