"""The last steps: limits, user, capabilities, seccomp filter, and execve."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterable
from typing import Final, NamedTuple

from wherry.errors import CommandNotExecutable, CommandNotFound, InvalidInput, SystemCallError, SystemFault
from wherry.linux import capabilities, seccomp
from wherry.linux.fd import AT_FDCWD
from wherry.linux.files import CLOSE_RANGE, RESOLVE, close_range, openat2
from wherry.linux.process import (
    ioprio_set,
    keyctl_join_session_keyring,
    personality,
    sched_setattr,
    set_dumpable,
    set_keepcaps,
    set_mempolicy,
    set_no_new_privs,
)
from wherry.runtime import channel
from wherry.runtime.steps import last_calls
from wherry.runtime.steps.step import Context
from wherry.runtime.steps.working_directory import enter

__all__ = [
    "Affinity",
    "Capabilities",
    "Execute",
    "FindProgram",
    "Limits",
    "LoadFilter",
    "MemoryPolicy",
    "NoNewPrivileges",
    "Personality",
    "Priority",
    "Scheduler",
    "SessionKeyring",
    "SwitchUser",
    "TidyUp",
    "not_executed",
]

_SYS_ADMIN: Final = 1 << capabilities.CAP.SYS_ADMIN
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class SessionKeyring(NamedTuple):
    """Get a session keyring apart from the engine's, so that the host's keys cannot be read."""

    name: str

    def describe(self) -> str:
        return f"join the session keyring {self.name}"

    def apply(self, context: Context) -> None:
        try:
            keyctl_join_session_keyring(self.name)
        except SystemCallError as error:
            # A kernel without keys has none that could be read; an outer seccomp filter may forbid the call.
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES):
                raise


class Limits(NamedTuple):
    """Set resource limits.

    :param limits: ``(name, number, soft, hard)``; -1 is none.
    :param exact: fail when a hard limit cannot be raised as far as asked. Otherwise the present one stays in force: an
        engine that lacks CAP_SYS_RESOURCE (one that runs in a container) can start containers all the same.
    :param apart: the program gets a process of its own yet, made by a program that is written yet
        (:mod:`wherry.runtime.steps.birth`): lower limits of either are left to that process.
    """

    limits: tuple[tuple[str, int, int, int], ...]
    exact: bool
    apart: bool

    def describe(self) -> str:
        return "set " + ", ".join(f"{name}={soft}:{hard}" for name, _, soft, hard in self.limits)

    def apply(self, context: Context) -> None:
        for name, number, soft, hard in self.limits:
            is_last = number in _OF_THE_LAST or (number == resource.RLIMIT_NOFILE and soft < _DESCRIPTORS)
            if self.apart and is_last and _smaller(hard, resource.getrlimit(number)[1]) == hard:
                context.late_limits.append((number, soft, hard))
                continue
            try:
                resource.setrlimit(number, (soft, hard))
            except (PermissionError, ValueError) as error:
                if self.exact:
                    raise _no_right_to_raise(name, number, hard) from error
                _set_as_far_as_allowed(name, number, soft, hard)


#: How many processes, and how large a file.
_OF_THE_LAST: Final = frozenset({resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE})
#: So many are needed on the way to the program.
_DESCRIPTORS: Final = 32


def _no_right_to_raise(name: str, number: int, hard: int) -> SystemFault:
    present = resource.getrlimit(number)[1]
    return SystemFault(
        f"cannot raise {name} from {present} to {hard}",
        hint="a hard limit is raised only with CAP_SYS_RESOURCE, and RLIMIT_NOFILE never above fs.nr_open",
    )


def _set_as_far_as_allowed(name: str, number: int, soft: int, hard: int) -> None:
    present = resource.getrlimit(number)[1]
    hard = _smaller(hard, present)
    try:
        resource.setrlimit(number, (_smaller(soft, hard), hard))
    except (OSError, ValueError) as error:
        raise SystemFault(f"cannot set {name} to {soft}:{hard}", cause=str(error)) from error


def _smaller(a: int, b: int) -> int:
    if resource.RLIM_INFINITY in (a, b):
        return b if a == resource.RLIM_INFINITY else a
    return min(a, b)


class Scheduler(NamedTuple):
    """Set the scheduling policy; see sched_setattr(2)."""

    policy: int
    flags: int
    nice: int
    priority: int
    runtime: int
    deadline: int
    period: int

    def describe(self) -> str:
        return f"set scheduling policy {self.policy}"

    def apply(self, context: Context) -> None:
        sched_setattr(
            self.policy,
            flags=self.flags,
            nice=self.nice,
            priority=self.priority,
            runtime=self.runtime,
            deadline=self.deadline,
            period=self.period,
        )


class Affinity(NamedTuple):
    """Say on which processors the program runs."""

    cpus: tuple[int, ...]

    def describe(self) -> str:
        return f"run on processors {self.cpus}"

    def apply(self, context: Context) -> None:
        os.sched_setaffinity(0, self.cpus)


class Priority(NamedTuple):
    """Set the input/output priority; see ioprio_set(2)."""

    io_class: int
    level: int

    def describe(self) -> str:
        return f"set input/output priority {self.io_class}/{self.level}"

    def apply(self, context: Context) -> None:
        ioprio_set(self.io_class, self.level)


class MemoryPolicy(NamedTuple):
    """Set the NUMA memory policy."""

    mode: int
    nodes: tuple[int, ...]

    def describe(self) -> str:
        return f"set the memory policy {self.mode:#x}"

    def apply(self, context: Context) -> None:
        set_mempolicy(self.mode, self.nodes)


class Personality(NamedTuple):
    """Set the execution domain, for 32-bit programs."""

    persona: int

    def describe(self) -> str:
        return f"set personality {self.persona:#x}"

    def apply(self, context: Context) -> None:
        personality(self.persona)


class NoNewPrivileges(NamedTuple):
    """Forbid for ever that a program gains privileges when it is executed."""

    def describe(self) -> str:
        return "set no_new_privs"

    def apply(self, context: Context) -> None:
        if context.last_calls is None:
            set_no_new_privs()
        else:
            context.last_calls.append(last_calls.no_new_privs(last_calls.NO_CAPABILITIES))


class LoadFilter(NamedTuple):
    """Put the system call filter in force, as late as possible: it judges our own calls, too.

    Without no_new_privs that takes CAP_SYS_ADMIN, which a change of the user has taken out of the effective set.
    """

    program: bytes
    flags: int
    privileged: bool

    def describe(self) -> str:
        return f"load the seccomp filter of {len(self.program) // 8} instructions"

    def apply(self, context: Context) -> None:
        if self.privileged:
            effective, permitted, inheritable = capabilities.capget_masks()
            capabilities.capset_masks(effective | permitted & _SYS_ADMIN, permitted, inheritable)
        if context.last_calls is None:
            seccomp.load(self.program, self.flags)
        else:
            context.last_calls.append(last_calls.load_filter(self.program, self.flags, last_calls.NOT_FILTERED))


class SwitchUser(NamedTuple):
    """Become the program's user and groups; capabilities stay until :class:`Capabilities` sets them.

    A change of the user makes a process's memory what ``fs.suid_dumpable`` says (proc(5)), and this is still the
    engine's: so it is made private again.

    :param bounding: the mask of what may remain in the bounding set.
    """

    bounding: int

    def describe(self) -> str:
        return "become the program's user"

    def apply(self, context: Context) -> None:
        capabilities.bounding_drop(cap for cap in range(capabilities.last_cap() + 1) if not self.bounding >> cap & 1)
        identity = context.identity
        set_keepcaps(True)
        os.setgroups(list(identity.groups))
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        set_dumpable(False)
        set_keepcaps(False)


class Capabilities(NamedTuple):
    """Set the capabilities; masks. What the engine does not have itself it cannot give, and leaves out."""

    effective: int
    permitted: int
    inheritable: int
    ambient: int

    def describe(self) -> str:
        return "set the capabilities"

    def apply(self, context: Context) -> None:
        own = capabilities.capget_masks()[1]
        permitted = self.permitted & own
        # An inheritable one must be in the bounding set, or inheritable already; see capabilities(7).
        inheritable = self.inheritable & own
        effective, ambient = self.effective & permitted, self.ambient & permitted & inheritable
        if context.last_calls is None:
            capabilities.capset_masks(effective, permitted, inheritable)
            capabilities.ambient_clear()
            capabilities.ambient_raise(capabilities.from_mask(ambient))
        else:
            context.last_calls += (
                last_calls.capset(effective, permitted, inheritable, last_calls.NO_CAPABILITIES),
                *last_calls.ambient(ambient),
            )


class FindProgram(NamedTuple):
    """Look the program up as a shell does, in the container and by the container's PATH."""

    name: str

    def describe(self) -> str:
        return f"find {self.name}"

    def apply(self, context: Context) -> None:
        if context.pending_cwd is not None:
            enter(context.pending_cwd)
        context.program = self._with_slash() if "/" in self.name else self._in_path(context.environment)

    def _with_slash(self) -> str:
        try:
            status = os.stat(self.name)
        except PermissionError as error:
            raise CommandNotExecutable(f'exec: "{self.name}": permission denied') from error
        except OSError as error:
            reason = os.strerror(error.errno or errno.EIO).lower()
            raise CommandNotFound(f'exec: "{self.name}": stat {self.name}: {reason}') from error
        if stat.S_ISDIR(status.st_mode):
            raise CommandNotExecutable(f'exec: "{self.name}": is a directory')
        if _is_magic(self.name):
            raise CommandNotExecutable(f'exec: "{self.name}": permission denied')
        if not _executable(self.name, status):
            raise CommandNotExecutable(f'exec: "{self.name}": permission denied')
        return self.name

    def _in_path(self, environment: Iterable[str]) -> str:
        path = next((entry[5:] for entry in reversed(list(environment)) if entry.startswith("PATH=")), _PATH)
        for directory in path.split(":"):
            candidate = f"{directory or '.'}/{self.name}"
            if not os.access(candidate, os.X_OK):  # most directories do not have it, and this raises nothing
                continue
            try:
                status = os.stat(candidate)
            except OSError:
                continue
            if not stat.S_ISDIR(status.st_mode) and _executable(candidate, status) and not _is_magic(candidate):
                return candidate
        raise CommandNotFound(f'exec: "{self.name}": executable file not found in $PATH')


