"""A filter that is written anew answers what the first one answered."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from support.children import need
from wherry.linux import seccomp
from wherry.linux.capabilities import CAP
from wherry.linux.seccomp import KEEPS_PROJECTS, compile_profile
from wherry.linux.seccomp_intervals import in_intervals
from wherry.runtime.compile.seccomp import default_profile

ALLOW, ERROR, KILL = 0x7FFF0000, 0x00050001, 0x80000000
ARCHITECTURES = (0xC000003E, 0x40000003, 0xC00000B7)
LOAD, AND, RETURN, JUMP, EQUAL, GREATER, AT_LEAST, BITS = 0x20, 0x54, 0x06, 0x05, 0x15, 0x25, 0x35, 0x45
ARGUMENTS = range(14)  # words, with the instruction's address
ORDINARY = ("CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD")

Instruction = tuple[int, int, int, int]


def of(*instructions: Instruction) -> bytes:
    return b"".join(struct.pack("=HBBI", *each) for each in instructions)


def answer(program: list[Instruction], words: tuple[int, ...]) -> int:
    """What a program says to ``struct seccomp_data``, as words of four bytes."""
    value = place = 0
    while True:
        operation, if_true, if_false, constant = program[place]
        place += 1
        if operation == RETURN:
            return constant
        if operation == LOAD:
            value = words[constant // 4]
        elif operation == AND:
            value &= constant
        elif operation == JUMP:
            place += constant
        else:
            results = {EQUAL: value == constant, GREATER: value > constant, AT_LEAST: value >= constant}
            place += if_true if results.get(operation, value & constant) else if_false


def situations(program: list[Instruction], chance: random.Random) -> Iterator[tuple[int, ...]]:
    """Calls on both sides of each border that a program knows, with arguments that it asks for."""
    constants = sorted({constant for operation, _, _, constant in program if operation not in (RETURN, JUMP)})
    near = sorted({(each + more) % 2**32 for each in (0, *constants) for more in (-1, 0, 1)})
    for architecture in (*ARCHITECTURES, 0, 2**32 - 1):
        for number in near:
            arguments = (chance.choice(near) if chance.random() < 0.8 else chance.getrandbits(32) for _ in ARGUMENTS)
            yield (number, architecture, *arguments)


def check_same(before: bytes, after: bytes, seed: int = 0) -> None:
    first, second = (list(struct.iter_unpack("=HBBI", each)) for each in (before, after))
    chance = random.Random(seed)
    for words in (*situations(first, chance), *situations(second, chance)):
        assert answer(first, words) == answer(second, words), [hex(word) for word in words]


@pytest.mark.parametrize("rights", [(), ORDINARY, tuple(f"CAP_{each.name}" for each in CAP)])
@pytest.mark.parametrize("more", [{}, {KEEPS_PROJECTS: True}])
def test_dockers_profile_is_the_same_in_a_third_of_the_instructions(
    rights: tuple[str, ...], more: dict[str, Any]
) -> None:
    need(seccomp.is_available(), "libseccomp")
    before = compile_profile({**default_profile(rights), **more})
    after = in_intervals(before)
    assert len(after) < len(before) / 2.5
    check_same(before, after)


OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
NAMES = ("read", "write", "close", "clone", "ioctl", "personality", "socket", "fcntl", "mkdirat", "prctl", "clone3")


@pytest.mark.parametrize("seed", range(8))
def test_conditions_on_arguments_are_kept(seed: int) -> None:
    need(seccomp.is_available(), "libseccomp")
    chance = random.Random(seed)
    rules = []
    for name in NAMES:
        conditions = [
            {
                "index": index,
                "value": chance.choice((0, 1, 0x7E020000, 2**32 - 1, 2**40, 2**64 - 2)),
                "valueTwo": chance.choice((0, 1, 0x20000)),
                "op": f"SCMP_CMP_{chance.choice(OPERATORS)}",
            }
            for index in chance.sample(range(6), chance.randrange(4))
        ]
        rules.append({"names": [name], "action": "SCMP_ACT_ALLOW", "args": conditions})
    names = [f"SCMP_ARCH_{each}" for each in ("X86_64", "X86", "X32", "AARCH64")]
    before = compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "architectures": names, "syscalls": rules})
    check_same(before, in_intervals(before), seed)


@pytest.mark.parametrize("seed", range(4))
def test_jumps_over_more_than_a_comparison_can_are_right(seed: int) -> None:
    """A test of each number by itself, as a simple compiler writes it, for some architectures."""
    chance = random.Random(seed)
    program: list[Instruction] = [(RETURN, 0, 0, KILL)]
    for architecture in ARCHITECTURES[: 1 + seed % 3]:
        part: list[Instruction] = [(RETURN, 0, 0, ERROR)]
        for number in chance.sample(range(900), 60):
            commands = [command for command in range(8) if chance.random() < 0.5]
            body: list[Instruction] = [(LOAD, 0, 0, 24)]
            for command in commands:
                body += [(EQUAL, 0, 1, command), (RETURN, 0, 0, ALLOW + number % 7), (LOAD, 0, 0, 24)]
            body += [(RETURN, 0, 0, chance.choice((ALLOW, ERROR)))]
            part[:0] = [(LOAD, 0, 0, 0), (EQUAL, 0, len(body), number), *body]
        program[:0] = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (JUMP, 0, 0, len(part)), *part]
    before = of(*program)
    after = in_intervals(before)
    assert len(after) < len(before)
    assert sum(operation == JUMP for operation, *_ in struct.iter_unpack("=HBBI", after)) > 0
    check_same(before, after, seed)


@pytest.mark.parametrize("seed", range(150))
def test_whatever_a_program_does_it_does_afterwards(seed: int) -> None:
    chance = random.Random(seed)
    size = 40
    constants = (0, 1, 5, 77, *ARCHITECTURES, 0x40000000, 0x40000005, 2**32 - 1)
    program: list[Instruction] = [(LOAD, 0, 0, chance.choice((0, 4)))]
    while len(program) < size:
        left = size - len(program)
        kind = chance.choice((LOAD, LOAD, EQUAL, EQUAL, GREATER, AT_LEAST, BITS, JUMP, AND, RETURN))
        far = [chance.randrange(min(left, 8)) for _ in range(2)]
        if kind == LOAD:
            program.append((LOAD, 0, 0, chance.choice((0, 0, 4, 16, 20, 24))))
        elif kind in (JUMP, AND, RETURN):
            constant = {JUMP: far[0], AND: 0x7E020000, RETURN: chance.choice((ALLOW, ERROR))}[kind]
            program.append((kind, 0, 0, constant))
        else:
            program.append((kind, *far, 0x40000000 if kind == BITS else chance.choice(constants)))
    before = of(*program, (RETURN, 0, 0, KILL))
    check_same(before, in_intervals(before), seed)


def test_what_is_not_understood_stays_as_it_is() -> None:
    long = [(EQUAL, 0, 0, number) for number in range(150)]
    for unknown in ((0x61, 0, 0, 0), (BITS, 0, 0, 3), (0x87, 0, 0, 0)):
        program = of((LOAD, 0, 0, 0), *long, unknown, (RETURN, 0, 0, ALLOW))
        assert in_intervals(program) is program
    assert in_intervals(b"") == b""
