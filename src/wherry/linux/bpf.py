"""Device programs: BPF that decides on cgroup v2 which devices may be opened and made.

On cgroup v1 the kernel keeps a list per cgroup; on v2 it asks a program (BPF_PROG_TYPE_CGROUP_DEVICE), which this
module assembles, loads and attaches; see bpf(2) and Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from wherry.errors import SystemCallError
from wherry.linux._libc import buffer_of, fail, system_call
from wherry.linux.fd import Fd, FdLike, number

__all__ = [
    "DeviceRule",
    "assemble_device_program",
    "attach",
    "attached",
    "detach",
    "load_device_program",
    "replace_all",
]


class DeviceRule(NamedTuple):
    """Some devices, and what may be done with them.

    :ivar kind: ``"b"``, ``"c"``, or ``"a"`` for both.
    :ivar major: device number; None stands for all.
    :ivar minor: device number; None stands for all.
    :ivar access: some of ``r``, ``w`` and ``m`` (mknod).
    """

    kind: str
    major: int | None
    minor: int | None
    access: str


# ---------------------------------------------------------------------------------------------------------- assembling

_INSTRUCTION: Final = struct.Struct("<BBhi")  # operation, registers (source << 4 | destination), offset, constant
_LOAD_WORD, _MOVE_CONSTANT, _MOVE, _AND, _SHIFT_RIGHT, _EXIT = 0x61, 0xB7, 0xBF, 0x57, 0x77, 0x95
_IF_NOT_CONSTANT, _IF_CONSTANT, _IF_NOT_SAME = 0x55, 0x15, 0x5D
# Registers: R0 is the answer, R1 the context, then scratch.
_ANSWER, _CONTEXT, _KIND, _ACCESS, _MAJOR, _MINOR = range(6)

_KINDS: Final = {"b": 1, "c": 2}
_ACCESSES: Final = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS: Final = 7


def assemble_device_program(allow_by_default: bool, exceptions: Iterable[DeviceRule]) -> bytes:
    """Write the program that answers as a cgroup v1 device list would.

    As there, with access denied by default one exception must allow *all* that is asked for; with access allowed by
    default an exception that names *part* of it denies.

    :returns: instructions for :func:`load_device_program`.
    """
    program = [
        # struct bpf_cgroup_dev_ctx: access_type (access << 16 | kind), major, minor
        _op(_LOAD_WORD, _KIND, _CONTEXT, 0),
        _op(_MOVE, _ACCESS, _KIND),
        _op(_AND, _KIND, constant=0xFFFF),
        _op(_SHIFT_RIGHT, _ACCESS, constant=16),
        _op(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _op(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in exceptions:
        program += _block(rule, answer=not allow_by_default)
    program += [_op(_MOVE_CONSTANT, _ANSWER, constant=int(allow_by_default)), _op(_EXIT)]
    return b"".join(program)


def _op(operation: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return _INSTRUCTION.pack(operation, source << 4 | target, offset, constant)


def _block(rule: DeviceRule, *, answer: bool) -> list[bytes]:
    """Answer if the rule matches, else fall through to the next block."""
    # Each test jumps behind the block's end; a jump counts from the instruction that follows it.
    tests: list[tuple[int, int, int, int]] = []  # operation, register, source register, constant
    prologue: list[bytes] = []
    if rule.kind != "a":
        tests.append((_IF_NOT_CONSTANT, _KIND, 0, _KINDS[rule.kind]))
    access = sum(_ACCESSES[letter] for letter in set(rule.access))
    if access != _EVERY_ACCESS:
        prologue = [_op(_MOVE, _CONTEXT, _ACCESS), _op(_AND, _CONTEXT, constant=access)]
        tests.append((_IF_NOT_SAME, _CONTEXT, _ACCESS, 0) if answer else (_IF_CONSTANT, _CONTEXT, 0, 0))
    if rule.major is not None:
        tests.append((_IF_NOT_CONSTANT, _MAJOR, 0, rule.major))
    if rule.minor is not None:
        tests.append((_IF_NOT_CONSTANT, _MINOR, 0, rule.minor))
    answering = [_op(_MOVE_CONSTANT, _ANSWER, constant=int(answer)), _op(_EXIT)]
    jumps = [
        _op(operation, register, source, len(tests) - 1 - index + len(answering), constant)
        for index, (operation, register, source, constant) in enumerate(tests)
    ]
    return prologue + jumps + answering


# -------------------------------------------------------------------------------------------------------------- bpf(2)

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2
_LOG_SIZE: Final = 64 * 1024
_MAXIMUM_PROGRAMS: Final = 64  # BPF_CGROUP_MAX_PROGS

# The parts of union bpf_attr that are used here.
_LOAD_ATTR: Final = struct.Struct("=IIQQIIQII16s")
_ATTACH_ATTR: Final = struct.Struct("=IIIII")
_QUERY_ATTR: Final = struct.Struct("=IIIIQII")
_ID_ATTR: Final = struct.Struct("=III")

_bpf = system_call("bpf", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)


def load_device_program(instructions: bytes, name: str = "wherry_devices") -> Fd:
    """Load a device program; the kernel verifies it.

    :param name: shown by ``bpftool``; at most 15 characters count.
    :raises SystemCallError: with the verifier's last words.
    """
    try:
        return _load(instructions, name, None)
    except SystemCallError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES):
            raise
    return _load(instructions, name, ctypes.create_string_buffer(_LOG_SIZE))


def _load(instructions: bytes, name: str, log: ctypes.Array[ctypes.c_char] | None) -> Fd:
    code, licence = buffer_of(instructions), buffer_of(b"Apache-2.0\0")
    attributes = _LOAD_ATTR.pack(
        _TYPE_CGROUP_DEVICE,
        len(instructions) // _INSTRUCTION.size,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        1 if log else 0,
        _LOG_SIZE if log else 0,
        ctypes.addressof(log) if log else 0,
        0,
        0,
        name.encode()[:15],
    )
    result = _bpf(_PROG_LOAD, buffer_of(attributes), len(attributes))
    if result < 0:
        said = log.value.decode(errors="replace").strip().replace("\n", "; ")[-500:] if log else None
        fail("bpf", f"BPF_PROG_LOAD, {len(instructions) // _INSTRUCTION.size} instructions", hint=said)
    return Fd(result)


def attach(cgroup: FdLike, program: FdLike) -> None:
    """Attach a device program to a cgroup (v2) directory, beside those already there: all of them must say yes."""
    _attach_call("BPF_PROG_ATTACH", _PROG_ATTACH, number(cgroup), number(program), _ALLOW_MULTI)


def detach(cgroup: FdLike, program: FdLike) -> None:
    """Detach a device program from a cgroup directory."""
    _attach_call("BPF_PROG_DETACH", _PROG_DETACH, number(cgroup), number(program), 0)


def _attach_call(name: str, command: int, cgroup: int, program: int, flags: int) -> None:
    attributes = _ATTACH_ATTR.pack(cgroup, program, _ATTACH_CGROUP_DEVICE, flags, 0)
    if _bpf(command, buffer_of(attributes), len(attributes)) < 0:
        fail("bpf", f"{name}, device program, cgroup in descriptor {cgroup}")


def attached(cgroup: FdLike) -> list[int]:
    """Return the IDs of the device programs attached to a cgroup directory itself."""
    identifiers = (ctypes.c_uint32 * _MAXIMUM_PROGRAMS)()
    attributes = _QUERY_ATTR.pack(
        number(cgroup), _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(identifiers), _MAXIMUM_PROGRAMS, 0
    )
    buffer = buffer_of(attributes)
    if _bpf(_PROG_QUERY, buffer, len(attributes)) < 0:
        fail("bpf", f"BPF_PROG_QUERY, device programs, cgroup in descriptor {number(cgroup)}")
    count = _QUERY_ATTR.unpack(buffer.raw)[5]
    return list(identifiers[:count])


def replace_all(cgroup: FdLike, program: FdLike) -> None:
    """Attach a device program and detach all others; at no moment are devices unguarded."""
    before = attached(cgroup)
    attach(cgroup, program)
    for identifier in before:
        with _open_by_id(identifier) as old:
            detach(cgroup, old)


def _open_by_id(identifier: int) -> Fd:
    attributes = _ID_ATTR.pack(identifier, 0, 0)
    result = _bpf(_PROG_GET_FD_BY_ID, buffer_of(attributes), len(attributes))
    if result < 0:
        fail("bpf", f"BPF_PROG_GET_FD_BY_ID, {identifier}")
    return Fd(result)