def _executable(path: str, status: os.stat_result) -> bool:
    # access(2) alone answers yes to root with CAP_DAC_OVERRIDE if *any* execute bit is set, which is what execve does.
    return bool(status.st_mode & 0o111) and os.access(path, os.X_OK)


def _is_magic(path: str) -> bool:
    """Whether a program is found by a link such as /proc/self/exe, which is this process's own (CVE-2019-5736)."""
    try:
        openat2(AT_FDCWD, path, os.O_PATH, resolve=RESOLVE.NO_MAGICLINKS).close()
    except SystemCallError as error:
        return error.errno == errno.ELOOP
    return False


class TidyUp(NamedTuple):
    """Set the file mode mask, and have all descriptors but the streams closed by execve."""

    umask: int

    def describe(self) -> str:
        return "leave nothing open"

    def apply(self, context: Context) -> None:
        os.umask(self.umask)
        close_range(3, flags=CLOSE_RANGE.CLOEXEC)


class Execute(NamedTuple):
    """Become the program."""

    args: tuple[str, ...]

    def describe(self) -> str:
        return f"execute {self.args[0]}"

    def apply(self, context: Context) -> None:
        if context.last_calls is not None:
            channel.send_program(context.channel, context.program)
            variables = last_calls.variables(context.environment)
            program = last_calls.string(context.program)
            context.last_calls.append(last_calls.execve(program, self.args, variables, last_calls.NOT_EXECUTED))
            return
        environment = dict(entry.split("=", 1) for entry in context.environment)
        try:
            os.execve(context.program, self.args, environment)
        except OSError as error:
            raise not_executed(context.program, error) from error


def not_executed(program: str, error: OSError) -> InvalidInput | SystemFault:
    """Say why execve(2) refused a program."""
    text = f"exec {program}: {os.strerror(error.errno or errno.EIO).lower()}"
    if error.errno == errno.ENOENT:  # the program is there: its interpreter is not
        return CommandNotFound(text)
    if error.errno in (errno.ENOMEM, errno.EAGAIN, errno.ENFILE, errno.EMFILE, errno.EIO):
        return SystemFault(text)
    return InvalidInput(text) if error.errno == errno.E2BIG else CommandNotExecutable(text)
