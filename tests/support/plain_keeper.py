"""A keeper for ordinary processes, and a daemon's side to talk to it: what the keeper's tests share.

As a script it is a keeper whose launcher forks and executes the command in the plan, so everything but namespaces is
real: processes, FIFOs, terminals, pidfds, ``kill -9``, re-execution.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherry.keeper import main as keeper_main
from wherry.keeper.client import KeeperClient, connect
from wherry.keeper.log_reader import LogReader
from wherry.keeper.protocol import Message
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_open
from wherry.runtime.report import EXECUTED, NOT_YET, Failed, Report, Terminal

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
PATIENCE = 120.0


class PlainChild:
    """A forked process on its way to its program."""

    def __init__(self, pid: int, channel: socket.socket, master: int | None) -> None:
        self.pid = pid
        self.pidfd = pidfd_open(pid)
        self.cgroup = None
        self.is_among_others = self.leaves_orphans = self.reports_at_end = False
        self._channel = channel
        self._master = master

    def fileno(self) -> int:
        return self._channel.fileno()

    def report(self) -> Report:
        if self._master is not None:
            master, self._master = Fd(self._master), None
            return Terminal(master)
        try:
            data = self._channel.recv(4096)
        except BlockingIOError:
            return NOT_YET
        return Failed(**json.loads(data)) if data else EXECUTED

    def close(self) -> None:
        self._channel.close()

    def clean_up(self) -> None:
        """Nothing was made for it."""


class PlainLauncher:
    """Forks and executes: the plan is ``{"argv": [...]}`` in JSON."""

    def launch(self, plan: bytes, stdio: tuple[Fd, Fd, Fd] | None, size: tuple[int, int] | None) -> PlainChild:
        argv = json.loads(plan)["argv"]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        master, slave = pty.openpty() if stdio is None else (None, None)
        pid = os.fork()
        if pid == 0:
            become(argv, theirs, slave, stdio)
        theirs.close()
        if slave is not None:
            os.close(slave)
        return PlainChild(pid, ours, master)

    def was_out_of_memory(self, cgroup: str) -> bool | None:
        return None

    def warm_up(self) -> None:
        """Nothing of these programs can be begun ahead."""

    def cool_down(self) -> None:
        """Nothing was begun."""


def become(argv: list[str], channel: socket.socket, slave: int | None, stdio: tuple[Fd, Fd, Fd] | None) -> None:
    """In the child: arrange the streams and execute; report what went wrong."""
    try:
        os.setsid()
        if slave is not None:
            os.login_tty(slave)
        for target, fd in enumerate(stdio or ()):
            os.dup2(fd.fileno(), target)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(argv[0], argv)
    except OSError as error:
        report = {"step": "execute", "call": "execve", "errno": error.errno, "text": f"exec: {argv[0]!r}"}
        channel.send(json.dumps(report | {"kind": "command-not-found"}).encode())
    os._exit(1)


class Daemon:
    """What wherryd is to the keeper, with waiting: for tests."""

    def __init__(self, exec_root: Path, *, hello: bool = True) -> None:
        self.client = KeeperClient(connect(exec_root))
        self.events: list[Message] = []
        self.greeting = self.ask("hello", {"protocol": 1}) if hello else None

    def ask(self, op: str, fields: dict[str, Any] | None = None, fds: list[int] | None = None) -> Message:
        """Send a request and wait for its answer; events are kept."""
        seq = self.client.request(op, fields or {}, fds or [])
        return self.until(lambda message: message.fields.get("re") == seq)

    def event(self, name: str, key: str | None = None) -> Message:
        """Wait for an event, or take one that was kept."""
        return self.until(
            lambda message: message.fields.get("event") == name and key in (None, message.fields.get("key"))
        )

    def until(self, wanted: Callable[[Message], bool]) -> Message:
        deadline = time.monotonic() + PATIENCE
        while True:
            for message in self.events:
                if wanted(message):
                    self.events.remove(message)
                    return message
            assert time.monotonic() < deadline, f"the keeper did not say it; it said {self.events}"
            assert not self.client.closed, "the keeper has closed the connection"
            select.select([self.client], [self.client] if self.client.wants_write() else [], [], 1)
            self.client.flush()
            self.events += self.client.receive()

    def launch(
        self,
        key: str,
        argv: list[str],
        log: Path | None = None,
        fds: list[int] | None = None,
        limits: dict[str, Any] | None = None,
        **more: Any,
    ) -> Message:
        """Ask for a process: a container, unless ``kind`` says otherwise."""
        plan = os.memfd_create("plan", os.MFD_CLOEXEC)
        os.write(plan, json.dumps({"argv": argv}).encode())
        fields: dict[str, Any] = {"key": key, "container": key, "kind": "container", "terminal": False, "stdin": False}
        fields["log"] = None if log is None else {"dir": str(log), **(limits or {})}
        try:
            return self.ask("launch", fields | more, [plan, *(fds or [])])
        finally:
            os.close(plan)

    def close(self) -> None:
        for message in self.events:
            for fd in message.fds:
                os.close(fd)
        self.client.close()


class RunningKeeper:
    """A keeper process that can be killed and started again."""

    def __init__(self, exec_root: Path) -> None:
        self.exec_root = exec_root
        self.process: subprocess.Popen[bytes] | None = None
        self.pids: set[int] = set()

    def start(self) -> None:
        with open(self.exec_root / "keeper.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--exec-root", str(self.exec_root)],
                stderr=log,
                env=os.environ | {"PYTHONPATH": SOURCE},
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                connect(self.exec_root).close()
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, (self.exec_root / "keeper.log").read_text()
                time.sleep(0.005)
            else:
                return
        raise AssertionError("the keeper does not answer")

    def kill(self) -> None:
        """As by ``kill -9``."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def records(self) -> Iterator[dict[str, Any]]:
        for path in self.exec_root.glob("containers/*/*process.json"):
            yield json.loads(path.read_text())

    def stop(self) -> None:
        """End the keeper and all that it had started."""
        for record in self.records():
            with suppress(ProcessLookupError, FileNotFoundError):  # it may end between two of these steps
                stat = Path(f"/proc/{record['pid']}/stat").read_text()
                if int(stat.rpartition(")")[2].split()[19]) == record["birth"]:
                    os.kill(record["pid"], signal.SIGKILL)
                    os.killpg(record["pid"], signal.SIGKILL)  # one that was adopted leads no group
        if self.process is not None and self.process.poll() is None:
            self.kill()


def text_of(log: Path, stream: int | None = None) -> bytes:
    """All that is in a log, of one stream or of both."""
    return b"".join(bytes(chunk.data) for chunk in LogReader(log).chunks() if stream in (None, chunk.stream))


if __name__ == "__main__":
    # The keeper hides its descriptors even from its own user; tests that count them run as an ordinary user.
    vars(keeper_main)["set_dumpable"] = lambda _on: None
    sys.exit(keeper_main.main(launcher=PlainLauncher()))
