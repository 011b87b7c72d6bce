"""One process of the keeper: its records on disk, its open descriptors, its exit.

Three records make a process known to a later keeper, all in the container's directory in the exec-root: its
``process.json``, its ``exit.json``, and the FIFOs. The files are renamed into place, so they are there whole or not at
all; they are not synced to disk, because a machine that goes down takes the processes along.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Final, NamedTuple, TypedDict

from wherry.errors import CorruptData, SystemCallError, Unsupported
from wherry.keeper.contract import Child
from wherry.keeper.records import Position
from wherry.keeper.sink import Sink
from wherry.keeper.streams import Output
from wherry.linux.fd import Fd
from wherry.linux.proc import read_stat, start_time
from wherry.linux.process import pidfd_exit_status, pidfd_open

LOST_STATUS: Final = 255
"""Reported for a process whose end nobody saw."""


class LogOptions(TypedDict, total=False):
    """Where a process's output goes."""

    dir: str
    max_size: int | None
    max_files: int | None
    blocking: bool


class Exit(NamedTuple):
    """How a process ended."""

    status: int
    """The exit status; 128 + n for signal n."""
    signal: int
    """The signal that ended it, or 0."""
    at: int
    """When the keeper learnt it, nanoseconds since the epoch."""
    oom: bool | None = None
    """Whether memory ran out in its cgroup; None if that is not known."""
    lost: bool = False
    """Whether nobody saw the end, so that the status is made up."""
    log: Position = Position(1, 0)
    """Where its output ends."""

    @classmethod
    def of(cls, wait_status: int) -> Exit:
        """From a status as waitpid(2) encodes it."""
        signal = wait_status & 0x7F
        return cls(128 + signal if signal else wait_status >> 8 & 0xFF, signal, time.time_ns())

    @classmethod
    def unseen(cls) -> Exit:
        """The exit of a process whose end was not seen."""
        return cls(LOST_STATUS, 0, time.time_ns(), lost=True)

    def fields(self) -> dict[str, Any]:
        """As in messages and in ``exit.json``."""
        fields = self._asdict() | {"log": list(self.log)}
        if not self.lost:
            del fields["lost"]
        if self.oom is None:
            del fields["oom"]
        return fields

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Exit:
        """The opposite of :meth:`fields`."""
        return cls(**{**fields, "log": Position(*fields["log"])})


class Description(NamedTuple):
    """What is written down about a process in ``process.json``."""

    key: str
    container: str
    kind: str
    terminal: bool
    log: LogOptions | None
    pid: int
    start_time: int
    """In clock ticks since boot (`wherry.linux.proc`); on disk and in messages its name is ``birth``."""
    started: int
    """When the keeper started it, nanoseconds since the epoch."""
    cgroup: str | None = None

    def fields(self) -> dict[str, Any]:
        """As in ``process.json``."""
        fields = self._asdict()
        fields["birth"] = fields.pop("start_time")
        return fields

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Description:
        """The opposite of :meth:`fields`."""
        return cls(**{"start_time" if name == "birth" else name: value for name, value in fields.items()})


class Process:
    """A process and everything that the keeper holds for it.

    :param directory: the container's, in the exec-root.
    """

    __slots__ = (
        "child",
        "description",
        "directory",
        "ending",
        "exit",
        "is_among_others",
        "master",
        "outputs",
        "pidfd",
        "root",
        "sink",
        "stdin",
    )

    def __init__(self, description: Description, directory: str) -> None:
        self.description = description
        self.directory: Final = directory
        self.pidfd: Fd | None = None
        self.master: Fd | None = None
        self.stdin: Fd | None = None
        self.root: Fd | None = None
        """The mount of its root, until the daemon has it."""
        self.sink: Sink | None = None
        self.outputs: list[Output] = []
        self.child: Child | None = None
        """While it is on its way to its program."""
        self.is_among_others = False
        """Whether it comes into a container that runs already, or is in it; who is there can stop it, and trace it."""
        self.ending: Exit | None = None
        """Known, and not reported yet: its last output is still being written."""
        self.exit: Exit | None = None

    @property
    def key(self) -> str:
        """Its name among processes."""
        return self.description.key

    @property
    def log(self) -> list[int] | None:
        """The end of its log as in messages; None if it has no log."""
        if self.exit is not None:
            return list(self.exit.log)
        return None if self.sink is None else list(self.sink.position)

    def held_fds(self) -> list[int]:
        """The pidfd and, if there is one, the terminal's master: what wherryd gets duplicates of."""
        return [fd.fileno() for fd in (self.pidfd, self.master) if fd is not None and not fd.closed]

    def summary(self) -> dict[str, Any]:
        """The process in the answer to ``hello``."""
        wanted = ("key", "container", "kind", "terminal", "pid", "birth", "started")
        described = self.description.fields()
        ended = None if self.exit is None else self.exit.fields()
        return {name: described[name] for name in wanted} | {"exited": ended, "log": self.log}

    def state(self) -> dict[str, Any]:
        """What the next program image needs to know of it; descriptors as numbers."""
        fds = {name: getattr(self, name) for name in ("pidfd", "master", "stdin")}
        sink = self.sink
        return {
            "description": self.description.fields(),
            "exit": self.exit and self.exit.fields(),
            "ending": self.ending and self.ending.fields(),
            "fds": {name: None if fd is None else fd.fileno() for name, fd in fds.items()},
            "outputs": {output.stream: output.fileno() for output in self.outputs if self.master is None},
            "waiting": [] if sink is None else [(stream, data.decode("latin-1")) for stream, data in sink.waiting],
            "dropped": 0 if sink is None else sink.dropped,
            "hold": None if sink is None else sink.held,
        }

    def close(self) -> None:
        """Close everything that is held for it."""
        for output in self.outputs:
            output.close()
        for fd in (self.pidfd, self.master, self.stdin, self.root, self.child):
            if fd is not None:
                fd.close()
        if self.sink is not None:
            self.sink.close()
        self.outputs, self.child, self.sink = [], None, None
        self.pidfd = self.master = self.stdin = self.root = None


