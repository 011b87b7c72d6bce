"""Write a seccomp filter (classic BPF) anew, so that it answers the same in a third of the instructions.

libseccomp asks for each call that a profile names whether it is that one: 1,260 instructions for Docker's profile. The
kernel takes 0.35 ms to check, translate and try such a program out, with each process that loads it, most of it for the
instructions. Allowed calls have numbers side by side, though, and so what is written here asks for the borders between
*intervals* of numbers with the same answer, by halving.

The program is followed for each architecture that it asks for, and for all others, with intervals of numbers, which a
comparison parts. That gives the answer for each interval, or a tree of the comparisons of arguments that the answer
depends on. Neither the program nor the trees have loops. Whatever is not understood leaves a program as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple

__all__ = ["in_intervals"]

_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_EQUAL, _GREATER, _AT_LEAST, _BITS = 0x15, 0x25, 0x35, 0x45
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4  # struct seccomp_data
_ALL: Final = 2**32
_FARTHEST: Final = 255  # instructions that a comparison can jump over
_HIGH_BITS: Final = 0xF0000000  # of numbers: x32's; a comparison with other bits would part too many intervals
_MOST_STEPS: Final = 20_000

_Instruction = tuple[int, int, int, int]


class _If(NamedTuple):
    """A comparison of a word, and what follows from either result: another one, or an answer.

    :param at: where the word is in ``struct seccomp_data``.
    :param mask: what counts of it.
    """

    at: int
    mask: int
    operation: int
    constant: int
    then: _Tree
    otherwise: _Tree


_Tree = _If | int
_Interval = tuple[int, _Tree]  # its first number, and its answer; it goes up to the next one


class _NotUnderstood(Exception):
    """The program does what is not known here."""


def in_intervals(program: bytes) -> bytes:
    """Return a program that answers as this one does; itself if there is no shorter one.

    :param program: ``struct sock_filter`` after ``struct sock_filter``, as libseccomp writes it.
    """
    instructions = list(_INSTRUCTION.iter_unpack(program))
    try:
        reader = _Reader(instructions)
        known = sorted({each[3] for each in instructions if each[0] == _EQUAL} & _architectures(instructions))
        others = next(number for number in range(len(known) + 1) if number not in known)
        answers = [(name, reader.answers(name)) for name in (*known, others)]
    except (_NotUnderstood, RecursionError, IndexError):
        return program
    written = _Writer().whole(answers)
    return written if len(written) < len(program) else program


def _architectures(instructions: list[_Instruction]) -> set[int]:
    """What may be compared with the architecture: all constants, unless it is compared otherwise than for being equal.

    A constant too many gives the same answers as all other architectures, and costs nothing.
    """
    loads = [index for index, each in enumerate(instructions) if each[0] == _LOAD and each[3] == _AT_ARCHITECTURE]
    found = set()
    for index in loads:
        reached, ahead = set(), [index + 1]
        while ahead:
            place = ahead.pop()
            operation, if_true, if_false, constant = instructions[place]
            if place in reached or operation in (_LOAD, _RETURN):
                continue
            reached.add(place)
            if operation == _JUMP:
                ahead.append(place + 1 + constant)
            elif operation == _EQUAL:
                found.add(constant)
                ahead += [place + 1 + if_true, place + 1 + if_false]
            else:
                raise _NotUnderstood
    return found


class _Reader:
    """Follows a program."""

    def __init__(self, instructions: list[_Instruction]) -> None:
        self._instructions: Final = instructions
        self._architecture = 0
        self._steps = 0

    def answers(self, architecture: int) -> list[_Interval]:
        """The answer for all numbers of an architecture's calls."""
        self._architecture = architecture
        found: list[_Interval] = []
        for first, tree in sorted(self._numbers(), key=itemgetter(0)):
            if not found or found[-1][1] != tree:
                found.append((first, tree))
        return found

    def _at(self, place: int) -> _Instruction:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _NotUnderstood
        return self._instructions[place]

    def _numbers(self) -> Iterator[_Interval]:
        """Follow the program with all numbers, in no order."""
        ahead: list[tuple[int, int | None, int, int]] = [(0, None, 0, _ALL)]
        while ahead:
            place, at, low, high = ahead.pop()
            operation, if_true, if_false, constant = self._at(place)
            if operation == _RETURN:
                yield low, constant
            elif operation == _JUMP:
                ahead.append((place + 1 + constant, at, low, high))
            elif operation == _LOAD and constant in (_AT_NUMBER, _AT_ARCHITECTURE):
                ahead.append((place + 1, constant, low, high))
            elif operation == _LOAD:
                yield low, self._arguments(place, None, _ALL - 1, (low, high))
            elif at == _AT_ARCHITECTURE and operation == _EQUAL:
                jump = if_true if constant == self._architecture else if_false
                ahead.append((place + 1 + jump, at, low, high))
            elif at == _AT_NUMBER:
                for holds, first, end in _parted(operation, constant, low, high):
                    ahead.append((place + 1 + (if_true if holds else if_false), at, first, end))
            else:
                raise _NotUnderstood

    def _arguments(self, place: int, at: int | None, mask: int, numbers: tuple[int, int]) -> _Tree:
        """Follow the program with numbers of which it asks no more, or all with the same result."""
        while True:
            operation, if_true, if_false, constant = self._at(place)
            place += 1
            if operation == _RETURN:
                return constant
            if operation == _JUMP:
                place += constant
            elif operation == _LOAD:
                at, mask = constant, _ALL - 1
            elif operation == _AND:
                mask &= constant
            elif operation not in (_EQUAL, _GREATER, _AT_LEAST, _BITS) or at is None:
                raise _NotUnderstood
            elif at in (_AT_NUMBER, _AT_ARCHITECTURE):
                place += if_true if self._holds(at, mask, operation, constant, numbers) else if_false
            else:
                then = self._arguments(place + if_true, at, mask, numbers)
                otherwise = self._arguments(place + if_false, at, mask, numbers)
                return then if then == otherwise else _If(at, mask, operation, constant, then, otherwise)

    def _holds(self, at: int, mask: int, operation: int, constant: int, numbers: tuple[int, int]) -> bool:
        if mask != _ALL - 1 or (at == _AT_ARCHITECTURE and operation != _EQUAL):
            raise _NotUnderstood
        if at == _AT_ARCHITECTURE:
            return constant == self._architecture
        parts = list(_parted(operation, constant, *numbers))
        if len(parts) > 1:
            raise _NotUnderstood
        return parts[0][0]


