"""Compile the process: a container's first one, or an exec."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from wherry.errors import InvalidInput
from wherry.linux import capabilities, seccomp
from wherry.linux.seccomp_intervals import in_intervals
from wherry.oci.runtime_spec import Capabilities, MemoryPolicy, Personality, Process, Rlimit, Scheduler, Seccomp
from wherry.runtime.compile import notifications
from wherry.runtime.compile.manner import KEEPERS, Manner
from wherry.runtime.steps import process as steps
from wherry.runtime.steps.birth import ExecuteApart, InheritCapabilities, forbids_what_follows
from wherry.runtime.steps.lsm import LabelProgram
from wherry.runtime.steps.step import Step
from wherry.runtime.steps.terminal import ControllingTerminal, NewSession, OpenTerminal, OwnStreams, TerminalStreams
from wherry.runtime.steps.user import ResolveUser
from wherry.runtime.steps.working_directory import ChangeDirectory

__all__ = [
    "EXTRA_GROUPS",
    "MEMORY_FLAGS",
    "MEMORY_MODES",
    "RLIMITS",
    "check",
    "environment",
    "first_steps",
    "last_steps",
    "memory_policy",
    "personality",
    "processors",
    "user_steps",
]

#: Annotation: ``"exact"`` makes it an error when a hard limit cannot be raised as far as asked.
RLIMITS: Final = "org.wherry.rlimits"
#: Annotation: further groups of the program's user, names or numbers, separated by commas.
EXTRA_GROUPS: Final = "org.wherry.groups"

_INFINITY: Final = 2**64 - 1
#: asm-generic/resource.h
_LIMIT_NUMBERS: Final = {
    f"RLIMIT_{name}": number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
#: linux/sched.h
_POLICIES: Final = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS: Final = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES: Final = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
#: linux/mempolicy.h
MEMORY_MODES: Final = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS: Final = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}
#: linux/personality.h
_PERSONALITIES: Final = {"LINUX": 0x0000, "LINUX32": 0x0008}


def check(process: Process) -> None:
    """Refuse what no process can be.

    :raises InvalidInput: no arguments, a relative working directory, a NUL byte where the kernel would cut.
    """
    if not process.args:
        raise InvalidInput("the process needs at least one argument: its program")
    for text in (*process.args, *process.env, process.cwd, process.user.username):
        if "\0" in text:
            raise InvalidInput(f"{text!r} contains a NUL byte")
    if not process.cwd.startswith("/"):
        raise InvalidInput(f"cwd must be an absolute path, not {process.cwd!r}")
    for entry in process.env:
        if "=" not in entry[1:]:
            raise InvalidInput(f"the environment variable {entry!r} is not of the form NAME=value")


def environment(process: Process) -> tuple[str, ...]:
    """Return the environment; a program on a terminal expects TERM."""
    if process.terminal and not any(entry.startswith("TERM=") for entry in process.env):
        return (*process.env, "TERM=xterm")
    return process.env


def first_steps(process: Process) -> Iterator[Step]:
    """What is done while the host's /proc is at hand."""
    if process.apparmor_profile:
        yield LabelProgram("apparmor", process.apparmor_profile)
    if process.selinux_label:
        yield LabelProgram("selinux", process.selinux_label)


def user_steps(process: Process, annotations: dict[str, str]) -> Iterator[Step]:
    """The steps that resolve the user and open its terminal."""
    user = process.user
    for number in (user.uid, user.gid, *user.additional_gids):
        if not 0 <= number < 2**32 - 1:
            raise InvalidInput(f"user or group ID {number} is out of range")
    extra = tuple(name for name in annotations.get(EXTRA_GROUPS, "").split(",") if name)
    yield ResolveUser(user.username, user.uid, user.gid, user.additional_gids, extra)
    if process.terminal:
        size = process.console_size
        yield OpenTerminal(None if size is None else (size.height, size.width))


