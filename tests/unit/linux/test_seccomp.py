"""Seccomp profiles: the compiled program is executed by a small machine here, call by call."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

import pytest

from support.children import need
from wherry.errors import InvalidInput, Unsupported
from wherry.linux import seccomp
from wherry.linux.seccomp import SECCOMP_FILTER_FLAG, compile_profile, filter_flags

ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
NATIVE = {"x86_64": X86_64, "aarch64": AARCH64}.get(os.uname().machine, 0)
# Numbers of a few calls: x86_64, aarch64
CALLS = {"read": (0, 63), "mkdirat": (258, 34), "personality": (135, 92), "clone3": (435, 435), "reboot": (169, 142)}


@pytest.fixture(autouse=True)
def libseccomp() -> None:
    need(seccomp.is_available() and NATIVE != 0, "libseccomp, on x86_64 or aarch64")


def error(number: int) -> int:
    return 0x00050000 | number


def call(name: str) -> int:
    return CALLS[name][0 if NATIVE == X86_64 else 1]


def execute(program: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = NATIVE) -> int:
    """Run a classic BPF program on ``struct seccomp_data``."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    instructions = list(struct.iter_unpack("=HBBI", program))
    position = 0
    accumulator: int = 0
    while True:
        operation, true, false, constant = instructions[position]
        position += 1
        match operation:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, constant)[0]
            case 0x05:
                position += constant
            case 0x15:
                position += true if accumulator == constant else false
            case 0x25:
                position += true if accumulator > constant else false
            case 0x35:
                position += true if accumulator >= constant else false
            case 0x45:
                position += true if accumulator & constant else false
            case 0x54:
                accumulator &= constant
            case 0x06:
                return int(constant)
            case _:
                raise AssertionError(f"an instruction that is not expected: {operation:#x}")


