"""A wherryd that tells on itself: what it opens on its event loop that containers reach, and what holds the loop up.

``python watched.py REPORT REACHABLE[:REACHABLE...] -- FLAGS...`` runs the daemon. REPORT gets a line for each offence:
the event, what it was about, and where in the code it happened. An audit hook (PEP 578) sees every ``open``,
``listdir`` and ``scandir`` of Python's own; calls that go past it, and those that are not audited (``stat``), are found
by a thread that looks at whether the loop waits for anything but its selector.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
from types import FrameType
from typing import Any, Final

from wherry.daemon.main import main as wherryd

#: Files of a container's process that the kernel shows without waiting for the process.
HARMLESS: Final = re.compile(r"/proc/(self|\d+)/(ns/\w+|stat|net/dev|fd|fdinfo/\d+|mounts|oom_score_adj)?")
_AUDITED: Final = frozenset({"open", "os.listdir", "os.scandir"})
#: A container's log is the keeper's alone.
LOGS: Final = re.compile(r".*/containers/[0-9a-f]{64}/(logs|spool)(/.*)?")
#: Seconds for which the loop's thread may be found sleeping anywhere but in its selector. A machine that is merely busy
#: has it running, or ready to run.
PATIENCE: Final = 1.0
_LOOK: Final = 0.05


class Watch:
    """What is watched, and where it is told.

    :param reachable: directories in which containers can make or change files.
    """

    def __init__(self, report: str, reachable: list[str]) -> None:
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._reachable = tuple(reachable)
        self._thread = threading.get_ident()
        self._task = f"/proc/self/task/{threading.get_native_id()}/stat"

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _AUDITED or threading.get_ident() != self._thread:
            return
        if asyncio._get_running_loop() is None:
            return  # nobody is served yet
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike) or not self._is_reachable(os.fsdecode(path)):
            return
        if event == "open" and arguments[2] & (os.O_NONBLOCK | os.O_PATH):
            return
        self._tell(f"{event} {os.fsdecode(path)}", sys._getframe(1))

    def _is_reachable(self, path: str) -> bool:
        if path.startswith("/proc/"):
            return not HARMLESS.fullmatch(path) and re.match(r"/proc/\d", path) is not None
        return path.startswith(self._reachable) and not LOGS.fullmatch(path)

    def look(self) -> None:
        """Look on while the loop works; for a thread."""
        asleep = 0.0
        while True:
            time.sleep(_LOOK)
            frame = sys._current_frames().get(self._thread)
            if frame is None or self._is_idle(frame) or self._is_running():
                asleep = 0.0
                continue
            asleep += _LOOK
            if asleep >= PATIENCE:
                self._tell(f"standstill of {PATIENCE:g} s", frame)
                asleep = 0.0

    @staticmethod
    def _is_idle(frame: FrameType) -> bool:
        return frame.f_code.co_name == "select" and frame.f_code.co_filename.endswith("selectors.py")

    def _is_running(self) -> bool:
        with open(self._task, encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "R"

    def _tell(self, what: str, frame: FrameType | None) -> None:
        places = []
        while frame is not None:
            name = frame.f_code.co_filename
            if "wherry" in name and name != __file__:
                places.append(f"{name.rpartition('wherry/')[2]}:{frame.f_lineno} {frame.f_code.co_name}")
            frame = frame.f_back
        os.write(self._report, f"{what} <- {' <- '.join(places[:8])}\n".encode(errors="replace"))


def main() -> None:
    """Run the daemon under watch."""
    report, reachable, _, *flags = sys.argv[1:]
    watch = Watch(report, reachable.split(":"))
    sys.addaudithook(watch.audit)
    threading.Thread(target=watch.look, name="watch", daemon=True).start()
    sys.argv = ["wherryd", *flags]
    sys.exit(wherryd())


if __name__ == "__main__":
    main()
