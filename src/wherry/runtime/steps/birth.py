"""Births in a PID namespace that has other processes, and ``--init``.

Whoever is in a PID namespace, or joins one, can be named by all that are in it; and what can be named can be traced
by those who hold CAP_SYS_PTRACE, read through /proc/<pid>/mem, root, cwd, fd and environ. *Dumpable* or not does not
matter to them. So nothing may be there that has anything of the engine's, or of the host's, any more.

A process's PID namespace is that of its birth. So a *helper*, the process that carries out the plan, stays outside,
where nobody in the container sees it. It joins everything else, becomes the program's user, and executes a few
hundred bytes of machine code (:mod:`wherry.runtime.steps.trampoline`). It takes the capabilities and filter, closes
the last descriptor that leads to the engine, and only then clones the process that becomes the program, into the
container's PID namespace and as the engine's child (CLONE_PARENT). That process is born with: the container's root
and namespaces, the program's user, groups, capabilities, limits and filter, its three streams, its own arguments and
environment in memory, and nothing else. It is not dumpable.

As neither has a way left to say anything, the helper waits until the program was executed (CLONE_VFORK), takes a name
that tells the newborn's number, and ends; the engine, its parent, reads the name of the zombie. A newborn that could
not execute its program ends with the error's number; that it never did is seen in its flags (PF_FORKNOEXEC, proc(5)),
which no program can set. See :class:`wherry.runtime.launch.launched.Launched` for the parent's side.

A process that is to *wait* (between ``create`` and ``start`` of an OCI runtime) waits as trampoline: it has no
descriptor but its streams, nothing of the host's in its memory, and the program's rights. It waits for one signal,
:data:`START`, and heeds it from outside of its PID namespace only; there is nothing that could be opened. It has the
name :data:`WAITING` meanwhile.

``--init`` uses the same code: the container's first process executes it, clones the program, closes everything and
stays.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import termios
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from wherry.linux import capabilities
from wherry.linux.proc import Stat
from wherry.linux.process import CLONE
from wherry.linux.seccomp_verdict import allows, allows_or_notifies
from wherry.runtime import channel
from wherry.runtime.channel import CHANNEL, FIRST_PRESERVED, LISTENER
from wherry.runtime.steps import trampoline
from wherry.runtime.steps.last_calls import (
    NO_CAPABILITIES,
    NOT_EXECUTED,
    NOT_FILTERED,
    ambient,
    capset,
    execve,
    load_filter,
    report,
    string,
    variables,
)
from wherry.runtime.steps.step import Context
from wherry.runtime.steps.trampoline import (
    BE_INIT,
    GIVE_UP,
    NAME,
    RETRY,
    TELL,
    Back,
    Branch,
    Call,
    Hole,
    Inside,
    Template,
    Words,
)

__all__ = [
    "START",
    "WAITING",
    "ExecuteApart",
    "InheritCapabilities",
    "Newborn",
    "Unfinished",
    "failure_of",
    "forbids_what_follows",
    "newborn_of",
]

_BIRTH_FLAGS: Final = int(CLONE.PARENT | CLONE.VFORK)
_SET_DUMPABLE, _SET_NAME, _SET_NO_NEW_PRIVS = 4, 15, 38
#: The lowest number that is free in the trampoline: the kernel gives it to the filter's listener.
_LISTENER_FD: Final = CHANNEL + 1
_F_SETFD, _FD_CLOEXEC = 2, 1
_NO_SIGNALS: Final = bytes(8)
_ALL_SIGNALS: Final = bytes([0xFF] * 8)
_GO_ON: Final = (1 << signal.SIGUSR1 - 1).to_bytes(8, "little")
_FAILED_INIT: Final = 126
#: The signal that a waiting process waits for: one that C libraries keep for themselves, and nobody sends.
START: Final = 33
#: What a waiting process is called (comm, proc(5)).
WAITING: Final = "wherry-created"
#: ``siginfo_t`` of the signal that has come: how it was sent is at 8, and the sender's process ID at 16.
_INFO: Final = bytes(128)
_HOW, _SENDER = Inside(_INFO, 8), Inside(_INFO, 16)
_FUTEX_CMP_REQUEUE_PRIVATE: Final = 4 | 128
_START_SET: Final = (1 << START - 1).to_bytes(8, "little")
_INIT_NAME: Final = b"wherry-init\0"

_GIVE_UP: Final[Branch] = (Call(GIVE_UP),)


_NOT_PRIVATE: Final = report("set what cannot be undone", "prctl")
_NO_TRAMPOLINE: Final = report("execute the trampoline", "execveat")
_NOT_HANDED_OVER: Final = report("hand the seccomp listener over", "sendmsg")
_NOT_CLONED: Final = report("stay as the container's first process", "clone")
_FAILED_INSIDE: Final[Branch] = (Call("exit_group", (_FAILED_INIT,)),)
_BLOCK_START: Final = Call("rt_sigprocmask", (signal.SIG_BLOCK, _START_SET, 0, 8))


_RIGHTS: Final = struct.pack("=QiiiI", 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, _LISTENER_FD, 0)
#: ``struct msghdr``: no address; one piece of data; the descriptor; no flags.
_LISTENER_MESSAGE: Final = Words((0, 0, Words((LISTENER, len(LISTENER))), 1, _RIGHTS, len(_RIGHTS), 0))


def _sent_from_outside() -> Iterator[Call]:
    """Wait again unless the signal has come from outside of this PID namespace; the two calls only compare with 0.

    The kernel says 0 of a sender that has no number here. So can a sender with sigqueue(3), but not that it used
    kill(2), which is 0 as well (SI_USER).
    """
    for back, place in ((1, _HOW), (2, _SENDER)):
        yield Call("futex", (place, _FUTEX_CMP_REQUEUE_PRIVATE, 0, 0, Inside(_INFO, 64), 0), Back(back))


class InheritCapabilities(NamedTuple):
    """Make all capabilities inheritable, so that the trampoline has them: it needs them for the last steps.

    Before the bounding set is reduced: later that could not be done any more (capset(2)).
    """

    def describe(self) -> str:
        return "keep the capabilities for the last steps"

    def apply(self, context: Context) -> None:
        effective, permitted, _ = capabilities.capget_masks()
        capabilities.capset_masks(effective, permitted, permitted)


class Facts(NamedTuple):
    """What a script depends on beside what was asked for; the child knows it, and the daemon most of it already.

    :param program: the path that was found.
    :param environment: ``NAME=value``; a hole is one that the child may add.
    :param own: mask of the capabilities that there are to give.
    :param is_root: whether the program's user is 0; matters to an init only.
    :param limits: number, soft and hard of what only the program's own process gets.
    """

    program: bytes | Hole
    environment: tuple[bytes | Hole, ...]
    own: int
    is_root: bool
    limits: tuple[tuple[int, int, int], ...]


class ExecuteApart(NamedTuple):
    """Become the program by way of the trampoline.

    :param args: the program's arguments.
    :param effective: and the others: masks of the program's capabilities.
    :param no_new_privileges: whether privileges can never be gained.
    :param filter: the system call filter; empty for none.
    :param filter_flags: of seccomp(2).
    :param filter_last: load the filter last of all; see :func:`forbids_what_follows`.
    :param listens: the filter has a listener, which the parent gets, and nobody else.
    :param inside: the program's process is born in a PID namespace that this process has chosen for its children.
    :param init: this process (or, with ``inside``, the one born there) stays as the program's parent, and is init.
    :param terminal: standard input becomes the controlling terminal.
    :param waits: before it does what remains, the process waits for :data:`START`.
    :param from_outside: of who is outside of its PID namespace; nobody in it can start the program.
    :param preserved: so many further descriptors, after those that every child has, become 3, 4, 5 ...
    :param ready: the capabilities that the daemon has, and what it has assembled for them: the data with its holes.
        A child is a copy of the keeper, in which all Python is slow, so that half a millisecond is saved by it.
    """

    args: tuple[str, ...]
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    no_new_privileges: bool
    filter: bytes
    filter_flags: int
    filter_last: bool
    listens: bool
    inside: bool
    init: bool
    terminal: bool
    waits: bool = False
    from_outside: bool = False
    preserved: int = 0
    ready: tuple[int, bytes, tuple[tuple[int, str], ...]] | None = None

    def describe(self) -> str:
        return f"execute {self.args[0]}"

    def with_ready(self, environment: Iterable[str]) -> ExecuteApart:
        """In the daemon: assemble what the child will need, as far as it is known."""
        if self.init or self.waits or self.preserved:  # the script depends on the user, or is written once only
            return self
        own = capabilities.capget_masks()[1]
        return self._replace(ready=(own, *_ready(self, tuple(variables(environment)), own)))

    def apply(self, context: Context) -> None:
        inside = self.inside and not (context.container is not None and not context.container_flags & CLONE.NEWPID)
        own = capabilities.capget_masks()[1]
        data = self._data(context, own, inside=inside)
        capabilities.capset_masks(own, own, own)  # inheritable already; see InheritCapabilities
        if context.identity.uid:  # execve gives root what is inheritable, and others what is ambient
            capabilities.ambient_raise(capabilities.from_mask(own))
        channel.send_program(context.channel, context.program)
        os.set_inheritable(context.channel, True)
        if self.init:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for number in range(self.preserved):
            os.set_inheritable(FIRST_PRESERVED + number, True)
        name = "wherry-init" if self.init else "wherry-exec"
        if context.last_calls is None:
            trampoline.execute(data, name)
        context.last_calls.append(trampoline.execution(data, name, _NO_TRAMPOLINE))

    def _data(self, context: Context, own: int, *, inside: bool) -> bytes:
        program = string(context.program)
        if self.ready is not None and self.ready[0] == own and inside == self.inside and not context.late_limits:
            home = {"home": string(context.environment[-1])} if context.added_home else {}
            return trampoline.fill(Template(*self.ready[1:]), program=program, **home)
        facts = Facts(
            program, tuple(variables(context.environment)), own, not context.identity.uid, tuple(context.late_limits)
        )
        return trampoline.fill(_assembled(self, facts, inside=inside))


@lru_cache(maxsize=8)
def _ready(step: ExecuteApart, environment: tuple[bytes, ...], own: int) -> Template:
    """Health checks, for one, execute the same again and again."""
    facts = Facts(Hole("program"), (*environment, Hole("home")), own, True, ())
    return _assembled(step, facts, inside=step.inside)


def _assembled(step: ExecuteApart, facts: Facts, *, inside: bool) -> Template:
    script = _Script(step, facts, inside=inside)
    return trampoline.assemble(script.whole(), name=script.name)


class _Script:
    """Writes down what is left to do."""

    def __init__(self, step: ExecuteApart, facts: Facts, *, inside: bool) -> None:
        self._step: Final = step
        self._facts: Final = facts
        self._inside: Final = inside

    @property
    def name(self) -> bytes:
        """What the helper is called in the end, without the letters."""
        return b"i:" if self._step.init or self._step.waits else b"p:"

    def whole(self) -> Branch:
        """The script."""
        before = (_BLOCK_START,) if self._step.waits else ()  # the newborn inherits that
        if not self._inside:
            return (*before, *self._rights(), *self._waiting(), *self._init_or_program())
        child = (*self._waiting(), *self._init_or_program())
        stays = self._step.init or self._step.waits
        flags = int(CLONE.PARENT) if stays else _BIRTH_FLAGS
        return (
            *before,
            *self._rights(),
            *(self._name_of_who_waits() if self._step.waits else ()),  # its own from its first moment on
            Call("close", (CHANNEL,)),
            Call("clone", (flags,), _GIVE_UP, child),
            Call(TELL),
            Call("prctl", (_SET_NAME, NAME)),
            Call("exit_group", (0,)),
        )

    def _rights(self) -> Iterator[Call]:
        """Everything that the program's process inherits."""
        step, own = self._step, self._facts.own
        permitted = step.permitted & own
        inheritable = step.inheritable & own
        yield Call("prctl", (_SET_DUMPABLE, 0), _NOT_PRIVATE)
        if not self._inside:
            yield Call("fcntl", (CHANNEL, _F_SETFD, _FD_CLOEXEC))
        if step.filter and not step.no_new_privileges and not step.filter_last:
            yield from self._filter(NOT_FILTERED)
        yield capset(step.effective & permitted, permitted, inheritable, NO_CAPABILITIES)
        yield from ambient(step.ambient & permitted & inheritable)
        if step.no_new_privileges:
            yield Call("prctl", (_SET_NO_NEW_PRIVS, 1), _NOT_PRIVATE)
            if step.filter and not step.filter_last:
                yield from self._filter(NOT_FILTERED)

    def _filter(self, on_error: Branch) -> Iterator[Call]:
        step = self._step
        yield load_filter(step.filter, step.filter_flags, on_error)
        if step.listens:  # from here on, calls may wait for whoever gets the listener
            yield Call("sendmsg", (CHANNEL, _LISTENER_MESSAGE, 0), _NOT_HANDED_OVER)
            yield Call("close", (_LISTENER_FD,))

    @staticmethod
    def _name_of_who_waits() -> Branch:
        return (Call("prctl", (_SET_NAME, WAITING.encode() + b"\0")),)

    def _waiting(self) -> Iterator[Call]:
        """Let go of the engine, and wait to be started."""
        if not self._step.waits:
            return
        if not self._inside:
            yield from self._name_of_who_waits()
            yield Call("close", (CHANNEL,))
        yield Call("rt_sigtimedwait", (_START_SET, _INFO, 0, 8), RETRY)
        if self._step.from_outside:
            yield from _sent_from_outside()

    def _init_or_program(self) -> Iterator[Call]:
        if not self._step.init:
            yield from self._program()
            return
        program = (
            Call("rt_sigtimedwait", (_GO_ON, 0, 0, 8), RETRY),  # until init has let go of everything
            Call("rt_sigprocmask", (signal.SIG_SETMASK, _NO_SIGNALS, 0, 8)),
            *self._program(),
        )
        yield Call("clone", (int(signal.SIGCHLD),), _GIVE_UP if self._inside else _NOT_CLONED, program)
        for number in range(CHANNEL + 1):
            yield Call("close", (number,))
        yield Call("prctl", (_SET_NAME, _INIT_NAME))
        if not self._facts.is_root:  # an ordinary program would keep no others
            kept = self._step.ambient & self._step.permitted & self._step.inheritable
            yield capset(kept, kept, kept, None)
        yield Call(BE_INIT, (_ALL_SIGNALS,))

    def _program(self) -> Iterator[Call]:
        """What the program's process does."""
        failed = self._failed()
        if self._step.waits and not self._step.init:
            yield Call("rt_sigprocmask", (signal.SIG_SETMASK, _NO_SIGNALS, 0, 8))
        for number in range(self._step.preserved):  # upwards: what is overwritten was moved before
            yield Call("dup3", (FIRST_PRESERVED + number, CHANNEL + number, 0), failed)
        if self._step.preserved:
            yield Call("close_range", (CHANNEL + self._step.preserved, 0xFFFFFFFF, 0))
        yield Call("setsid", (), None if not self._step.init and not self._inside else failed)
        if self._step.terminal:
            yield Call("ioctl", (0, termios.TIOCSCTTY, 0), failed)
        for number, soft, hard in self._facts.limits:
            limit = struct.pack("=QQ", soft & (2**64 - 1), hard & (2**64 - 1))
            yield Call("prlimit64", (0, number, limit, 0), failed)
        if self._step.filter_last:
            yield Call("prctl", (_SET_NO_NEW_PRIVS, 1), failed)
            yield from self._filter(failed)
        yield execve(self._facts.program, self._step.args, self._facts.environment, failed)

    def _failed(self) -> Branch:
        """What the program's process does when it cannot become the program."""
        step = self._step
        if step.waits or (step.preserved and not self._inside):
            return _FAILED_INSIDE  # nobody is there to hear of it
        if not self._inside:
            return NOT_EXECUTED
        return _FAILED_INSIDE if step.init else _GIVE_UP