def last_steps(
    process: Process,
    *,
    container_id: str,
    filter_profile: Seccomp | None,
    annotations: dict[str, str],
    init: bool = False,
    inside: bool = False,
    own_pids: bool = False,
    cpus: str = "",
    manner: Manner = KEEPERS,
) -> Iterator[Step]:
    """All from the container's root being there to execve; the order is half of what keeps it safe.

    :param init: the container's first process is not the program, but its parent.
    :param inside: the program is born in a PID namespace where others live already.
    :param own_pids: its PID namespace is not the host's.
    :param cpus: the processors that the program runs on, as a list; empty for those of its control group.
    """
    # What has a listener makes no call by chance once it is in force, such as an interpreter does.
    listens = filter_profile is not None and notifications.used_by(filter_profile)
    apart = init or inside or listens or manner.apart
    if manner.keyring:
        yield steps.SessionKeyring(f"_ses.{container_id}")
    yield NewSession()
    if not process.terminal:
        yield OwnStreams()
    elif apart:
        yield TerminalStreams()
    else:
        yield ControllingTerminal()
    yield from _properties(process, annotations, apart=apart)
    if cpus:
        yield steps.Affinity(processors(cpus))
    yield ChangeDirectory(process.cwd)
    if apart:
        yield InheritCapabilities()
    yield steps.SwitchUser(_mask((process.capabilities or Capabilities()).bounding))
    yield steps.FindProgram(process.args[0])
    yield steps.TidyUp(0o022 if process.user.umask is None else process.user.umask & 0o777)
    if apart:
        step = _execute_apart(process, filter_profile, manner, init=init, inside=inside)
        yield step._replace(from_outside=own_pids) if manner.waits else step
    else:
        yield from _execute(process, filter_profile)


def _execute(process: Process, filter_profile: Seccomp | None) -> Iterator[Step]:
    """The program's rights, and the program."""
    sets = process.capabilities or Capabilities()
    privileged = not process.no_new_privileges
    if filter_profile is not None and privileged:
        yield _filter(filter_profile, privileged=True, short=True)
    yield steps.Capabilities(_mask(sets.effective), _mask(sets.permitted), _mask(sets.inheritable), _mask(sets.ambient))
    if process.no_new_privileges:
        yield steps.NoNewPrivileges()
    if filter_profile is not None and not privileged:
        yield _filter(filter_profile, privileged=False, short=True)
    yield steps.Execute(process.args)


def _execute_apart(
    process: Process, filter_profile: Seccomp | None, manner: Manner, *, init: bool, inside: bool
) -> ExecuteApart:
    """The same by way of the trampoline."""
    sets = process.capabilities or Capabilities()
    loaded = None
    if filter_profile is not None:  # a command would take longer to shorten it than the kernel to load the long one
        loaded = _filter(filter_profile, privileged=not process.no_new_privileges, short=not manner.apart)
    listens = loaded is not None and bool(loaded.flags & seccomp.SECCOMP_FILTER_FLAG.NEW_LISTENER)
    last = loaded is not None and forbids_what_follows(loaded.program, init=init, waits=manner.waits, notified=listens)
    if loaded is not None and listens:
        late = last and bool(manner.waits or manner.preserved)
        notifications.check(loaded.program, init=init, inside=inside, late=late)
    step = ExecuteApart(
        process.args,
        effective=_mask(sets.effective),
        permitted=_mask(sets.permitted),
        inheritable=_mask(sets.inheritable),
        ambient=_mask(sets.ambient),
        no_new_privileges=process.no_new_privileges,
        filter=b"" if loaded is None else loaded.program,
        filter_flags=0 if loaded is None else loaded.flags,
        filter_last=last,
        listens=listens,
        inside=inside,
        init=init,
        terminal=process.terminal,
        waits=manner.waits,
        preserved=manner.preserved,
    )
    return step.with_ready(environment(process))


