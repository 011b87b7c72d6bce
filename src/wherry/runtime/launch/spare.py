"""A spare: a child that was cloned in advance, and waits for its plan.

Cloning takes longer than anything else on a container's way to its program: the kernel copies the engine's page tables,
makes the namespaces, and the child then copies every page that it touches. All that does not depend on the
plan but for the new namespaces, and of these there are two or three combinations in use, the *kinds* of starts. So,
while containers are being started, one child is kept for each kind that has all this behind it.

The mount namespace is not among what it has: it is made when the plan comes, because what the host mounts in between
must be in it. And there are spares only where the child enters its control group by itself (version 1); on version 2
it is born in it.
"""

from __future__ import annotations

import itertools
import marshal
import os
import socket
from collections.abc import Iterable
from typing import Final, NamedTuple, NoReturn

from wherry.linux.fd import Fd
from wherry.linux.process import CLONE, set_name
from wherry.linux.scm_rights import receive_fds
from wherry.runtime import channel
from wherry.runtime.launch import child
from wherry.runtime.launch.reap import kill_and_reap
from wherry.runtime.plan import Plan
from wherry.runtime.report import failure
from wherry.runtime.steps.birth import ExecuteApart
from wherry.runtime.steps.mounts import FileSystem
from wherry.runtime.steps.process import Capabilities, Execute, LoadFilter, NoNewPrivileges
from wherry.runtime.steps.step import Context

__all__ = ["LARGEST_PLAN", "Handed", "Spare", "kind_of", "receive_plan", "wait_for_plan"]

#: A plan of more bytes does not go through the channel in one message; its process is cloned when it is started.
LARGEST_PLAN: Final = 65536
_NAME: Final = "wherry-spare"
#: Namespaces that only a process joins which shares its memory with none (setns(2)).
_JOINED_ALONE: Final = CLONE.NEWUSER | CLONE.NEWTIME
_WRITTEN_DOWN: Final = frozenset({LoadFilter, Capabilities, NoNewPrivileges, Execute, ExecuteApart})


class Handed(NamedTuple):
    """What a child gets beside its plan; descriptors remain the caller's.

    :param streams: its standard input, output and error.
    :param size: rows and columns of a new terminal.
    :param container: for an exec: the pidfd of the container's first process; and further ones for the program.
    :param flags: for an exec: the namespaces of the container to join; None otherwise.
    """

    streams: tuple[int, int, int]
    size: tuple[int, int] | None
    container: tuple[int, ...]
    flags: int | None


class Spare:
    """A waiting child.

    :ivar pid: its number here.
    :ivar pidfd: what stands for it.
    :ivar channel: the parent's end, the same that reports come through later.
    """

    def __init__(self, pid: int, pidfd: Fd, end: socket.socket) -> None:
        self.pid: Final = pid
        self.pidfd: Final = pidfd
        self.channel: Final = end

    def give(self, encoded: bytes, handed: Handed) -> bool:
        """Let the child carry out a plan; False if it is dead.

        :param encoded: what `Plan.encode` gave.
        """
        message = marshal.dumps((handed.size, None if handed.flags is None else int(handed.flags), encoded))
        try:
            socket.send_fds(self.channel, [message], [*handed.streams, *handed.container])
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def end(self) -> None:
        """Kill and reap it."""
        self.channel.close()
        kill_and_reap(self.pidfd)


def kind_of(plan: Plan, encoded: bytes, flags: int | None = None) -> int | None:
    """Return which spare could become a plan's process: the namespaces that it was born into; None if none could.

    It needs nothing at its birth but these namespaces then.

    :param encoded: the same plan's bytes.
    :param flags: for an exec: the namespaces of the container to join.
    """
    needs_setns = plan.user_path or plan.parent_joins or plan.time_offsets or (flags or 0) & _JOINED_ALONE
    if (
        needs_setns
        or _fills_memory(plan)
        or plan.uid_map
        or plan.prepared
        or plan.namespaces & CLONE.NEWUSER
        or not _ends_in_a_script(plan)
    ):
        return None
    return int(plan.namespaces & ~CLONE.NEWNS) if len(encoded) <= LARGEST_PLAN else None


def _fills_memory(plan: Plan) -> bool:
    """Whether the child copies files into a tmpfs, which are to count for its container.

    The kernel counts them for who owns the memory that the child runs on: its server.
    """
    return any(isinstance(step, FileSystem) and step.copy_up for step in plan.steps)


def _ends_in_a_script(plan: Plan) -> bool:
    """Whether a program is executed at the end, and nothing but what can be written down follows on the first step that
    is (`Context.last_calls`).
    """
    execute = plan.steps[-1] if plan.steps else None
    if not isinstance(execute, Execute | ExecuteApart):
        return False
    if isinstance(execute, ExecuteApart) and (execute.waits or execute.preserved):
        return False  # that is for `wherry-oci`, which has no spares
    last = itertools.dropwhile(lambda step: type(step) not in _WRITTEN_DOWN, plan.steps)
    return all(type(step) in _WRITTEN_DOWN for step in last)


def wait_for_plan(fds: tuple[int, ...], ignored: Iterable[int], example: bytes) -> NoReturn:
    """In the child: get ready, wait for the plan, carry it out.

    Reading an example is part of that: Python writes to all that it looks at, and a page that is still shared with the
    engine's process costs an exception then. (Making all pages this process's own at one go, MADV_POPULATE_WRITE, was
    measured: 4 ms of system time, and no faster.)
    """
    plan = None
    try:
        child.prepare_child(fds, ignored)
        set_name(_NAME)
        Plan.decode(example)
        received = receive_plan()
        if received is None:
            os._exit(0)  # not needed any more, or the keeper is gone
        plan, context = received
    except BaseException as error:
        channel.send_failure(child.CHANNEL, failure("take a plan", error))
    finally:
        if plan is None:
            os._exit(1)
    child.run_steps(plan, context, new=plan.namespaces & CLONE.NEWNS)


def receive_plan() -> tuple[Plan, Context] | None:
    """In the child: wait for what `Spare.give` sends, and put the streams in their places; None if nothing will come.

    :raises CorruptData: the plan is none.
    """
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=child.CHANNEL)
    data, fds = receive_fds(end, 2 * LARGEST_PLAN, child.CHANNEL + 1)
    end.detach()
    if not data:
        return None
    size, flags, encoded = marshal.loads(data)
    for place, fd in enumerate(fds[: child.CHANNEL]):
        os.dup2(fd, place)
        os.close(fd)
    context = Context(child.CHANNEL, size)
    if flags is not None:
        context.container, context.container_flags = Fd(fds[child.CHANNEL]), flags
    return Plan.decode(encoded), context