def profile(*rules: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def test_what_is_allowed_passes_and_the_rest_is_refused() -> None:
    program = compile_profile(profile(allow("read", "clone3")))
    assert execute(program, call("read")) == ALLOW
    assert execute(program, call("reboot")) == error(errno.EPERM)


def test_the_default_error_number_can_be_chosen() -> None:
    program = compile_profile(profile(allow("clone3"), defaultErrnoRet=errno.EACCES))
    assert execute(program, call("read")) == error(errno.EACCES)


def test_a_rule_has_an_error_number_of_its_own() -> None:
    rule = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    program = compile_profile(profile(allow("read"), rule))
    assert execute(program, call("clone3")) == error(errno.ENOSYS)


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    program = compile_profile(profile(allow("read", "clone3")))
    assert execute(program, 436) == error(errno.ENOSYS)
    assert execute(program, 435) == ALLOW


def test_a_permissive_profile_lets_newer_calls_pass() -> None:
    kill = {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"}
    program = compile_profile(profile(kill, default="SCMP_ACT_ALLOW"))
    assert execute(program, 999) == ALLOW
    assert execute(program, call("reboot")) == KILL_PROCESS


def test_conditions_on_different_arguments_must_all_hold() -> None:
    both = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_GT"}]
    program = compile_profile(profile(allow("mkdirat", args=both), allow("clone3")))
    assert execute(program, call("mkdirat"), (1, 10)) == ALLOW
    assert execute(program, call("mkdirat"), (1, 9)) == error(errno.EPERM)
    assert execute(program, call("mkdirat"), (2, 10)) == error(errno.EPERM)


def test_of_conditions_on_one_argument_one_must_hold() -> None:
    values = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (0, 8, 0xFFFFFFFF)]
    program = compile_profile(profile(allow("personality", args=values), allow("clone3")))
    for value in (0, 8, 0xFFFFFFFF):
        assert execute(program, call("personality"), (value,)) == ALLOW
    assert execute(program, call("personality"), (1,)) == error(errno.EPERM)


def test_a_masked_condition_and_64_bit_values() -> None:
    masked = [{"index": 1, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    wide = [{"index": 0, "value": 1 << 40, "op": "SCMP_CMP_GE"}]
    program = compile_profile(profile(allow("mkdirat", args=masked), allow("read", args=wide), allow("clone3")))
    assert execute(program, call("mkdirat"), (0, 0x11)) == ALLOW
    assert execute(program, call("mkdirat"), (0, 0x10000000)) == error(errno.EPERM)
    assert execute(program, call("read"), (1 << 40,)) == ALLOW
    assert execute(program, call("read"), ((1 << 40) - 1,)) == error(errno.EPERM)


@pytest.mark.skipif(NATIVE != X86_64, reason="needs x86_64")
def test_other_architectures_are_judged_by_their_own_numbers() -> None:
    names = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    program = compile_profile(profile(allow("read", "clone3"), architectures=names))
    assert execute(program, 3, arch=I386) == ALLOW  # read
    assert execute(program, 88, arch=I386) == error(errno.EPERM)  # reboot
    assert execute(program, 999, arch=I386) == error(errno.ENOSYS)
    assert execute(program, 0x40000000) == ALLOW  # x32's read
    assert execute(program, 0x40000000 | 169) == error(errno.EPERM)
    assert execute(program, 0x40000000 | 9999) == error(errno.ENOSYS)


@pytest.mark.skipif(NATIVE != X86_64, reason="needs x86_64")
def test_an_architecture_that_is_not_named_is_killed() -> None:
    program = compile_profile(profile(allow("read", "clone3")))
    assert execute(program, 3, arch=I386) == 0x00000000
    assert execute(program, 0x40000000) != ALLOW


def test_names_that_this_libseccomp_does_not_know_are_skipped() -> None:
    program = compile_profile(profile(allow("a_call_of_the_year_2040", "read", "clone3")))
    assert execute(program, call("read")) == ALLOW


def test_rules_that_say_what_the_default_says_are_skipped() -> None:
    refuse = {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}
    assert execute(compile_profile(profile(refuse, allow("clone3"))), call("reboot")) == error(errno.EPERM)


def test_a_profile_is_compiled_once() -> None:
    wanted = profile(allow("read"))
    assert compile_profile(wanted) is compile_profile(dict(wanted))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (profile(default="SCMP_ACT_PARDON"), "unknown seccomp action 'SCMP_ACT_PARDON'"),
        ({}, "unknown seccomp action None"),
        (profile(allow("read", args=[{"index": 0, "op": "LIKE", "value": 1}])), "unknown seccomp operator 'LIKE'"),
        (profile(allow("read", args=[{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}])), "index 6"),
        (profile(architectures=["SCMP_ARCH_PDP11"]), "unknown seccomp architecture 'SCMP_ARCH_PDP11'"),
        (profile(allow()), "needs names"),
        (profile(defaultErrnoRet=-1), "-1"),
        (profile(default="SCMP_ACT_ALLOW", defaultErrnoRet=1), "takes no errnoRet"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_offending_value(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message.replace("'", ".")):
        compile_profile(wrong)


def test_flags_are_read_by_name() -> None:
    assert filter_flags({"flags": ["SECCOMP_FILTER_FLAG_LOG"]}) == SECCOMP_FILTER_FLAG.LOG
    assert filter_flags({"flags": []}) == 0
    assert filter_flags({}) == SECCOMP_FILTER_FLAG.SPEC_ALLOW
    with pytest.raises(InvalidInput, match="unknown seccomp flag"):
        filter_flags({"flags": ["SECCOMP_FILTER_FLAG_X"]})


def test_a_missing_libseccomp_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(seccomp, "_loaded", None)
    monkeypatch.setattr("ctypes.CDLL", missing)
    assert not seccomp.is_available()
    with pytest.raises(Unsupported, match="install libseccomp2"):
        compile_profile(profile(allow("reboot")))