def _properties(process: Process, annotations: dict[str, str], *, apart: bool) -> Iterator[Step]:
    if process.scheduler is not None:
        yield _scheduler(process.scheduler)
    if process.io_priority is not None:
        level = process.io_priority.priority
        if not 0 <= level <= 7:
            raise InvalidInput(f"input/output priority {level} is not between 0 and 7")
        yield steps.Priority(_named(_IO_CLASSES, process.io_priority.class_, "input/output class"), level)
    if process.rlimits:
        yield _limits(process.rlimits, annotations, apart=apart)


def _limits(limits: tuple[Rlimit, ...], annotations: dict[str, str], *, apart: bool) -> steps.Limits:
    found = []
    seen = set()
    for limit in limits:
        number = _named(_LIMIT_NUMBERS, limit.type, "resource limit")
        if limit.type in seen:
            raise InvalidInput(f"the resource limit {limit.type!r} is given twice")
        seen.add(limit.type)
        if limit.soft > limit.hard:
            raise InvalidInput(f"the soft limit {limit.soft} of {limit.type} is above the hard limit {limit.hard}")
        found.append((limit.type, number, _limit_value(limit.soft), _limit_value(limit.hard)))
    wanted = annotations.get(RLIMITS, "")
    if wanted not in ("", "exact"):
        raise InvalidInput(f"the annotation {RLIMITS} must be 'exact', not {wanted!r}")
    return steps.Limits(tuple(found), exact=wanted == "exact", apart=apart)


def _limit_value(value: int) -> int:
    if value == _INFINITY:
        return -1
    if not 0 <= value < 2**63:
        raise InvalidInput(f"{value} is no resource limit")
    return value


def _scheduler(wanted: Scheduler) -> steps.Scheduler:
    flags = 0
    for flag in wanted.flags:
        flags |= _named(_SCHEDULER_FLAGS, flag, "scheduler flag")
    policy = _named(_POLICIES, wanted.policy, "scheduling policy")
    times = (wanted.runtime, wanted.deadline, wanted.period)
    if any(times) and wanted.policy != "SCHED_DEADLINE":
        raise InvalidInput(f"runtime, deadline and period are for SCHED_DEADLINE, not for {wanted.policy}")
    return steps.Scheduler(policy, flags, wanted.nice, wanted.priority, *times)


def memory_policy(wanted: MemoryPolicy) -> steps.MemoryPolicy:
    """Translate a memory policy."""
    if not wanted.mode:
        raise InvalidInput("the memoryPolicy has no mode")
    mode = _named(MEMORY_MODES, wanted.mode, "memory policy")
    for flag in wanted.flags:
        mode |= _named(MEMORY_FLAGS, flag, "memory policy flag")
    return steps.MemoryPolicy(mode, processors(wanted.nodes) if wanted.nodes else ())


def personality(wanted: Personality) -> steps.Personality:
    """Translate an execution domain."""
    if wanted.flags:
        raise InvalidInput(f"the personality flag {wanted.flags[0]!r} is not supported")
    return steps.Personality(_named(_PERSONALITIES, wanted.domain, "personality"))


def processors(text: str) -> tuple[int, ...]:
    """Read a list such as ``"0-3,7"``.

    :raises InvalidInput: it has another form.
    """
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) > 65535:
            raise InvalidInput(f"{text!r} is no list of numbers such as '0-3,7'")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


@lru_cache(maxsize=64)
def _mask(names: tuple[str, ...]) -> int:
    return capabilities.to_mask(capabilities.parse(name) for name in names)


def _named(table: dict[str, int], name: str, what: str) -> int:
    if name not in table:
        raise InvalidInput(f"unknown {what} {name!r}")
    return table[name]


@lru_cache(maxsize=16)
def _filter(profile: Seccomp, *, privileged: bool, short: bool) -> steps.LoadFilter:
    plain = msgspec.to_builtins(profile)
    program = seccomp.compile_profile(plain)
    if short:
        program = in_intervals(program)
    return steps.LoadFilter(program, int(seccomp.filter_flags(plain)), privileged)
