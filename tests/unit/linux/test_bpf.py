"""The device program: assembled code is executed by a small machine here and compared with the rules' meaning."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from wherry.linux.bpf import DeviceRule, assemble_device_program

KINDS = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}
NUMBERS = st.sampled_from([0, 1, 3, 5, 136, (1 << 20) - 1])
LETTERS = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
RULES = st.lists(
    st.builds(DeviceRule, st.sampled_from("abc"), st.none() | NUMBERS, st.none() | NUMBERS, LETTERS), max_size=6
)


def execute(program: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """Run the program as the kernel would, for the few instructions that it may use."""
    context = struct.pack("=III", sum(ACCESS[letter] for letter in access) << 16 | KINDS[kind], major, minor)
    registers = [0] * 11
    position = 0
    instructions = list(struct.iter_unpack("<BBhi", program))
    while True:
        operation, pair, offset, constant = instructions[position]
        target, source = pair & 15, pair >> 4
        position += 1
        match operation:
            case 0x61:
                registers[target] = struct.unpack_from("=I", context, offset)[0]
            case 0xB7:
                registers[target] = constant
            case 0xBF:
                registers[target] = registers[source]
            case 0x57:
                registers[target] &= constant
            case 0x77:
                registers[target] >>= constant
            case 0x55:
                position += offset if registers[target] != constant else 0
            case 0x15:
                position += offset if registers[target] == constant else 0
            case 0x5D:
                position += offset if registers[target] != registers[source] else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"an instruction that is not expected: {operation:#x}")


def meant(  # noqa: PLR0917
    allow: bool, rules: list[DeviceRule], kind: str, major: int, minor: int, access: str
) -> bool:
    """What the kernel's list of version 1 would say (security/device_cgroup.c)."""
    for rule in rules:
        same = rule.kind in ("a", kind) and rule.major in (None, major) and rule.minor in (None, minor)
        asked, named = set(access), set(rule.access)
        if same and (asked & named if allow else asked <= named):
            return not allow
    return allow


@given(st.booleans(), RULES, st.sampled_from("bc"), NUMBERS, NUMBERS, LETTERS)
def test_the_program_answers_as_a_version_1_list(  # noqa: PLR0917
    allow: bool, rules: list[DeviceRule], kind: str, major: int, minor: int, access: str
) -> None:
    program = assemble_device_program(allow, rules)
    assert bool(execute(program, kind, major, minor, access)) == meant(allow, rules, kind, major, minor, access)


def test_one_exception_must_cover_all_that_is_asked() -> None:
    rules = [DeviceRule("c", 1, 3, "r"), DeviceRule("c", 1, 3, "w")]
    assert not execute(assemble_device_program(False, rules), "c", 1, 3, "rw")
    assert execute(assemble_device_program(False, rules), "c", 1, 3, "w")
