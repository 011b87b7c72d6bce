"""The beginning of a filter that keeps files in their projects (`wherry.linux.project_quota`).

The owner of a file may put it into any project, and take from a directory that it passes its project on. Both are
ways out of a quota, and into somebody else's. The kernel refuses them in user namespaces only, and overlayfs hands
them on. So they are refused before a filter looks at anything else: a condition that refuses cannot be said in a
profile that allows the call.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from wherry.linux._libc import ARCHITECTURE

__all__ = ["keep_projects"]

_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD, _JUMP, _IF_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x06
_AT_NUMBER, _AT_ARCHITECTURE, _AT_COMMAND = 0, 4, 24  # struct seccomp_data; a command is an int
_REFUSE: Final = 0x00050000 | errno.EPERM
_X32: Final = 0x40000000

#: FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS: what changes a project, or a directory's passing it on.
_COMMANDS: Final = (0x401C5820, 0x40086602, 0x40046602)
_FILE_SETATTR: Final = 469  # the same, as a system call of its own since Linux 6.17
#: What a machine's filters judge, by the audit value of the architecture: the numbers of ioctl.
_NUMBERS: Final[dict[str, dict[int, tuple[int, ...]]]] = {
    "x86_64": {0xC000003E: (16, _X32 | 514), 0x40000003: (54,)},
    "aarch64": {0xC00000B7: (29,), 0x40000028: (54,)},
}


def keep_projects() -> bytes:
    """Return instructions to be put before a filter's."""
    return b"".join(_part(audit, numbers) for audit, numbers in _NUMBERS.get(ARCHITECTURE, {}).items())


def _part(audit: int, ioctls: tuple[int, ...]) -> bytes:
    """For one architecture; others, and other calls, go on behind it."""
    setters = (_FILE_SETATTR, _X32 | _FILE_SETATTR)
    commands = len(_COMMANDS)
    after_number = [*((number, "command") for number in ioctls), *((number, "refuse") for number in setters)]
    body = [(_LOAD, 0, 0, _AT_NUMBER)]
    for index, (number, goal) in enumerate(after_number):
        rest = len(after_number) - index - 1
        over = rest + 1 if goal == "command" else rest + 1 + 1 + commands + 1
        body.append((_IF_EQUAL, over, 0, number))
    body.append((_JUMP, 0, 0, 1 + commands + 1 + 1))
    body.append((_LOAD, 0, 0, _AT_COMMAND))
    body += [(_IF_EQUAL, commands - index, 0, command) for index, command in enumerate(_COMMANDS)]
    body += [(_JUMP, 0, 0, 1), (_RETURN, 0, 0, _REFUSE)]
    whole = [(_LOAD, 0, 0, _AT_ARCHITECTURE), (_IF_EQUAL, 0, len(body), audit), *body]
    return b"".join(_INSTRUCTION.pack(*each) for each in whole)