@lru_cache(maxsize=16)
def forbids_what_follows(program: bytes, *, init: bool, waits: bool = False, notified: bool = False) -> bool:
    """Whether a filter forbids what has to be done after it was loaded: a profile without new processes, for instance.

    Then the program's own process loads it last of all; it has no right to by then, and needs no_new_privs for it.

    :param notified: calls of which the filter notifies its listener count as allowed.
    """
    passes = allows_or_notifies if notified else allows
    calls: list[tuple[str, tuple[int, ...]]] = [("close", (3,)), ("setsid", ()), ("exit_group", (0,))]
    calls += [("prctl", (_SET_NAME, NAME)), ("clone", (int(signal.SIGCHLD) if init else _BIRTH_FLAGS,))]
    calls += [("ioctl", (0, termios.TIOCSCTTY, 0)), ("prlimit64", (0, 1, 1, 0))]
    if waits:
        calls += [
            ("rt_sigtimedwait", ()),
            ("futex", (1, _FUTEX_CMP_REQUEUE_PRIVATE)),
            ("dup3", (5, 3, 0)),
            ("close_range", (3, 2**32 - 1, 0)),
        ]
        calls += [("rt_sigprocmask", (signal.SIG_SETMASK, 1, 0, 8)), ("prctl", (_SET_NAME, 1))]
    if init:
        calls += [("rt_sigtimedwait", ()), ("rt_sigprocmask", (signal.SIG_SETMASK, 1, 0, 8))]
        calls += [("wait4", (-1, 1, 1, 0)), ("kill", (2, signal.SIGTERM))]
    return not all(passes(program, name, *arguments) for name, arguments in calls)


