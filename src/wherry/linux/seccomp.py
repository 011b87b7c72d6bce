"""System call filters: from the profile of an OCI specification to a program, and from the program to the kernel.

Compiling uses libseccomp, which is loaded when the first profile is compiled. Loading needs neither libseccomp nor
memory of the compiler, so that the child which loads a filter does just one system call.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntFlag
from typing import Any, Final

from wherry.errors import InvalidInput, SystemFault, Unsupported
from wherry.linux._libc import ARCHITECTURE, buffer_of, fail, flag_names, system_call
from wherry.linux.fd import Fd
from wherry.linux.files import memfd
from wherry.linux.seccomp_guard import keep_projects

#: Of a profile, wherry's own: whether files have to stay in their projects.
KEEPS_PROJECTS: Final = "org.wherry.keepsProjects"

__all__ = [
    "ACTIONS",
    "ARCHITECTURES",
    "KEEPS_PROJECTS",
    "KNOWN_FLAGS",
    "OPERATORS",
    "SECCOMP_FILTER_FLAG",
    "compile_profile",
    "filter_flags",
    "is_available",
    "is_supported",
    "library_version",
    "load",
    "notifies",
]

Profile = Mapping[str, Any]


class SECCOMP_FILTER_FLAG(IntFlag):
    """Flags of seccomp(2) for filters; OCI profiles use the same names."""

    TSYNC = 1
    LOG = 2
    SPEC_ALLOW = 4
    NEW_LISTENER = 8
    TSYNC_ESRCH = 16
    WAIT_KILLABLE_RECV = 32


_FLAG_PREFIX: Final = "SECCOMP_FILTER_FLAG_"
#: Those that a profile may ask for; the specification's names.
KNOWN_FLAGS: Final = tuple(f"{_FLAG_PREFIX}{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"))
_NOTIFY: Final = "SCMP_ACT_NOTIFY"

# ------------------------------------------------------------------------------------------------------------- loading

_SET_MODE_FILTER: Final = 1
_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter: operation, jump if true, jump if false, constant
_MAXIMUM_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS


class _SockFprog(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


_seccomp = system_call("seccomp", ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)


def load(bpf: bytes, flags: int = 0) -> Fd | None:
    """Put a filter on this thread and all that it executes and forks, for ever; see seccomp(2).

    The thread must have no_new_privs set, or hold CAP_SYS_ADMIN.

    :param bpf: what :func:`compile_profile` returned.
    :returns: with ``NEW_LISTENER``, the descriptor on which notifications arrive.
    """
    code = buffer_of(bpf)
    program = _SockFprog(len(bpf) // _INSTRUCTION.size, ctypes.addressof(code))
    result = _seccomp(_SET_MODE_FILTER, flags, ctypes.byref(program))
    if result < 0:
        shown = flag_names(SECCOMP_FILTER_FLAG, flags)
        fail("seccomp", f"SECCOMP_SET_MODE_FILTER, {program.len} instructions, {shown}")
    return Fd(result) if flags & SECCOMP_FILTER_FLAG.NEW_LISTENER else None


def is_supported(name: str) -> bool:
    """Whether this kernel knows a flag: it looks at the flags before it looks for the program."""
    flag = SECCOMP_FILTER_FLAG[name.removeprefix(_FLAG_PREFIX)]
    if flag == SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV:  # it is for those that have a listener
        flag |= SECCOMP_FILTER_FLAG.NEW_LISTENER
    return bool(_seccomp(_SET_MODE_FILTER, flag, None) < 0 and ctypes.get_errno() == errno.EFAULT)


def filter_flags(profile: Profile) -> int:
    """Return the flags that an OCI profile asks for; with NEW_LISTENER, where it has an action that notifies.

    TSYNC is without meaning for who has one thread, and WAIT_KILLABLE_RECV without a listener; both are left out.

    A profile that says nothing gets SPEC_ALLOW, as with runc: the mitigation of speculative store bypass that filters
    otherwise switch on costs much and protects only programs that run untrusted code within one process.
    """
    names = profile.get("flags")
    value = SECCOMP_FILTER_FLAG(0) if names is not None else SECCOMP_FILTER_FLAG.SPEC_ALLOW
    for name in names or ():
        if name not in KNOWN_FLAGS:
            raise InvalidInput(f"unknown seccomp flag {name!r}")
        value |= SECCOMP_FILTER_FLAG[str(name).removeprefix(_FLAG_PREFIX)]
    value &= ~SECCOMP_FILTER_FLAG.TSYNC
    if notifies(profile):
        return value | SECCOMP_FILTER_FLAG.NEW_LISTENER
    return value & ~SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV


def notifies(profile: Profile) -> bool:
    """Whether a profile leaves the decision about some calls to a listener."""
    actions = (profile.get("defaultAction"), *(rule.get("action") for rule in profile.get("syscalls") or ()))
    return _NOTIFY in actions


# ----------------------------------------------------------------------------------------------------------- compiling

ACTIONS: Final = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    _NOTIFY: 0x7FC00000,
}
_WITH_NUMBER: Final = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
OPERATORS: Final = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ARCHITECTURES: Final = frozenset(
    (
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    )
)
# enum scmp_filter_attr
_ATTR_OPTIMIZE, _BINARY_TREE = 8, 2
_NO_SUCH_CALL: Final = -1
_CACHE_SIZE: Final = 64

_cache: dict[str, bytes] = {}


class _ArgCmp(ctypes.Structure):
    """``struct scmp_arg_cmp`` of seccomp.h."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def compile_profile(profile: Profile) -> bytes:
    """Compile the ``linux.seccomp`` object of an OCI runtime specification.

    System calls that this libseccomp does not know are skipped, as runc does: profiles are written for newer kernels,
    too. A call newer than all that a profile names gets ENOSYS instead of the profile's refusal, so that C libraries
    fall back to an older call.

    :param profile: decoded JSON: ``defaultAction``, ``defaultErrnoRet``, ``architectures``, ``syscalls``. Its
        ``flags`` are for :func:`filter_flags`.
    :returns: the program for :func:`load`. The last few are remembered.
    :raises InvalidInput: the profile has an unknown action, operator or architecture, or contradicts itself.
    :raises Unsupported: libseccomp is not installed.
    """
    key = json.dumps(profile, sort_keys=True)
    if key not in _cache:
        program = _compile(profile)
        while len(_cache) >= _CACHE_SIZE:
            del _cache[next(iter(_cache))]
        _cache[key] = program
    return _cache[key]


