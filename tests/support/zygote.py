"""Programs of wherry's that begin as copies of a process that has their modules: imports cost more than most tests.

A copy runs the program's ``main`` with a command line, an environment and standard streams of its own, and is called
in ``/proc`` what the program would be. What a program does before its ``main``, and what it imports, is tested where
it is started as users do: the daemon of the session is, and those of ``tests/e2e/test_cli_first_use.py``.

A request on the control socket is a JSON object with the streams' descriptors and one end of a conversation about this
copy, on which its PID is sent, and when it has ended its exit code.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PROGRAMS = {
    "wherry.daemon.main": ("wherry.daemon.startup", "wherry.daemon.serve", "wherry.network.kernel_state.jobs"),
    "wherry.cli.main": (),
}
"""Modules with a ``main``, and what these import later."""
_LONGEST = 1 << 20  # bytes of a request
_ROOM = 4096  # bytes for a copy's command line


class Copy:
    """A program that was begun; as `subprocess.Popen`.

    :ivar pid: its process ID.
    """

    def __init__(self, talk: socket.socket) -> None:
        self._talk = talk
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.pid = int(talk.recv(100))

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; gives the exit code."""
        with self._lock:
            if self.returncode is None:
                poll = select.poll()
                poll.register(self._talk, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    raise subprocess.TimeoutExpired("wherry", timeout or 0)
                self.returncode = int(self._talk.recv(100))
                self._talk.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Zygote:
    """The process that is copied. It ends with the one that has started it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), " " * _ROOM],
                env=environment, cwd="/", stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def begin(
        self,
        module: str,
        arguments: Sequence[str],
        environment: dict[str, str],
        streams: tuple[int, int, int],
        network: str = "",
    ) -> Copy:
        """Begin a program.

        :param module: one of `PROGRAMS`.
        :param streams: descriptors of its standard input, output, and error.
        :param network: path of the network namespace that it is to be in; this process's if not given.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"module": module, "arguments": list(arguments), "environment": environment, "network": network}
        with theirs:
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno(), *streams])
        return Copy(ours)

    def close(self) -> None:
        """Let it end; copies go on."""
        self._control.close()
        self._process.wait()


_zygote: list[Zygote] = []
_lock = threading.Lock()


def begin(
    module: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    streams: tuple[int, int, int],
    network: str = "",
) -> Copy:
    """Begin a program as a copy of this process's zygote; see `Zygote.begin`."""
    with _lock:
        if not _zygote:
            _zygote.append(Zygote(environment))
            atexit.register(_zygote[0].close)
        return _zygote[0].begin(module, arguments, environment, streams, network)


# -- in the zygote ------------------------------------------------------------------------------------------------


def serve(control: socket.socket) -> Callable[[], NoReturn]:
    """Make copies until nobody can ask for one; returns in a copy, with what it has to do."""
    talks: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd in talks:
                poll.unregister(fd)
                _tell_end(fd, *talks.pop(fd))
                continue
            data, fds, _, _ = socket.recv_fds(control, _LONGEST, 4)
            if not data:
                os._exit(0)
            talk = socket.socket(fileno=fds[0])
            pid = os.fork()
            if pid == 0:
                for each in (control, talk, *(other for _, other in talks.values())):
                    each.close()
                for pidfd in talks:
                    os.close(pidfd)
                return _program(json.loads(data), fds[1:])
            for each_fd in fds[1:]:
                os.close(each_fd)
            talk.send(str(pid).encode())
            pidfd = os.pidfd_open(pid)
            talks[pidfd] = pid, talk
            poll.register(pidfd, select.POLLIN)


def _tell_end(pidfd: int, pid: int, talk: socket.socket) -> None:
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    with talk, suppress(OSError):  # nobody waits for it
        talk.send(str(os.waitstatus_to_exitcode(status)).encode())


def _program(request: dict[str, Any], streams: list[int]) -> Callable[[], NoReturn]:
    """Become what was asked for, but for running it."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["network"]:
        from wherry.linux.process import CLONE, setns  # noqa: PLC0415 - not in every copy

        network = os.open(request["network"], os.O_RDONLY)
        setns(network, CLONE.NEWNET)
        os.close(network)
    module, arguments = request["module"], request["arguments"]
    _rename([sys.executable, "-m", module, *arguments])
    program = sys.modules[module]
    sys.argv = [program.__file__ or module, *arguments]

    def run() -> NoReturn:
        sys.exit(program.main())

    return run


def _rename(command: list[str]) -> None:
    """Have this command line in ``/proc``: the kernel reads it where it put the zygote's; see proc(5)."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        start, end = (int(word) for word in file.read().rpartition(")")[2].split()[45:47])
    words = b"\0".join(os.fsencode(word) for word in command)[: end - start - 1]
    ctypes.memmove(start, words.ljust(end - start, b"\0"), end - start)


def main() -> Callable[[], NoReturn]:
    """Import everything, then wait for requests."""
    sys.path.remove(str(Path(__file__).parent))  # of the tests, a program sees nothing
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the tests, which end what they have begun
    for name, later in PROGRAMS.items():
        for module in (name, *later):
            importlib.import_module(module)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # copies share its memory
    return serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()()
