"""A person at a terminal: types when it sees what it waited for."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Sequence

PATIENCE = 30.0  # seconds


class Person:
    """Runs a command in a terminal of its own.

    :param command: what to run.
    :param environment: with these variables.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.seen = b""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execve(command[0], list(command), environment)

    def sees(self, text: bytes) -> None:
        """Wait until a text was printed since the last one that was waited for."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"did not see {text!r} but {self.seen!r}")
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    def types(self, text: bytes) -> None:
        """Type."""
        os.write(self._fd, text)

    def makes_it(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def is_raw(self) -> bool:
        """Tell whether keys arrive as they are typed."""
        return not termios.tcgetattr(self._fd)[3] & termios.ICANON

    def leaves(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline - time.monotonic()):
            pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def hangs_up(self) -> None:
        """End the command, whatever it is doing."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._fd)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: nobody has the other side any more
            return False
        self.seen += data
        return bool(data)
