"""A program that has a startup snapshot: it says what it finds when it begins, as JSON; see `report`."""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from typing import Any

sys.path.insert(0, f"{os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))}/src")

from wherry.startup.template import become

ORDINARY = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
#: madvise(2)
WIPEONFORK = 18
KEPT: list[mmap.mmap] = []


def wiped() -> None:
    """Have memory that is not meant for children, as the C library's generator of random numbers has it."""
    KEPT.append(mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    KEPT[0].madvise(WIPEONFORK)
    KEPT[0][:] = b"x" * mmap.PAGESIZE


def not_wiped() -> list[bool]:
    """Whether something is in that memory, of this process and of its child."""
    own = KEPT[0][:] != bytes(mmap.PAGESIZE)
    KEPT[0][:] = b"x" * mmap.PAGESIZE
    pid = os.fork()
    if pid == 0:
        os._exit(KEPT[0][:] != bytes(mmap.PAGESIZE))
    return [own, bool(os.waitpid(pid, 0)[1])]


BEFORE = {"open": lambda: os.open("/", os.O_RDONLY), "random": lambda: __import__("random"), "wiped": wiped}


def way() -> str:
    """How this process began; the template does not come back from here."""
    options = dict(sys._xoptions)
    if "template" not in options:
        return "stale" if "stale" in options else "ordinary"
    for name in sys.argv[1:]:
        BEFORE[name]()
    become(int(str(options["template"])), ORDINARY)
    return "snapshot"


def grow() -> int:
    """Take memory by all ways that there are, and give it back."""
    small = [str(number) * 3 for number in range(200_000)]
    large = [bytes(1 << 20) for _ in range(40)]
    size = len(small) + len(large)
    del small, large
    return size + len(b"".join(bytes([7]) * 1000 for _ in range(10_000)))


def child() -> int:
    """What a child of this process ends with that uses its memory."""
    pid = os.fork()
    if pid == 0:
        os._exit(grow() & 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def thread() -> list[int]:
    """What a thread has, which is begun here."""
    import threading  # noqa: PLC0415

    found: list[int] = []
    one = threading.Thread(target=lambda: found.append(threading.get_native_id() != os.getpid()))
    one.start()
    one.join()
    return found


def report(how: str) -> dict[str, Any]:
    """What this process finds; with ``grow`` in the arguments, after it has used what a process has."""
    found: dict[str, Any] = {
        "way": how,
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "input": sys.stdin.read() if sys.stdin else None,
        "streams": [getattr(sys, name) and getattr(sys, name).fileno() for name in ("stdin", "stdout", "stderr")],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "pipe": signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN,
        "time": time.time(),
        "flags": [sys.flags.isolated, sys.flags.no_site],
        "modules": sorted(sys.modules),
    }
    if "grow" in sys.argv:
        found |= {"not wiped": not_wiped()} if KEPT else {}
        found |= {"grown": grow(), "child": child(), "thread": thread(), "again": grow()}
    return found


if __name__ == "__main__":
    print(json.dumps(report(way())), flush=True)
    os._exit(3)
