"""Any system calls, made inside a container that has neither a compiler nor an interpreter: by an ELF file of a page.

A program here is a list of calls with constant arguments. It makes them in order and writes what each returned, eight
bytes a call, to its standard output. For x86-64.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from support.daemons import Daemon

_BASE: Final = 0x400000
_HEAD: Final = 64 + 56  # one ELF header, one program header
_LOADS: Final = ("48bf", "48be", "48ba", "49ba", "49b8", "49b9")  # mov imm64 to rdi, rsi, rdx, r10, r8, r9
_WRITE, _EXIT = 1, 60

#: asm/unistd_64.h
_NUMBERS: Final = """
ioctl=16 getpid=39 socket=41 clone=56 ptrace=101 syslog=103 personality=135 pivot_root=155 prctl=157 acct=163
settimeofday=164 mount=165 umount2=166 swapon=167 swapoff=168 reboot=169 iopl=172 ioperm=173 init_module=175
delete_module=176 quotactl=179 clock_settime=227 kexec_load=246 add_key=248 request_key=249 keyctl=250 openat=257
unshare=272 perf_event_open=298 fanotify_init=300 open_by_handle_at=304 setns=308 process_vm_readv=310 kcmp=312
finit_module=313 kexec_file_load=320 bpf=321 userfaultfd=323 io_uring_setup=425 open_tree=428 move_mount=429
fsopen=430 fsmount=432 fspick=433 clone3=435 mount_setattr=442 quotactl_fd=443
"""
NUMBERS: Final = {name: int(number) for name, number in (word.split("=") for word in _NUMBERS.split())}


class Call(NamedTuple):
    """One call.

    :ivar arguments: numbers; bytes are passed by their address, with zeros behind them.
    """

    name: str
    arguments: tuple[int | bytes, ...] = ()


def program(calls: list[Call]) -> bytes:
    """An executable that makes these calls."""
    length = sum(_length(len(call.arguments)) for call in calls) + _length(3, kept=False) + _length(1, kept=False)
    results = _BASE + _HEAD + length
    data = bytearray(8 * len(calls))
    code = b""
    for number, call in enumerate(calls):
        arguments = [_placed(argument, data, results) for argument in call.arguments]
        code += _call(NUMBERS[call.name], arguments) + b"\x48\xa3" + struct.pack("<Q", results + 8 * number)
    code += _call(_WRITE, [1, results, 8 * len(calls)]) + _call(_EXIT, [0])
    assert len(code) == length
    size = _HEAD + length + len(data)
    header = struct.pack(
        "<4s12B HHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, *[0] * 9, 2, 62, 1, _BASE + _HEAD, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, size, size + 4096, 4096)
    return header + segment + code + data


def _length(arguments: int, *, kept: bool = True) -> int:
    return 10 * (1 + arguments) + 2 + (10 if kept else 0)


def _call(number: int, arguments: list[int]) -> bytes:
    loads = b"".join(
        bytes.fromhex(load) + struct.pack("<Q", argument % (1 << 64))
        for load, argument in zip(_LOADS, arguments, strict=False)
    )
    return b"\x48\xb8" + struct.pack("<Q", number) + loads + b"\x0f\x05"


def _placed(argument: int | bytes, data: bytearray, start: int) -> int:
    if isinstance(argument, int):
        return argument
    address = start + len(data)
    data += argument + bytes(8)
    return address


def made(daemon: Daemon, image: str, calls: list[Call], *flags: str) -> list[int]:
    """Make calls in a container; gives what each returned: a negative number is an errno."""
    script = "cat >/tmp/calls && chmod +x /tmp/calls && /tmp/calls | od -A n -v -t d8 -w8"
    done = daemon.cli(
        "run", "--rm", "-i", "--network", "none", *flags, image, "sh", "-c", script, input=program(calls), check=True
    )
    returned = [int(word) for word in done.stdout.split()]
    assert len(returned) == len(calls), done.stderr
    return returned