def _compile(profile: Profile) -> bytes:
    default = _action(profile.get("defaultAction"), profile.get("defaultErrnoRet"))
    rules = list(profile.get("syscalls") or ())
    library = _library()
    with _context(library, default) as context:
        tokens = _add_architectures(library, context, profile.get("architectures") or ())
        for rule in rules:
            _add_rule(library, context, default, rule)
        program = _export(library, context)
    if not _lets_unknown_calls_pass(default):
        program = _unknown_call_prologue(library, tokens, rules) + program
    if profile.get(KEEPS_PROJECTS):
        program = keep_projects() + program
    if len(program) > _MAXIMUM_INSTRUCTIONS * _INSTRUCTION.size:
        raise InvalidInput(f"the seccomp profile is too long: {len(program) // _INSTRUCTION.size} instructions")
    return program


def _action(name: object, number: object) -> int:
    """Return an action's value; its error number is EPERM unless given."""
    if name not in ACTIONS:
        raise InvalidInput(f"unknown seccomp action {name!r}")
    value = ACTIONS[str(name)]
    if name not in _WITH_NUMBER:
        if number is not None:
            raise InvalidInput(f"the seccomp action {name!r} takes no errnoRet")
        return value
    code = errno.EPERM if number is None else number
    if not isinstance(code, int) or not 0 <= code <= 0xFFFF:
        raise InvalidInput(f"errnoRet {number!r} of a seccomp profile is no error number")
    return value | code


