"""What a filter would say, asked without making the call, is what the kernel does."""

from __future__ import annotations

import struct

import pytest

from wherry.linux import seccomp
from wherry.linux._libc import NUMBERS
from wherry.linux.seccomp_verdict import allows, verdict
from wherry.runtime.compile.seccomp import default_profile

NEWUSER, PARENT, VFORK = 0x10000000, 0x8000, 0x4000


def test_the_default_profile_admits_ordinary_processes_only() -> None:
    program = seccomp.compile_profile(default_profile(()))
    assert allows(program, "clone", PARENT | VFORK)
    assert not allows(program, "clone", NEWUSER)
    assert allows(program, "execve", 1, 1, 1)
    assert not allows(program, "mount")
    assert verdict(program, NUMBERS["clone3"], (0,)) & 0xFFFF0000 == 0x00050000  # an error, ENOSYS


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])
def test_arguments_are_compared_whole(action: str) -> None:
    rule = {"names": ["close"], "action": action, "args": [{"index": 0, "value": 2**33 + 5, "op": "SCMP_CMP_EQ"}]}
    program = seccomp.compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})
    assert allows(program, "close", 2**33 + 5)
    assert not allows(program, "close", 5)


def test_what_it_does_not_understand_it_takes_for_a_no() -> None:
    assert verdict(struct.pack("=HBBI", 0x99, 0, 0, 0), 1, ()) == 0
