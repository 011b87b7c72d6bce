"""What is put into a snapshot's file, and that it is a program as elf(5) has it."""

from __future__ import annotations

import pytest

from wherry.errors import InvalidInput, Unsupported
from wherry.linux._libc import ARCHITECTURE
from wherry.linux.elf import R, Segment, W, X, laid_out, parsed
from wherry.startup import memory as memories
from wherry.startup.control import PAGE, Control, page
from wherry.startup.machine_code import LISTINGS, entry_of, machine_code
from wherry.startup.memory import Memory
from wherry.startup.starter import starter
from wherry.startup.used_pages import Pages, ranges

BASE = 1 << 40
#: madvise(2)
MADV_POPULATE_READ, MADV_POPULATE_WRITE = 22, 23
VDSO = range(0x7FFF0000, 0x7FFF2000)
FULL = b"\x01" * PAGE
needs_code = pytest.mark.skipif(ARCHITECTURE not in LISTINGS, reason="no machine code for this architecture")


def memory() -> Memory:
    return Memory(VDSO, FULL)


def whole(pieces: list[tuple[int, bytes]]) -> bytes:
    file = bytearray(max(offset + len(piece) for offset, piece in pieces))
    for offset, piece in pieces:
        file[offset : offset + len(piece)] = piece
    return bytes(file)


def test_a_program_that_is_laid_out_is_read_as_the_same() -> None:
    segments = [
        Segment(BASE, PAGE, R | X, FULL),
        Segment(BASE + PAGE, 40 * PAGE, R | W, b""),
        Segment(BASE + 64 * PAGE, 3 * PAGE, R | W, b"\x02" * 5000),
    ]
    found = parsed(whole(laid_out(BASE + 5, segments, PAGE)))
    assert (found.entry, found.interpreter, found.segments) == (BASE + 5, "", segments)


@pytest.mark.parametrize("file", [b"", b"\x7fELF", b"#!/bin/sh\n" * 100, b"\x7fELF\x02\x01\x01" + bytes(100)])
def test_what_is_no_program_is_refused(file: bytes) -> None:
    with pytest.raises(InvalidInput):
        parsed(file)


def test_neighbours_become_one_segment_and_long_runs_of_empty_pages_are_in_no_file() -> None:
    image = memory()
    image.add(BASE, R | W, FULL + bytes(2 * PAGE) + FULL + bytes(20 * PAGE))
    image.add(BASE + 24 * PAGE, R | W, bytes(PAGE) * 16)
    image.add(BASE + 40 * PAGE, R | W, FULL)
    image.add(BASE + 41 * PAGE, R, FULL)
    assert image.segments() == [
        Segment(BASE, 40 * PAGE, R | W, FULL + bytes(2 * PAGE) + FULL),
        Segment(BASE + 40 * PAGE, PAGE, R | W, FULL),
        Segment(BASE + 41 * PAGE, PAGE, R, FULL),
    ]


def test_an_area_that_children_find_empty_is_in_no_file_however_small() -> None:
    image = memory()
    image.add(BASE, R | W, FULL)
    image.add_wiped(BASE + PAGE, R | W, PAGE)
    image.add(BASE + 2 * PAGE, R | W, FULL)
    assert image.wiped == [(BASE + PAGE, PAGE)]
    assert image.segments() == [Segment(BASE, 2 * PAGE, R | W, FULL), Segment(BASE + 2 * PAGE, PAGE, R | W, FULL)]


def test_words_that_point_into_the_vdso_are_found_and_can_be_changed_in_code_there_are_none() -> None:
    image = memory()
    inside, outside = VDSO.start + 8, VDSO.stop
    content = b"".join(one.to_bytes(8, "little") for one in (1, inside, outside, VDSO.start)).ljust(PAGE, b"\x01")
    image.add(BASE, R, content)
    image.add(BASE + PAGE, R | X, content)
    assert image.free_vdso_words() == [BASE + 8, BASE + 24]
    assert [one.access for one in image.segments()] == [R | W, R | X]


def test_a_number_is_written_where_it_belongs() -> None:
    image = memory()
    image.add(BASE, R | W, page({Control.BREAK: 7}))
    image.write(BASE + Control.VDSO, bytes([9]))
    (segment,) = image.segments()
    assert segment.content == page({Control.BREAK: 7, Control.VDSO: 9})
    with pytest.raises(KeyError):
        image.write(BASE + PAGE, b"1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("7f00-8f00 rw-s 00000000 00:01 77 /dev/shm/one", "shares memory"),
        ("7f00-8f00 r--p 00000000 00:01 77 /usr/lib/libcrypto.so.3", "random numbers"),
    ],
)
def test_memory_that_a_snapshot_cannot_have_is_refused(line: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    smaps = f"{line}\nVmFlags: rd mr mw me\n"
    monkeypatch.setattr(memories.Path, "read_text", lambda *_, **__: smaps)
    with pytest.raises(Unsupported, match=words):
        memories.read(1)


@needs_code
def test_the_starter_has_one_page_of_code_one_of_numbers_and_a_stack_as_the_kernel_makes_it() -> None:
    assert len(machine_code()) <= PAGE
    with open("/proc/self/exe", "rb") as file:
        loader = parsed(file.read()).interpreter
    made = starter(BASE, loader, ["/usr/bin/one", "two"], ["A=b"])
    code, numbers, room, stack, *loaded = made.segments
    assert (code.address, numbers.address, made.entry) == (BASE, BASE + PAGE, BASE + entry_of("template"))
    assert room.address + room.size == stack.address
    pointer = int.from_bytes(numbers.content[Control.FIRST_STACK :][:8], "little")
    assert pointer % 16 == 0

    def word(address: int) -> int:
        return int.from_bytes(stack.content[address - stack.address :][:8], "little")

    def text(address: int) -> bytes:
        return stack.content[address - stack.address :].partition(b"\0")[0]

    assert word(pointer) == 3
    assert [text(word(pointer + 8 * place)) for place in (1, 2, 3, 5)] == [
        loader.encode(), b"/usr/bin/one", b"two", b"A=b"
    ]  # fmt: skip
    assert word(pointer + 32) == word(pointer + 48) == 0
    begins = int.from_bytes(numbers.content[Control.LOADER :][:8], "little")
    assert any(one.access & X and one.address <= begins < one.address + one.size for one in loaded)


def test_pages_that_are_near_are_one_range_and_none_is_in_two_areas() -> None:
    here, there = (BASE, BASE + 64 * PAGE), (BASE + 64 * PAGE, BASE + 128 * PAGE)
    written = frozenset(BASE + PAGE * number for number in (0, 1, 3, 6, 63, 64))
    read = frozenset(BASE + PAGE * number for number in (70, 80, 100))
    found = ranges(Pages(written, read), [here, there])
    assert [((address - BASE) // PAGE, size // PAGE, advice) for address, size, advice in found] == [
        (0, 4, MADV_POPULATE_WRITE),
        (6, 1, MADV_POPULATE_WRITE),
        (63, 1, MADV_POPULATE_WRITE),
        (70, 11, MADV_POPULATE_READ),
        (100, 1, MADV_POPULATE_READ),
        (64, 1, MADV_POPULATE_WRITE),
    ]
