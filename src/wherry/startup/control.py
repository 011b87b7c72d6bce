"""The page of numbers behind the page of code, by which the template, its builder and the machine code understand."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

__all__ = ["PAGE", "Control", "page"]

PAGE: Final = 4096
_WORD: Final = struct.Struct("<Q")


class Control(IntEnum):
    """Where each number is, in bytes from the page's beginning."""

    BEGIN = 0x00  #: what the kernel has put on the stack: the number of arguments, them, the environment
    STACK = 0x08  #: stack pointer of the template when it stopped
    THREAD = 0x10  #: thread pointer
    THREAD_ID = 0x18  #: address of the thread's ID in the C library
    ROBUST = 0x20  #: head of the list of robust futexes, set_robust_list(2)
    ROBUST_SIZE = 0x28
    VDSO = 0x30  #: where the template had its vDSO
    BREAK = 0x38  #: address of the C library's note of where the heap ends
    MOVED = 0x40  #: addresses of words that point into the vDSO
    MOVED_COUNT = 0x48
    VDSO_PAGE = 0x50  #: a copy of the vDSO's first page
    INSTEAD = 0x58  #: words: how many strings there are, and their addresses: what is executed if the vDSO is another
    VECTOR = 0x60  #: template: address of the vDSO's place in the auxiliary vector
    FIRST_STACK = 0x68  #: template: stack pointer at the beginning
    LOADER = 0x70  #: template: where the dynamic loader begins
    TOUCHED = 0x78  #: ranges that every process uses: address, size and madvise(2)'s advice of each
    TOUCHED_COUNT = 0x80
    MORE = 0x88  #: those that only some use
    MORE_COUNT = 0x90
    AREAS_COUNT = 0xA0  #: how many there are in AREAS; 0: the program does not last
    MAPPER = 0xA8  #: the descriptor of userfaultfd(2), or all bits set
    REQUEST = 0xB0  #: a struct uffdio_api
    AREAS = 0x100  #: structs uffdio_register: of what has all of the snapshot's memory in it, and none of the kernel's


def page(numbers: dict[Control, int]) -> bytes:
    """Return the page's bytes."""
    data = bytearray(PAGE)
    for place, number in numbers.items():
        _WORD.pack_into(data, place, number)
    return bytes(data)