# ---------------------------------------------------------------------------------------------------------- the parent


class Newborn(NamedTuple):
    """What a helper has told by its name.

    :param pid: of the process that was born.
    :param is_init: it stays as init; otherwise it has executed its program, or failed to.
    """

    pid: int
    is_init: bool


def newborn_of(helper: int) -> Newborn | None:
    """Return the newborn that a helper's name reports, before the helper is reaped; None if there is none."""
    file = os.open(f"/proc/{helper}/comm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind, _, letters = os.read(file, 64).decode("ascii", "replace").strip().partition(":")
    finally:
        os.close(file)
    if kind not in ("p", "i") or len(letters) != 8 or not all("a" <= letter <= "p" for letter in letters):
        return None
    pid = sum(ord(letter) - ord("a") << 4 * place for place, letter in enumerate(letters))
    return Newborn(pid, kind == "i")


_PF_EXITING, _PF_FORKNOEXEC = 0x4, 0x40


class Unfinished(Exception):
    """A process is on its way out, and how it ended is not known yet."""


def failure_of(stat: Stat | None) -> int | None:
    """Return why a newborn could not execute its program, an error number; None if it did, or was killed.

    :param stat: the newborn's; None when it is gone.
    :raises Unfinished: ask again when it has ended.
    """
    if stat is None or stat.flags & (_PF_EXITING | _PF_FORKNOEXEC) != _PF_EXITING | _PF_FORKNOEXEC:
        return None
    if stat.state not in ("Z", "X"):
        raise Unfinished
    return None if stat.exit_status & 0x7F else stat.exit_status >> 8
