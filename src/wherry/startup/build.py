"""Make a snapshot: start the template, read its memory when it has stopped, try what came out, and put it in place."""

from __future__ import annotations

import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from wherry.errors import SystemFault, Unsupported, WherryError
from wherry.linux import userfaultfd
from wherry.linux.elf import R, Segment, laid_out, parsed
from wherry.linux.files import close_range
from wherry.linux.process import set_pdeathsig
from wherry.startup.control import PAGE, Control
from wherry.startup.machine_code import entry_of
from wherry.startup.memory import Memory, read
from wherry.startup.starter import Starter, random_base, starter
from wherry.startup.used_pages import Pages, ranges, watch

__all__ = ["Program", "build", "make"]

#: The C library resolves all symbols at once, and registers no restartable sequence; the encoding is UTF-8.
_ENVIRONMENT: Final = ("LD_BIND_NOW=1", "GLIBC_TUNABLES=glibc.pthread.rseq=0", "LC_ALL=C.UTF-8")
#: Where the builder's own data is, from the starter's first address on: between the page of numbers and the stack.
_ADDED: Final = 0x10000
_RANGES: Final = 0x100000
_EXECUTABLE: Final = 0o700
_FAR: Final = 1 << 40  # the kernel's own places are farther away from a snapshot's
_WIPEONFORK: Final = 18  # madvise(2)
_PATIENCE: Final = 60  # seconds; then it ends, and the template with it


class Program(NamedTuple):
    """A program that a snapshot is made of.

    :ivar interpreter: its path.
    :ivar template: what it gets to become the template, given the starter's address; see :mod:`wherry.startup.template`
    :ivar ordinary: what it gets to be the program in the ordinary way.
    :ivar attempt: arguments of the program for a first try; it has to leave with `status` and say `answer`.
    :ivar larger: further tries, of what not every process does. They must change nothing.
    :ivar lasts: it is a program that goes on, :mod:`wherry.startup.lasting`.
    """

    interpreter: str
    template: Callable[[int], Sequence[str]]
    ordinary: Sequence[str]
    attempt: Sequence[str]
    status: int
    answer: bytes
    larger: Sequence[Sequence[str]] = ()
    lasts: bool = False


def build(program: Program, place: str) -> None:
    """Make a snapshot, and put it at a path, in one step.

    :raises Unsupported: that cannot be here.
    :raises SystemFault: what came out does not work.
    :raises OSError: the file cannot be written.
    """
    if platform.libc_ver()[0] != "glibc":
        raise Unsupported("snapshots are made with the GNU C library only")
    draft = f"{place}.{os.getpid()}"
    try:
        image = _image(program, draft)
        image.write(draft)
        _warm(program, draft, image)
        image.write(draft)
        _try(program, draft, image)
        os.rename(draft, place)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def make(program: Program, place: str) -> NoReturn:
    """Make a snapshot and leave: a process of its own does that, for whatever goes wrong."""
    signal.alarm(_PATIENCE)
    close_range(3)  # what the program's caller has left open
    try:
        build(program, place)
    except (WherryError, OSError) as error:
        sys.exit(f"no startup snapshot: {error}")
    sys.exit(0)


class _Image:
    """What is written to the file."""

    def __init__(self, memory: Memory, first: Starter) -> None:
        self.memory: Final = memory
        self._first: Final = first

    def put(self, place: Control, data: bytes) -> None:
        """Write something else for it."""
        self.memory.write(self._first.base + PAGE + place, data)

    def note(self, numbers: dict[Control, int]) -> None:
        """Write numbers for the machine code."""
        for place, number in numbers.items():
            self.put(place, number.to_bytes(8, "little"))

    def add(self, offset: int, content: bytes) -> int:
        """Add an area of what the machine code reads; returns its address."""
        address = self._first.base + offset
        self.memory.add(address, R, content + bytes(-len(content) % PAGE))
        return address

    def areas(self) -> list[tuple[int, int]]:
        """Return the first and the last address of each segment."""
        return [(one.address, one.address + one.size) for one in self.memory.segments()]

    def write(self, path: str) -> None:
        """Write the file, in place of another."""
        Path(path).unlink(missing_ok=True)
        _write(path, self._first.base + entry_of("start"), self.memory.segments())


def _image(program: Program, draft: str) -> _Image:
    base = random_base()
    arguments = [program.interpreter, *program.template(base)]
    loader = parsed(Path(program.interpreter).read_bytes()).interpreter
    first = starter(base, loader, arguments, _ENVIRONMENT)
    _write(draft, first.entry, first.segments)
    pid = _stopped(draft)
    try:
        memory = read(pid, lasts=program.lasts)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    image = _Image(memory, first)
    _complete(image, base + _ADDED, [program.interpreter, *program.ordinary])
    if program.lasts:
        _map_singly(image)
    return image