def _add_architectures(library: ctypes.CDLL, context: int, names: Iterable[str]) -> list[int]:
    """Make the filter judge calls of other architectures, too; return the tokens of all it judges."""
    native: int = library.seccomp_arch_native()
    tokens = [native]
    for name in names:
        token = _architecture_token(library, name)
        if token == 0 or token in tokens:
            continue  # this libseccomp has no tables for it, so the machine will not run it either
        result = library.seccomp_arch_add(context, token)
        if result == -errno.EDOM:
            continue  # its bytes have the other order, which this machine does not run
        if result not in (0, -errno.EEXIST):
            _complain(f"cannot filter for architecture {name!r}", result)
        tokens.append(token)
    return tokens


def _architecture_token(library: ctypes.CDLL, name: str) -> int:
    short = str(name).removeprefix("SCMP_ARCH_")
    if short not in ARCHITECTURES:
        raise InvalidInput(f"unknown seccomp architecture {name!r}")
    token: int = library.seccomp_arch_resolve_name(short.lower().encode())
    return token


def _add_rule(library: ctypes.CDLL, context: int, default: int, rule: Mapping[str, Any]) -> None:
    action = _action(rule.get("action"), rule.get("errnoRet"))
    conditions = [_condition(argument) for argument in rule.get("args") or ()]
    if action == default:
        return  # libseccomp refuses rules that change nothing
    for name in _names(rule):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _NO_SUCH_CALL:
            continue
        for group in _groups(conditions):
            array = (_ArgCmp * len(group))(*group)
            result = library.seccomp_rule_add_array(context, action, number, len(group), array)
            if result < 0:
                _complain(f"cannot add the seccomp rule for {name!r}", result)


def _names(rule: Mapping[str, Any]) -> list[str]:
    names = rule.get("names")
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidInput(f"a seccomp rule needs names of system calls, not {names!r}")
    return list(names)


def _condition(argument: Mapping[str, Any]) -> _ArgCmp:
    """Translate one condition on an argument of a call."""
    operator, index = argument.get("op"), argument.get("index")
    if operator not in OPERATORS:
        raise InvalidInput(f"unknown seccomp operator {operator!r}")
    if not isinstance(index, int) or not 0 <= index <= 5:
        raise InvalidInput(f"seccomp argument index {index!r} is not between 0 and 5")
    value, second = argument.get("value", 0), argument.get("valueTwo", 0)
    if operator == "SCMP_CMP_MASKED_EQ":
        return _ArgCmp(index, OPERATORS[operator], value, second)  # a mask, and what is left under it
    return _ArgCmp(index, OPERATORS[str(operator)], value, 0)


def _groups(conditions: list[_ArgCmp]) -> list[list[_ArgCmp]]:
    """Return the sets of conditions of which one must hold.

    Conditions of a rule must all hold. But libseccomp takes one per argument, and profiles from the times before
    ``MASKED_EQ`` put several on one argument and mean "or"; runc reads them in the same way.
    """
    indices = [condition.arg for condition in conditions]
    if len(set(indices)) == len(indices):
        return [conditions]
    return [[condition] for condition in conditions]


def _export(library: ctypes.CDLL, context: int) -> bytes:
    with memfd("seccomp", b"", sealed=False) as fd:
        result = library.seccomp_export_bpf(context, fd.fileno())
        if result < 0:
            raise SystemFault("libseccomp cannot write the filter", cause=os.strerror(-result).lower())
        return os.pread(fd.fileno(), os.fstat(fd.fileno()).st_size, 0)


def _complain(doing: str, result: int) -> None:
    raise InvalidInput(doing, cause=os.strerror(-result).lower())


# ----------------------------------------------------------------------------- calls that came after the profile's time

_LOAD, _JUMP, _IF_EQUAL, _IF_GREATER, _IF_BITS, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4  # struct seccomp_data
_X86_64, _X32, _X32_BIT = 0xC000003E, 0x4000003E, 0x40000000
_PERMISSIVE: Final = frozenset({0x7FFF0000, 0x7FFC0000})


def _lets_unknown_calls_pass(default: int) -> bool:
    """Whether a default action needs no help: it allows, asks a tracer, or already says ENOSYS."""
    return default in _PERMISSIVE or default & 0xFFFF0000 == 0x7FF00000 or default == 0x00050000 | errno.ENOSYS


