"""The parent's view of a container that another OCI runtime makes.

The process that was cloned runs the runtime's commands, and says on the channel how each ended. The container's process
is an orphan when ``create`` has ended; it becomes this process's child (PR_SET_CHILD_SUBREAPER), as all that is born
apart, and takes the place of the first one. Its number is in the file that the runtime has written.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from typing import Final

from wherry.errors import SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.proc import start_time
from wherry.linux.process import pidfd_open, pidfd_send_signal
from wherry.linux.scm_rights import receive_fds
from wherry.runtime.launch.launched import Launched
from wherry.runtime.launch.user_namespace import adopt_orphans
from wherry.runtime.plan import OtherRuntime
from wherry.runtime.report import EXECUTED, NOT_YET, Born, Failed, Report, Terminal

__all__ = ["OtherLaunched"]

_LARGEST: Final = 4096
_LONGEST_LOG: Final = 1 << 20
_GO: Final = b"\n"


def _unlink(*paths: str) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _listen(path: str) -> socket.socket:
    _unlink(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listening.bind(path)
        listening.listen(1)
    except OSError:
        listening.close()
        raise
    return listening


class OtherLaunched(Launched):
    """A process on its way to a program in a container of another runtime's."""

    def __init__(self, pid: int, pidfd: Fd, end: socket.socket, other: OtherRuntime) -> None:
        super().__init__(pid, pidfd, end)
        self._other: Final = other
        self._runs = False
        # The child is not released yet, so nothing of the runtime's has begun.
        _unlink(other.pid_file, other.log)
        self._console = _listen(other.console) if other.console else None
        adopt_orphans()

    def close(self) -> None:
        """Close what is open; see `Launched`."""
        super().close()
        if not self._other.starts:  # a container may have a million execs
            stem = self._other.pid_file.removesuffix("pid")
            _unlink(*(f"{stem}{name}" for name in ("pid", "log", "process.json")))
        if self._console is not None:
            self._console.close()
            self._console = None
            _unlink(self._other.console)

    def _from_channel(self) -> Report:
        try:
            data = self.channel.recv(_LARGEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return NOT_YET
        except ConnectionResetError:
            data = b""
        if not data.startswith(b'{"done"'):
            report = super()._from_channel()
            return self._failed("it was killed") if report == EXECUTED else report
        self.channel.recv(_LARGEST)
        try:
            message = json.loads(data)
            done, code = message["done"], int(message["code"])
        except (ValueError, KeyError, TypeError):
            return self._failed(f"what it says makes no sense: {data[:100]!r}")
        if code:
            return self._failed(f"it ended with the code {code}")
        if done == "start":
            return EXECUTED
        return self._made()

    def _made(self) -> Report:
        """The container is made: take its terminal, then its process."""
        if self._console is not None:
            master = self._terminal(self._console)
            if master is None:
                return self._failed("it has handed no terminal over")
            self._console.close()
            self._console = None
            _unlink(self._other.console)
            self._next = self._made
            return Terminal(master)
        try:
            with open(self._other.pid_file, encoding="ascii") as file:
                pid = int(file.read(32))
            pidfd = pidfd_open(pid)
        except (OSError, ValueError, SystemCallError) as error:
            return self._failed(f"it does not tell the container's process: {error}")
        self.pidfd.close()
        self.pid, self.pidfd = pid, pidfd
        self._runs = True
        if self._other.starts:
            self.channel.send(_GO)
            self._next = self._from_channel
        else:
            self._next = _executed
        return Born(pid, pidfd, start_time(pid) or 0)

    @staticmethod
    def _terminal(console: socket.socket) -> Fd | None:
        try:
            connection, _ = console.accept()
            with connection:
                connection.setblocking(False)
                _, fds = receive_fds(connection, _LARGEST, 1)
        except OSError:
            return None
        return Fd(fds[0]) if fds else None

    def _failed(self, otherwise: str) -> Failed:
        """Say why, in the runtime's own words if it has left any."""
        if self._runs:
            with suppress(SystemCallError):  # it has ended
                pidfd_send_signal(self.pidfd, signal.SIGKILL)
        text = _last_error(self._other.log) or otherwise
        return Failed(f"have the runtime {self._other.name} start it", "", 0, text, _kind(text))


def _executed() -> Report:
    return EXECUTED


def _kind(text: str) -> str:
    """What went wrong, as far as the words of runc and crun tell; the exit code of a client depends on it."""
    if "no such file or directory" in text.lower() or "executable file not found" in text:
        return "command-not-found"
    return "command-not-executable" if "permission denied" in text.lower() else "system"


def _last_error(path: str) -> str:
    """Return the last error of a log of JSON lines."""
    found = ""
    with suppress(OSError), open(path, "rb") as file:
        for line in file.read(_LONGEST_LOG).splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                    found = str(entry.get("msg", ""))
    return found