def _write(path: str, entry: int, segments: list[Segment]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _EXECUTABLE)
    with open(fd, "wb") as file:
        for offset, piece in laid_out(entry, segments, PAGE):
            file.seek(offset)
            file.write(piece)
        file.truncate(-(-file.tell() // PAGE) * PAGE)
        file.flush()
        os.fsync(fd)


def _stopped(path: str) -> int:
    """Start the template, and wait until it has stopped; returns its number.

    :raises Unsupported: it has ended instead.
    """
    pid = os.fork()
    if pid == 0:
        _execute(path)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        raise Unsupported(f"the template ended with {os.waitstatus_to_exitcode(status)}")
    return pid


def _execute(path: str) -> NoReturn:
    try:
        set_pdeathsig(signal.SIGKILL)
        close_range(3)
        # The kernel places libraries below the largest stack that there may be, and what the next process gets above.
        resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.execve(path, [path], {})
    finally:
        os._exit(127)


def _complete(image: _Image, begin: int, ordinary: Sequence[str]) -> None:
    """Add what the machine code needs: the words to be moved, and the ordinary program's arguments."""
    moved = image.memory.free_vdso_words()
    content = bytearray(image.memory.vdso_page)

    def added(data: bytes) -> int:
        content.extend(data)
        return begin + len(content) - len(data)

    def words(numbers: Sequence[int]) -> int:
        content.extend(bytes(-len(content) % 8))
        return added(struct.pack(f"<{len(numbers)}Q", *numbers))

    strings = [added(os.fsencode(one) + b"\0") for one in ordinary]
    numbers = {
        Control.VDSO: image.memory.vdso.start,
        Control.VDSO_PAGE: begin,
        Control.MOVED: words(moved),
        Control.MOVED_COUNT: len(moved),
        Control.INSTEAD: words([len(strings), *strings]),
    }
    image.add(_ADDED, bytes(content))
    image.note(numbers)


def _map_singly(image: _Image) -> None:
    """Have only those pages mapped that are used, and not their neighbours as well."""
    areas = _hulls(image.areas())
    image.note({Control.AREAS_COUNT: len(areas), Control.MAPPER: (1 << 64) - 1})
    image.put(Control.REQUEST, userfaultfd.REQUEST)
    image.put(Control.AREAS, b"".join(userfaultfd.registration(*one) for one in areas))


def _hulls(areas: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return address and size of what has all areas in it: the starter's, and those that the kernel placed."""
    found: list[tuple[int, int]] = []
    for begin, end in areas:
        first = found.pop() if found and begin - sum(found[-1]) < _FAR else (begin, 0)
        found.append((first[0], end - first[0]))
    return found


def _warm(program: Program, path: str, image: _Image) -> None:
    """Have the pages mapped at once that a process uses."""
    areas = image.areas()
    usual = _try(program, path, image)
    larger = [watch([path, *one], areas).pages for one in program.larger]
    written = frozenset[int]().union(*(one.written for one in larger)) - usual.written
    read_only = frozenset[int]().union(*(one.read for one in larger)) - usual.read - usual.written - written
    first = ranges(usual, areas, near=1 if program.lasts else None)
    further = ranges(Pages(written, read_only), areas)
    first = [*_wiped(image.memory), *first]
    words = [number for one in (*first, *further) for number in one]
    address = image.add(_RANGES, struct.pack(f"<{len(words)}Q", *words))
    image.note(
        {
            Control.TOUCHED: address,
            Control.TOUCHED_COUNT: len(first),
            Control.MORE: address + 24 * len(first),
            Control.MORE_COUNT: len(further),
        }
    )


def _wiped(memory: Memory) -> list[tuple[int, int, int]]:
    """Return what has to be asked of the kernel so that no child of a process has what only one may have."""
    return [(address, size, _WIPEONFORK) for address, size in memory.wiped]


def _try(program: Program, path: str, image: _Image) -> Pages:
    """See whether it works, before somebody depends on it; returns what it uses.

    :raises SystemFault: it does not.
    """
    ended = watch([path, *program.attempt], image.areas())
    if ended.was_other:
        raise SystemFault("the snapshot does not work: it has executed the ordinary program")
    if ended.code != program.status or program.answer not in ended.said:
        raise SystemFault(f"the snapshot does not work: it left with {ended.code}", cause=repr(ended.said))
    return ended.pages
