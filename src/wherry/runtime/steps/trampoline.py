"""The trampoline: a program of some four hundred bytes for a process's last steps, where no copy of the engine may be.

What a container can see, it may be able to trace, read and change. So a process that comes into a container's PID
namespace, or that stays in one (``--init``), must have nothing of the engine's in its memory. What is left to do then
is written down as a *script* of system calls; the script and the machine code that carries it out
(:mod:`wherry.runtime.steps.trampoline_code`) become an ELF file in memory, sealed, and the process executes that.

The file is made anew for each process, so that no two containers ever hold the same.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
from typing import Any, Final, NamedTuple, NoReturn

from wherry.errors import SystemCallError, SystemFault, Unsupported
from wherry.linux import elf
from wherry.linux._libc import NUMBERS
from wherry.linux.fd import Fd
from wherry.linux.mount import AT
from wherry.linux.process import execveat
from wherry.runtime.steps.trampoline_code import machine_code

__all__ = [
    "BE_INIT",
    "ERROR",
    "GIVE_UP",
    "NAME",
    "RETRY",
    "TELL",
    "Back",
    "Branch",
    "Call",
    "Hole",
    "Inside",
    "Template",
    "Words",
    "assemble",
    "execute",
    "execution",
    "fill",
]

#: Not system calls: see :mod:`wherry.runtime.steps.trampoline_code`.
GIVE_UP, TELL, BE_INIT = -1, -2, -3

_BEFORE: Final = 0x40
#: Address of eight bytes: four zeros, and the number of the last error.
ERROR: Final = elf.DATA + 8
#: Address of the process's name, to which ``TELL`` adds eight letters after the first two bytes.
NAME: Final = elf.DATA + 0x20
_NAME_OFFSET: Final = 0x20

_ENTRY: Final = struct.Struct("<q8Q")
_WORD: Final = struct.Struct("<Q")
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC: Final = 0x10
_ALL_BITS: Final = 2**64 - 1


class Words(NamedTuple):
    """Numbers and pointers behind one another, eight bytes each; an argument that is one is the address of the first.

    :param items: numbers; bytes or a hole, for a pointer to them; or further words, for a pointer to these.
    """

    items: tuple[Any, ...]


class Hole(NamedTuple):
    """Stands for a pointer to bytes that are not known yet; see :func:`fill`."""

    name: str


class Template(NamedTuple):
    """Data with holes.

    :param holes: where each pointer is missing, and its hole's name.
    """

    data: bytes
    holes: tuple[tuple[int, str], ...]


class Back:
    """Where to go on when a call before is to be made again.

    :param entries: how far back that is.
    """

    def __init__(self, entries: int) -> None:
        self.entries: Final = entries


#: Where to go on when a call is to be made until it succeeds.
RETRY: Final = Back(0)


class Inside(NamedTuple):
    """An argument that is an address within bytes.

    :param base: the bytes, which the process may have changed.
    :param offset: how far from their first one.
    """

    base: bytes
    offset: int


class Call(NamedTuple):
    """One entry of a script.

    :param name: of a system call, or one of the three numbers.
    :param arguments: numbers; bytes, :class:`Words` or a :class:`Hole` for the address where they are.
    :param on_error: what to do when it fails; None to go on.
    :param child: for clone: what the child does.
    """

    name: str | int
    arguments: tuple[Any, ...] = ()
    on_error: Branch | Back | None = None
    child: Branch | None = None


Branch = tuple[Call, ...]


class _Layout:
    """Gives everything in a script an address."""

    def __init__(self, branches: list[Branch]) -> None:
        sizes = (len(branch) * _ENTRY.size for branch in branches)
        starts = itertools.accumulate(sizes, initial=elf.DATA + _BEFORE)
        self._branches: Final = {id(branch): start for branch, start in zip(branches, starts, strict=False)}
        self._data: Final = bytearray()
        self._base: Final = elf.DATA + _BEFORE + sum(map(len, branches)) * _ENTRY.size
        self._known: Final[dict[Any, int]] = {}
        self.holes: Final[list[tuple[int, str]]] = []

    @property
    def data(self) -> bytes:
        """What the arguments point to."""
        return bytes(self._data)

    def branch(self, branch: Branch | Back | None, own: int) -> int:
        """The address of a branch; 0 for none."""
        if branch is None:
            return 0
        if isinstance(branch, Back):
            return own - branch.entries * _ENTRY.size
        return self._branches[id(branch)]

    def argument(self, value: Any, place: int) -> int:
        """What goes into an entry, or among words, for an argument; `place` is the address there."""
        if isinstance(value, int):
            return value & _ALL_BITS
        if isinstance(value, Inside):
            return self.argument(value.base, place) + value.offset
        if isinstance(value, Hole):
            self.holes.append((place - elf.DATA, value.name))
            return 0
        if value not in self._known:
            self._data.extend(bytes(-len(self._data) % 8))
            self._known[value] = self._base + len(self._data)
            if isinstance(value, bytes):
                self._data.extend(value)
            else:
                self._put_words(value)
        return self._known[value]

    def _put_words(self, words: Words) -> None:
        begin = len(self._data)
        self._data.extend(bytes(8 * len(words.items)))
        for number, item in enumerate(words.items):
            place = begin + 8 * number
            _WORD.pack_into(self._data, place, self.argument(item, self._base + place))


def _all_branches(script: Branch) -> list[Branch]:
    """A script with everything that it can go on with, each once."""
    found = {id(script): script}
    ahead = [script]
    while ahead:
        for call in ahead.pop():
            for branch in (call.on_error, call.child):
                if isinstance(branch, tuple) and id(branch) not in found:
                    found[id(branch)] = branch
                    ahead.append(branch)
    return list(found.values())


def assemble(script: Branch, *, name: bytes = b"") -> Template:
    """Turn a script into the program's data.

    :param name: what is at :data:`NAME`, at most 15 bytes.
    """
    branches = _all_branches(script)
    layout = _Layout(branches)
    entries = bytearray()
    for call in itertools.chain.from_iterable(branches):
        own = elf.DATA + _BEFORE + len(entries)
        number = NUMBERS[call.name] if isinstance(call.name, str) else call.name
        arguments = [layout.argument(value, own + 8 + 8 * index) for index, value in enumerate(call.arguments)]
        arguments += [0] * (6 - len(arguments))
        entries += _ENTRY.pack(number, *arguments, layout.branch(call.on_error, own), layout.branch(call.child, own))
    before = bytearray(_BEFORE)
    before[_NAME_OFFSET : _NAME_OFFSET + len(name)] = name
    return Template(bytes(before + entries) + layout.data, tuple(layout.holes))


def fill(template: Template, **found: bytes) -> bytes:
    """Put what was not known into the holes: pointers to the given bytes, and none where nothing is given."""
    data = bytearray(template.data)
    for place, name in template.holes:
        if name in found:
            _WORD.pack_into(data, place, elf.DATA + len(data))
            data += found[name]
    return bytes(data)


def execute(data: bytes, name: str) -> NoReturn:
    """Become the trampoline, with the data that :func:`fill` gave and an empty environment.

    Capabilities and descriptors stay as execve(2) has it.

    :param name: its command line.
    :raises Unsupported: this machine forbids programs in memory, or the architecture is not known.
    """
    with _program(data) as file:
        try:
            execveat(file, "", [name], [])
        except SystemCallError as error:
            raise Unsupported("the trampoline cannot be executed", cause=str(error)) from error
    raise SystemFault("the trampoline was not executed")


def execution(data: bytes, name: str, on_error: Branch) -> Call:
    """What :func:`execute` does, as the last entry of a script; the program stays open for it.

    :raises Unsupported: this machine forbids programs in memory, or the architecture is not known.
    """
    words = Words((os.fsencode(name) + b"\0", 0))
    return Call("execveat", (_program(data).detach(), b"\0", words, Words((0,)), int(AT.EMPTY_PATH)), on_error)


def _program(data: bytes) -> Fd:
    """Write the trampoline to a file in memory, which nobody can change any more."""
    code, file = machine_code(), _memory_file()
    written = all(os.pwrite(file.fileno(), piece, offset) == len(piece) for offset, piece in elf.executable(code, data))
    if not written:
        file.close()
        raise SystemFault("the trampoline could not be written")
    fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, _SEALS)
    return file


def _memory_file() -> Fd:
    """Make a file in memory that may be executed; before Linux 6.3 all may, and the flag is not known."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        try:
            return Fd(os.memfd_create("wherry", flags | _MFD_EXEC))
        except OSError:
            return Fd(os.memfd_create("wherry", flags))
    except OSError as error:
        hint = "the setting vm.memfd_noexec forbids programs in memory"
        raise Unsupported("there is no file for the trampoline", cause=error.strerror, hint=hint) from error