# ------------------------------------------------------------------------------------------------------------ records


class Files:
    """The records of one process.

    :param directory: the container's, in the exec-root.
    """

    def __init__(self, directory: str, key: str, kind: str) -> None:
        prefix = "" if kind == "container" else f"exec-{key}."
        self.process: Final = os.path.join(directory, prefix + "process.json")
        self.exit: Final = os.path.join(directory, prefix + "exit.json")

    @classmethod
    def of(cls, process: Process) -> Files:
        """Those of a process that is known."""
        return cls(process.directory, process.key, process.description.kind)

    def write_process(self, description: Description) -> None:
        """Make the process known to a later keeper."""
        write_json(self.process, description.fields())

    def write_exit(self, ended: Exit) -> None:
        """Make its end known."""
        write_json(self.exit, ended.fields())

    def read_exit(self) -> Exit | None:
        """Its end, if that was recorded."""
        fields = read_json(self.exit)
        return None if fields is None else Exit.from_fields(fields)

    def remove(self) -> None:
        """Remove the records. The description goes last: without it the others would not be found."""
        for path in (self.exit, self.process):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue


def described_in(directory: str) -> list[Description]:
    """The processes that an earlier keeper has written down in a container's directory."""
    found = []
    for name in sorted(os.listdir(directory)):
        if name == "process.json" or (name.startswith("exec-") and name.endswith(".process.json")):
            fields = read_json(os.path.join(directory, name))
            if fields is not None:
                found.append(Description.from_fields(fields))
    return found


def write_json(path: str, fields: dict[str, Any]) -> None:
    """Write a small file so that it is there whole or not at all."""
    unfinished = path + ".new"
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        data = json.dumps(fields, separators=(",", ":")).encode()
        if os.write(fd, data) < len(data):
            raise OSError(28, os.strerror(28), unfinished)
    finally:
        os.close(fd)
    os.rename(unfinished, path)  # from here on it counts


def read_json(path: str) -> dict[str, Any] | None:
    """The object in a file; None if there is no such file.

    :raises CorruptData: something else has written there.
    """
    try:
        with open(path, "rb") as file:
            fields = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptData(f"{path!r} holds no JSON", cause=str(error)) from error
    if not isinstance(fields, dict):
        raise CorruptData(f"{path!r} holds no JSON object")
    return fields


# --------------------------------------------------------------------------------------------------- the kernel's view


def pidfd_of(description: Description) -> Fd | None:
    """A pidfd of exactly the process that was described; None if it is gone."""
    try:
        pidfd = pidfd_open(description.pid)
    except SystemCallError:
        return None
    # Asked after opening: from here on the number cannot pass to another process unnoticed.
    return pidfd if start_time(description.pid) == description.start_time else None


def pid_of(pidfd: Fd) -> int | None:
    """The process ID behind a pidfd; None when the process was reaped."""
    with open(f"/proc/self/fdinfo/{pidfd.fileno()}", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pid:"):
                pid = int(line.split()[1])
                return pid if pid > 0 else None
    return None


def wait_status(pidfd: Fd, pid: int, started: int) -> int | None:
    """How a process ended, as waitpid(2) encodes it; None as long as that is not known. Reaps it if it is a child.

    Of another's child the kernel tells it through the pidfd once it was reaped (Linux 6.15), and through
    ``/proc/<pid>/stat`` (field 52) until then.

    :param started: its start time: the number may be another process's by now.
    """
    try:
        found = os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return _status_of_other(pidfd, pid, started)
    if found is None:
        return None
    return found.si_status << 8 if found.si_code == os.CLD_EXITED else found.si_status


def _status_of_other(pidfd: Fd, pid: int, started: int) -> int | None:
    stat = read_stat(pid)
    if stat is not None and stat.start_time == started and stat.state in ("Z", "X"):
        return stat.exit_status
    try:
        return pidfd_exit_status(pidfd)
    except (Unsupported, SystemCallError):
        return None