def _unknown_call_prologue(library: ctypes.CDLL, tokens: list[int], rules: list[Mapping[str, Any]]) -> bytes:
    """Answer ENOSYS to calls whose number is above all that the profile names, per architecture."""
    names = {name.encode() for rule in rules for name in _names(rule)}
    program = b""
    for token in tokens:
        newest = max((library.seccomp_syscall_resolve_name_arch(token, name) for name in names), default=-1)
        if newest >= 0:
            program += _prologue_part(token, newest)
    return program


def _prologue_part(token: int, newest: int) -> bytes:
    """Write the part for one architecture: a jump over itself for others, then the comparison."""
    enosys = _INSTRUCTION.pack(_RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)
    body = _INSTRUCTION.pack(_LOAD, 0, 0, _AT_NUMBER)
    if token == _X86_64:  # numbers with this bit are the x32 variant's, under the same architecture
        body += _INSTRUCTION.pack(_IF_BITS, 2, 0, _X32_BIT)
    elif token == _X32:
        body += _INSTRUCTION.pack(_IF_BITS, 0, 2, _X32_BIT)
        newest |= _X32_BIT
    body += _INSTRUCTION.pack(_IF_GREATER, 0, 1, newest) + enosys
    audit = _X86_64 if token == _X32 else token
    length = len(body) // _INSTRUCTION.size
    return _INSTRUCTION.pack(_LOAD, 0, 0, _AT_ARCHITECTURE) + _INSTRUCTION.pack(_IF_EQUAL, 0, length, audit) + body


# ---------------------------------------------------------------------------------------------------------- libseccomp

_loaded: ctypes.CDLL | None = None


def is_available() -> bool:
    """Whether libseccomp can be loaded here."""
    try:
        _library()
    except Unsupported:
        return False
    return True


def library_version() -> tuple[int, int, int] | None:
    """Return the version of libseccomp; None if it is not there, or does not tell (before 2.3)."""
    if not is_available():
        return None
    found = ctypes.cast(_library().seccomp_version(), ctypes.POINTER(ctypes.c_uint))
    return (int(found[0]), int(found[1]), int(found[2])) if found else None


def _library() -> ctypes.CDLL:
    global _loaded  # noqa: PLW0603  like an import, and as expensive
    if _loaded is None:
        try:
            _loaded = _declare(ctypes.CDLL("libseccomp.so.2"))
        except OSError as error:
            hint = "install libseccomp2 (Debian, Ubuntu) or libseccomp (others)"
            raise Unsupported("libseccomp.so.2 cannot be loaded", cause=str(error), hint=hint) from error
    return _loaded


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Declare the functions; see seccomp.h."""
    integer, token, context, name = ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_char_p
    for function, result, arguments in (
        ("seccomp_init", context, (token,)),
        ("seccomp_release", None, (context,)),
        ("seccomp_attr_set", integer, (context, integer, token)),
        ("seccomp_arch_native", token, ()),
        ("seccomp_arch_add", integer, (context, token)),
        ("seccomp_arch_resolve_name", token, (name,)),
        ("seccomp_syscall_resolve_name", integer, (name,)),
        ("seccomp_syscall_resolve_name_arch", integer, (token, name)),
        ("seccomp_rule_add_array", integer, (context, token, integer, ctypes.c_uint, context)),
        ("seccomp_export_bpf", integer, (context, integer)),
        ("seccomp_version", context, ()),
    ):
        declared = library[function]
        declared.restype, declared.argtypes = result, arguments
        setattr(library, function, declared)
    return library


@contextmanager
def _context(library: ctypes.CDLL, default: int) -> Iterator[int]:
    """Hold one filter under construction."""
    context = library.seccomp_init(default)
    if not context:
        raise SystemFault(f"libseccomp cannot begin a filter for {ARCHITECTURE}")
    try:
        # Sorted by number, the filter decides in a few comparisons instead of hundreds. Before 2.5 there was no such
        # attribute: then the result is slower and right.
        library.seccomp_attr_set(context, _ATTR_OPTIMIZE, _BINARY_TREE)
        yield context
    finally:
        library.seccomp_release(context)
