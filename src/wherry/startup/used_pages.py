"""Which pages a process uses that is made of a snapshot, so that the next ones have them mapped at once.

A fault for each page is what such a process spends most of its time on. So one is watched (ptrace(2)) until the moment
of its end; what it has in memory by then (proc_pid_pagemap(5)) is what others will need.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn

from wherry.errors import Unsupported
from wherry.linux._libc import ALONE
from wherry.startup.control import PAGE

__all__ = ["Ended", "Pages", "ranges", "watch"]

_TRACEME, _CONT, _SETOPTIONS = 0, 7, 0x4200
_O_TRACEEXIT, _O_EXITKILL, _EVENT_EXIT = 0x40, 0x100000, 6
_PRESENT, _OF_FILE = 1 << 63, 1 << 61
_POPULATE_READ, _POPULATE_WRITE = 22, 23
#: Pages; ranges that are no farther apart become one.
_GAP_READ, _GAP_WRITE = 16, 1


class Pages(NamedTuple):
    """Addresses of pages: of those that were written to, and of those that are as in the file."""

    written: frozenset[int]
    read: frozenset[int]


class Ended(NamedTuple):
    """What a watched process left.

    :ivar code: its exit code.
    :ivar said: on both streams.
    :ivar pages: what it had used.
    :ivar was_other: whether it was another program by then.
    """

    code: int
    said: bytes
    pages: Pages
    was_other: bool


def watch(command: Sequence[str], areas: Iterable[tuple[int, int]]) -> Ended:
    """Run a command to its end, and see which pages it uses.

    :param areas: first and last address of what is of interest.
    :raises Unsupported: processes cannot be traced here.
    """
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _execute(command, output)
        pages, was_other, status = _followed(pid, list(areas))
        return Ended(os.waitstatus_to_exitcode(status), os.pread(output, 1 << 20, 0), pages, was_other)
    finally:
        os.close(output)


def _execute(command: Sequence[str], output: int) -> NoReturn:
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        _ptrace(_TRACEME, 0, 0)
        os.execve(command[0], list(command), {})
    finally:
        os._exit(127)


def _followed(pid: int, areas: list[tuple[int, int]]) -> tuple[Pages, bool, int]:
    """Follow a process to its end: its pages at that moment, whether it was another program by then, and its status."""
    pages = Pages(frozenset(), frozenset())
    executed = 0
    _, status = os.waitpid(pid, 0)
    while os.WIFSTOPPED(status):
        number, event = os.WSTOPSIG(status), status >> 16
        if number == signal.SIGTRAP and not event:  # execve(2) stops it, when it is traced
            executed += 1
            _ptrace(_SETOPTIONS, pid, _O_TRACEEXIT | _O_EXITKILL)
        elif event == _EVENT_EXIT:
            pages = _used(pid, areas)
        _ptrace(_CONT, pid, 0 if number == signal.SIGTRAP else number)
        _, status = os.waitpid(pid, 0)
    return pages, executed > 1, status


def _ptrace(request: int, pid: int, data: int) -> None:
    if ALONE.ptrace(ctypes.c_long(request), pid, ctypes.c_void_p(0), ctypes.c_void_p(data)) < 0:
        raise Unsupported("processes cannot be traced here", cause=os.strerror(ctypes.get_errno()))


def _used(pid: int, areas: list[tuple[int, int]]) -> Pages:
    written: set[int] = set()
    read: set[int] = set()
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for begin, end in areas:
            data = os.pread(fd, (end - begin) // PAGE * 8, begin // PAGE * 8)
            for index, (word,) in enumerate(struct.iter_unpack("<Q", data)):
                if word & _PRESENT:
                    (read if word & _OF_FILE else written).add(begin + index * PAGE)
    finally:
        os.close(fd)
    return Pages(frozenset(written), frozenset(read))


def ranges(pages: Pages, areas: Iterable[tuple[int, int]], near: int | None = None) -> list[tuple[int, int, int]]:
    """Return what has to be asked of the kernel to have these pages: address, size, and madvise(2)'s advice.

    :param areas: first and last address of each area of memory; no range is in two.
    :param near: how many pages there may be from one that is read to the next of a range.
    """
    kinds = (
        (_POPULATE_READ, pages.read, _GAP_READ if near is None else near),
        (_POPULATE_WRITE, pages.written, _GAP_WRITE),
    )
    found = []
    for begin, end in areas:
        for advice, some, gap in kinds:
            here = [page for page in some if begin <= page < end]
            found += [(*one, advice) for one in _joined(here, gap)]
    return found


def _joined(pages: list[int], gap: int) -> Iterator[tuple[int, int]]:
    begin = end = 0
    for page in sorted(pages):
        if page - end > gap * PAGE:
            if end:
                yield begin, end - begin
            begin = page
        end = page + PAGE
    if end:
        yield begin, end - begin
