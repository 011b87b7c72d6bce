"""The startup snapshot of ``wherry-oci`` (:mod:`wherry.startup`): what is in it, where it is, and when it is made.

It lies beside the bytecode of this package, where only who may write the sources can put it. Its name has the boot's
ID, so that the script executes none that was made for another kernel or another processor; and it is executed by its
owner only. The first call of a large verb after a boot collects code if need be (:mod:`wherry.ociruntime.collected`),
the next one makes the snapshot when all else is done. A file that cannot be executed stands for an attempt that is
under way, or that failed: there is one in each boot, and one more whenever a snapshot has found itself out of date.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["become_template", "make", "offer"]

_NAME = "wherry-oci"
#: The modules that the light verbs import, or import when they need them.
_MODULES = (
    "main inner_hooks lasting_hooks group verbs.create verbs.start verbs.state verbs.kill verbs.delete verbs.run "
    "verbs.exec_ verbs.pause verbs.resume"
)
_NOTHING = "no-container"


def _entry(source: str) -> str:
    return f"{source}/wherry/ociruntime/entry.py"


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def offer(source: str, *, stale: bool) -> None:
    """Make a snapshot, if there is none; wait for that.

    :param source: the directory that ``wherry`` is in.
    :param stale: the one that there is has found itself out of date.
    """
    directory = f"{source}/wherry/ociruntime/__pycache__"
    try:
        place = f"{directory}/{_NAME}.{_boot_id()}"
        if os.path.exists(place) and not stale:
            return
        found = os.stat(directory)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return  # somebody else could put another file there
        if stale:
            os.unlink(place)
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _remove_others(directory, place)
        _run([sys.executable, "-I", "-S", "-X", f"snapshot={place}", _entry(source)])
    except OSError:
        return  # a cache that cannot be written


def _remove_others(directory: str, place: str) -> None:
    """Remove what was made in other boots, and what was never finished."""
    for name in os.listdir(directory):
        if name.startswith(f"{_NAME}.") and f"{directory}/{name}" != place:
            os.unlink(f"{directory}/{name}")


def _run(command: list[str]) -> None:
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    silent = [null, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
    pid = os.posix_spawn(command[0], command, {}, file_actions=silent, setsigmask=())
    os.waitpid(pid, 0)


def make(source: str, place: str) -> NoReturn:
    """Make the snapshot; this process has all modules, and leaves."""
    import signal  # noqa: PLC0415

    from wherry.errors import WherryError  # noqa: PLC0415
    from wherry.linux.files import close_range  # noqa: PLC0415
    from wherry.startup.build import Program, build  # noqa: PLC0415

    signal.alarm(60)
    close_range(3)  # what the command's caller has left open
    program = Program(
        interpreter=sys.executable,
        template=lambda base: ("-I", "-S", "-X", f"template={base}", _entry(source)),
        ordinary=("-I", "-S", _entry(source)),
        attempt=("--root", f"{place}.{_NOTHING}", "state", _NOTHING),
        status=1,
        answer=b"container does not exist",
    )
    try:
        build(program, place)
    except (WherryError, OSError) as error:
        sys.exit(f"wherry-oci: no startup snapshot: {error}")
    sys.exit(0)


def become_template(source: str, base: int) -> None:
    """Import everything, and stop; a process that is made of the snapshot returns from here.

    The path of modules begins with the small ones.
    """
    import gc  # noqa: PLC0415

    from wherry.ociruntime.collected import Collected  # noqa: PLC0415

    collected = Collected(source)
    sys.meta_path.insert(0, collected)
    for name in _MODULES.split():
        __import__(f"wherry.ociruntime.{name}")
    from wherry.startup.template import become  # noqa: PLC0415

    collected.close()
    sys.meta_path.remove(collected)
    gc.collect()
    become(base, (sys.executable, "-I", "-S", _entry(source)))