def _parted(operation: int, constant: int, low: int, high: int) -> list[tuple[bool, int, int]]:
    """The parts of an interval in which a comparison holds or does not, in their order: whether, first, end."""
    if operation == _EQUAL:
        borders = [(False, 0), (True, constant), (False, constant + 1)]
    elif operation == _GREATER:
        borders = [(False, 0), (True, constant + 1)]
    elif operation == _AT_LEAST:
        borders = [(False, 0), (True, constant)]
    elif operation == _BITS and not constant & ~_HIGH_BITS:
        borders = [(bool(first & constant), first) for first in range(0, _ALL, 1 << 28)]
    else:
        raise _NotUnderstood
    ends = [*(first for _, first in borders[1:]), _ALL]
    cut = ((holds, max(first, low), min(end, high)) for (holds, first), end in zip(borders, ends, strict=True))
    return [part for part in cut if part[1] < part[2]]


class _Writer:
    """Writes a program from its end to its beginning, since jumps lead forwards only."""

    def __init__(self) -> None:
        self._backwards: Final[list[_Instruction]] = []
        self._known: Final[dict[_Tree, int]] = {}

    def whole(self, answers: list[tuple[int, list[_Interval]]]) -> bytes:
        """The program for the answers of some architectures, and, last, of all others."""
        *known, (_, others) = answers
        begin = self._intervals(others)
        for architecture, intervals in known:
            if intervals != others:
                begin = self._compare(_EQUAL, architecture, self._intervals(intervals), begin)
        self._put(_LOAD, 0, 0, _AT_ARCHITECTURE, begin)
        return b"".join(_INSTRUCTION.pack(*each) for each in reversed(self._backwards))

    def _intervals(self, intervals: list[_Interval]) -> int:
        if len(intervals) == 1:
            return self._tree(intervals[0][1])
        self._known.clear()  # what is far away is of no use, and what is near is soon written again
        return self._put(_LOAD, 0, 0, _AT_NUMBER, self._binary_search(intervals))

    def _binary_search(self, intervals: list[_Interval]) -> int:
        if len(intervals) == 1:
            return self._tree(intervals[0][1])
        middle = len(intervals) // 2
        upper, lower = self._binary_search(intervals[middle:]), self._binary_search(intervals[:middle])
        return self._compare(_AT_LEAST, intervals[middle][0], upper, lower)

    def _tree(self, tree: _Tree) -> int:
        """Write what answers; the place where that begins. A place is counted from the end."""
        known = self._known.get(tree)
        if known is not None and len(self._backwards) - known < _FARTHEST // 2:
            return known
        if isinstance(tree, int):
            place = self._put(_RETURN, 0, 0, tree)
        else:
            otherwise, then = self._tree(tree.otherwise), self._tree(tree.then)
            place = self._compare(tree.operation, tree.constant, then, otherwise)
            if tree.mask != _ALL - 1:
                place = self._put(_AND, 0, 0, tree.mask, place)
            place = self._put(_LOAD, 0, 0, tree.at, place)
        self._known[tree] = place
        return place

    def _compare(self, operation: int, constant: int, then: int, otherwise: int) -> int:
        for _ in range(2):  # the one may be out of reach for what the other needs
            then, otherwise = self._reachable(then), self._reachable(otherwise)
        here = len(self._backwards)
        return self._put(operation, here - then - 1, here - otherwise - 1, constant)

    def _reachable(self, place: int) -> int:
        distance = len(self._backwards) - place - 1
        return place if distance < _FARTHEST - 2 else self._put(_JUMP, 0, 0, distance)

    def _put(self, operation: int, if_true: int, if_false: int, constant: int, follows: int | None = None) -> int:
        """Write an instruction before all others; its place.

        :param follows: what has to come directly behind it.
        """
        if follows is not None and follows != len(self._backwards) - 1:
            self._backwards.append((_JUMP, 0, 0, len(self._backwards) - follows - 1))
        self._backwards.append((operation, if_true, if_false, constant))
        return len(self._backwards) - 1
