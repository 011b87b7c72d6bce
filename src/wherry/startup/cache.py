"""Where a program's snapshot lies, and when it is made.

It lies in a directory where only who may write the program's sources can put it; its name has the boot's ID, so that
none is executed that was made for another kernel or another processor. The first call after a boot leaves an empty
file, which nobody can execute; the next one makes the snapshot when all else is done. A file with something in it that
cannot be executed stands for an attempt that is under way, or that failed: the next one is made an hour later, as a
disk may have been full, and one more whenever a snapshot has found itself out of date.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["offer"]

#: The builder tells the C library's stack from the kernel's; from 3.14 on Python does that, too.
_TOO_NEW = (3, 14)
_ATTEMPTED = b"attempted\n"
#: Seconds after which an attempt that has failed is made again: where it fails each time, it takes half a second.
_AGAIN = 3600.0


def offer(directory: str, name: str, command: Callable[[str], list[str]], *, stale: bool, family: str = "") -> None:
    """Make a program's snapshot, if there is none and the program was called before; wait for that.

    :param directory: where it belongs.
    :param name: the program's.
    :param command: what makes it, given the place; see :func:`wherry.startup.build.make`.
    :param stale: the one that there is has found itself out of date.
    :param family: of a program that has several names: what they begin with. It is not called often; so its snapshot is
        made at once.
    """
    try:
        if sys.version_info < _TOO_NEW and _claimed(directory, name, family, stale=stale):
            _run(command(_place(directory, name)))
    except (OSError, KeyboardInterrupt):
        return  # a cache that cannot be written, or that the user does not wait for


def _place(directory: str, name: str) -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{directory}/{name}.{file.read().strip()}"


def _claimed(directory: str, name: str, family: str, *, stale: bool) -> bool:
    """Whether it is for this process to make one."""
    place = _place(directory, name)
    found = os.stat(directory)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        return False  # somebody else could put another file there
    if stale and os.path.exists(place):
        os.unlink(place)
    try:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return _attempted_now(place)
    _remove_others(directory, family or name, place)
    return bool(stale or family) and _attempted_now(place)


def _attempted_now(place: str) -> bool:
    """Note an attempt; whether there was none before, or none for long."""
    if not _is_time_for(os.stat(place)):
        return False
    fd = os.open(place, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not _is_time_for(os.fstat(fd)):
            return False
        os.write(fd, _ATTEMPTED)
        return True
    finally:
        os.close(fd)


def _is_time_for(found: os.stat_result) -> bool:
    if not found.st_size:
        return True
    return not found.st_mode & 0o100 and time.time() - found.st_mtime > _AGAIN


def _remove_others(directory: str, name: str, place: str) -> None:
    """Remove what was made in other boots, and what was never finished."""
    boot = place.rpartition(".")[2]
    for other in os.listdir(directory):
        if other.startswith(f"{name}.") and not other.endswith(f".{boot}"):
            os.unlink(f"{directory}/{other}")


def _run(command: list[str]) -> None:
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    silent = [null, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
    pid = os.posix_spawn(command[0], command, {}, file_actions=silent, setsigmask=(), setsid=True)
    os.waitpid(pid, 0)
