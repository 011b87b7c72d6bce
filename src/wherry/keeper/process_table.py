"""All processes of the keeper: start, adopt, watch, and remember them until ``forget``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from wherry.errors import Conflict, InvalidInput, NotFound, WherryError
from wherry.keeper import streams
from wherry.keeper.awaiting_exec import Done, StartingChildren
from wherry.keeper.contract import Launcher
from wherry.keeper.failed_children import clean_up, clean_up_later, kill_child
from wherry.keeper.log_writer import LogWriter
from wherry.keeper.loop import Loop, report_fault, say
from wherry.keeper.process import (
    Description,
    Exit,
    Files,
    LogOptions,
    Process,
    described_in,
    pid_of,
    pidfd_of,
    wait_status,
)
from wherry.keeper.reaper import Reaper
from wherry.keeper.records import STDOUT, Position
from wherry.keeper.sink import Sink
from wherry.keeper.streams import Output
from wherry.linux.fd import Fd
from wherry.linux.proc import start_time

PATIENCE: Final = 10.0
"""Seconds for which the report of an exit waits for room on the disk; then the rest of the output is given up."""
GRACE: Final = 10.0
"""Seconds that a new keeper waits for the daemon to say what attached clients have not got yet, before it drops any."""
STATUS_RETRY: Final = 0.02
"""Seconds between two questions for the status of another's child: it is known once that other has reaped it."""
STATUS_TRIES: Final = 100

_FAILED_STATUS: Final = {"command-not-found": 127, "command-not-executable": 126}

Fields = dict[str, Any]


class ProcessTable:
    """All processes by key.

    :param exec_root: holds a directory for each container.
    :param on_exit: called when a process has ended, and its output is written; whether the daemon has been told.
    :param on_growth: called with the key of a process whose log grew.
    """

    def __init__(
        self,
        exec_root: str,
        launcher: Launcher,
        loop: Loop,
        *,
        on_exit: Callable[[Process], bool],
        on_growth: Callable[[str], None],
    ) -> None:
        self._root: Final = os.path.join(exec_root, "containers")
        self._launcher: Final = launcher
        self._loop: Final = loop
        self._on_exit: Final = on_exit
        self._on_growth: Final = on_growth
        self._known: Final[dict[str, Process]] = {}
        self._arrivals: Final = StartingChildren(
            loop, lambda: self, terminal=self._take_terminal, arrived=self._watch, failed=self._abort
        )
        self._reaper: Final = Reaper(loop, lambda: self)
        self._scratch: Final = memoryview(bytearray(streams.CHUNK))

    def __iter__(self) -> Iterator[Process]:
        return iter(self._known.values())

    def __getitem__(self, key: str) -> Process:
        """The process with this key.

        :raises NotFound: there is none.
        """
        try:
            return self._known[key]
        except KeyError:
            raise NotFound(f"the keeper has no process {key!r}") from None

    @property
    def running(self) -> list[Process]:
        """Those that have not ended."""
        return [process for process in self if process.exit is None]

    def position(self, key: str) -> list[int] | None:
        """The end of a process's log, as in messages."""
        process = self._known.get(key)
        return None if process is None else process.log

    def listen(self) -> None:
        """Start reaping children that the keeper has not started."""
        self._reaper.listen()

    # --- starting -------------------------------------------------------------------------------------------------

    def start(self, fields: Fields, plan: bytes, stdio: tuple[Fd, Fd, Fd] | None, done: Done) -> None:
        """Start a process.

        :param fields: of the request ``launch``.
        :param stdio: the streams that an exec without terminal brings along.
        :param done: called once, with the error if there is one: when the program runs, or will not.
        :raises WherryError: nothing was started.
        :raises OSError: nothing was started.
        """
        key, container, kind = fields["key"], fields["container"], fields["kind"]
        terminal: bool = fields.get("terminal", False)
        if key in self._known:
            raise Conflict(f"process {key!r} is known already", hint="it is forgotten on demand only")
        directory = self._directory(container)
        sink = self._sink(key, fields.get("log"))
        if sink is not None:
            sink.hold(fields.get("hold"))
        fifos = None
        try:
            if kind == "container" and not terminal:
                fifos = streams.make_fifos(directory, stdin=fields.get("stdin", False))
                stdio = fifos.theirs
            child = self._launcher.launch(plan, stdio, tuple(fields["size"]) if fields.get("size") else None)
        except BaseException:
            if kind == "container":
                streams.remove_fifos(directory)
            raise
        for fd in stdio or ():
            fd.close()
        birth = 0 if child.is_among_others else start_time(child.pid) or 0  # another process takes its place
        description = Description(
            key, container, kind, terminal, fields.get("log"), child.pid, birth, time.time_ns(), child.cgroup
        )
        process = Process(description, directory)
        process.child, process.pidfd, process.sink = child, child.pidfd, sink
        process.is_among_others = child.is_among_others
        if fifos is not None:
            process.stdin = fifos.stdin
            self._read(process, fifos.ours)
        self._known[key] = process
        if not child.is_among_others:  # else the program's process is recorded, when it is there
            self._record_or_kill(process)
        self._arrivals.follow(process, child, done)

    def _record_or_kill(self, process: Process) -> None:
        """A process that no later keeper would know of must not run."""
        try:
            Files.of(process).write_process(process.description)
        except OSError:
            self._abort(process, False)
            raise

    def _abort(self, process: Process, leaves: bool) -> None:
        """Put an end to a child that did not get to its program, and to everything made for it.

        :param leaves: whether it leaves by itself.
        """
        child, left = process.child, kill_child(process, wait=leaves and not process.is_among_others)
        self._reaper.soon()
        self._drop(process)
        if child is not None and left is None:
            clean_up(child)
        elif child is not None and left is not None:
            clean_up_later(child, left, self._loop, lambda: process.key not in self._known)

    def give_up_births(self) -> None:
        """Give up processes that are held up while they enter running containers."""
        for process in list(self):
            if process.is_among_others:
                self._arrivals.give_up(process)

    def give_up_starts(self) -> None:
        """Give up every process that has not executed its program yet."""
        for process in list(self):
            self._arrivals.give_up(process)

    def end_unanswered(self, process: Process, error: Fields) -> None:
        """Keep the failure of a start for the next daemon, because the one that asked is gone."""
        status = _FAILED_STATUS.get(error.get("kind", ""), 128)
        process.exit = Exit(status, 0, time.time_ns())
        self._known[process.key] = process
        Files.of(process).write_process(process.description)
        Files.of(process).write_exit(process.exit)
        self._on_exit(process)

    # --- streams --------------------------------------------------------------------------------------------------

    def _sink(self, key: str, log: LogOptions | None) -> Sink | None:
        if log is None:
            return None
        writer = LogWriter(log["dir"], max_size=log.get("max_size"), max_files=log.get("max_files"))
        return Sink(writer, self._loop, blocking=log.get("blocking", True), grew=lambda: self._on_growth(key))

    def _read(self, process: Process, outputs: dict[int, Fd]) -> None:
        """Begin to read streams into the process's log."""
        assert process.sink is not None
        for stream, fd in outputs.items():
            output = Output(fd, stream, process.sink, self._loop, self._scratch)
            process.outputs.append(output)
            output.start()

    def _take_terminal(self, process: Process, master: Fd) -> None:
        """Hold a terminal's master; a container's is read, an exec's is the daemon's to read."""
        process.master = master
        if process.description.kind == "container":
            self._read(process, {STDOUT: master})

    def close_stdin(self, key: str) -> None:
        """Close the writing end of a container's standard input for good.

        :raises NotFound: there is no such process.
        """
        process = self[key]
        if process.stdin is not None:
            process.stdin.close()
            process.stdin = None
        if process.description.kind == "container":
            streams.remove_stdin(process.directory)

    def hold(self, key: str, segment: int | None) -> None:
        """Keep what attached clients have not got: the segments after this one.

        :raises NotFound: there is no such process.
        """
        sink = self[key].sink
        if sink is not None:
            sink.hold(segment)

    def hold_nothing(self) -> None:
        """Release all held segments: the daemon and its clients are gone."""
        for process in self.running:
            if process.sink is not None:
                process.sink.hold(None)

    # --- the end --------------------------------------------------------------------------------------------------

    def _watch(self, process: Process) -> None:
        assert process.pidfd is not None
        self._loop.watch(process.pidfd.fileno(), lambda _: self._on_end(process))

    def _on_end(self, process: Process, tries: int = STATUS_TRIES) -> None:
        """A process has ended; learn how."""
        if process.pidfd is None or process.ending is not None:
            return
        self._loop.unwatch(process.pidfd.fileno())
        status = wait_status(process.pidfd, process.description.pid, process.description.start_time)
        if status is None and tries:
            self._loop.later(STATUS_RETRY, lambda: self._on_end(process, tries - 1))
            return
        self.end(process, Exit.unseen() if status is None else Exit.of(status))
        self._reaper.reap()

    def end(self, process: Process, ending: Exit) -> None:
        """Write down the last output of a process, then report its end."""
        cgroup = process.description.cgroup
        oom = self._launcher.was_out_of_memory(cgroup) if cgroup is not None else None
        process.ending = ending._replace(oom=oom)
        if process.sink is not None:
            process.sink.finish()
        if not self._drain(process) and process.sink is not None:
            self._loop.later(PATIENCE, lambda: self._give_up(process))

    def _drain(self, process: Process) -> bool:
        """Read what is left and report; False when the disk is full: then it happens as soon as there is room."""
        sink = process.sink
        drained = all(output.drain() for output in process.outputs)
        if sink is not None and (sink.blocked or not drained):
            sink.on_room.append(lambda: self._drain_again(process))
            return False
        self._report(process)
        return True

    def _drain_again(self, process: Process) -> None:
        if process.exit is None:
            self._drain(process)

    def _give_up(self, process: Process) -> None:
        if process.exit is None and process.sink is not None:
            say(f"{process.key}: the disk is full, the rest of the output is dropped")
            process.sink.give_up()
            self._report(process)

    def _report(self, process: Process) -> None:
        assert process.ending is not None
        sink = process.sink
        process.close()
        position = Position(1, 0) if sink is None else sink.position
        process.exit, process.ending = process.ending._replace(log=position), None
        if process.description.kind == "exec" and self._on_exit(process):
            self._drop(process)  # it is remembered by the daemon that it was for, and by no other
            return
        try:
            Files.of(process).write_exit(process.exit)
        except OSError:
            report_fault()  # who listens now shall know it all the same
        if process.description.kind != "exec":
            self._on_exit(process)

    def forget(self, key: str) -> None:
        """Remove what was recorded of a process that has ended.

        :raises NotFound: there is no such process.
        :raises Conflict: it is running.
        """
        process = self[key]
        if process.exit is None:
            raise Conflict(f"process {key!r} is running")
        self._drop(process)

    def _drop(self, process: Process) -> None:
        self._known.pop(process.key, None)
        process.close()
        if not os.path.lexists(process.directory):
            return  # the daemon was faster
        if process.description.kind == "container":
            streams.remove_fifos(process.directory)
        Files.of(process).remove()

    # --- taking over ----------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take over what an earlier keeper has left in the exec-root."""
        try:
            names = sorted(os.listdir(self._root))
        except FileNotFoundError:
            return
        for name in names:
            directory = os.path.join(self._root, name)
            try:
                for description in described_in(directory):
                    self._restore(description, directory)
            except (OSError, ValueError, TypeError, WherryError):
                report_fault()  # a damaged record of one container does not keep us from the others

    def _restore(self, description: Description, directory: str) -> None:
        process = Process(description, directory)
        self._known[description.key] = process
        process.exit = Files.of(process).read_exit()
        if process.exit is None and (pidfd := pidfd_of(description)) is not None:
            self._revive(process, pidfd)
            if process.sink is not None:
                process.sink.hold_all(GRACE)
        elif process.exit is None:
            # Not recorded: the daemon may hold a pidfd that tells more (`adopt`).
            outputs = streams.reopen_fifos(directory)[0] if description.kind == "container" else {}
            process.exit = Exit.unseen()._replace(log=self._salvage(process, outputs))

    def _salvage(self, process: Process, outputs: dict[int, Fd]) -> Position:
        """Write down what a process that has ended has left in its streams; gives the end of its log.

        A FIFO has something left only if somebody, that is the daemon, has held it open meanwhile.
        """
        sink = self._sink(process.key, process.description.log)
        if sink is None:
            return Position(1, 0)
        sink.hold(0)
        sink.finish()
        for stream, fd in outputs.items():
            output = Output(fd, stream, sink, self._loop, self._scratch)
            output.drain()
            output.close()
        sink.give_up()
        return sink.position

    def _revive(self, process: Process, pidfd: Fd, master: Fd | None = None) -> None:
        """Hold again what an earlier keeper held for a process."""
        process.pidfd, process.exit = pidfd, None
        process.sink = self._sink(process.key, process.description.log)
        if process.description.kind == "container" and not process.description.terminal:
            outputs, process.stdin = streams.reopen_fifos(process.directory)
            self._read(process, outputs)
        if master is not None:
            self._take_terminal(process, master)
        self._watch(process)

    def adopt(self, fields: Fields, pidfd: Fd, master: Fd | None) -> Process:
        """Take over a process, or learn more about one, with the daemon's duplicates of its descriptors.

        :param fields: of the request ``adopt``.
        :raises InvalidInput: a process that was reaped, of which nothing is recorded and nothing can be learnt.
        """
        process = self._known.get(fields["key"])
        if process is None:
            process = self._adopt_unknown(fields, pidfd, master)
        elif process.exit is None and master is not None and process.master is None:
            self._take_terminal(process, master)
        elif process.exit is not None and process.exit.lost:
            self._learn(process, pidfd, master)
        elif process.exit is not None:
            self._read_late(process, master)
        if "hold" in fields:
            self.hold(process.key, fields["hold"])
        return process

    def _adopt_unknown(self, fields: Fields, pidfd: Fd, master: Fd | None) -> Process:
        pid = pid_of(pidfd) or 0
        ticks = (start_time(pid) if pid else 0) or 0
        started = fields.get("started") or time.time_ns()
        terminal = fields.get("terminal", False)
        description = Description(
            fields["key"], fields["container"], fields["kind"], terminal, fields.get("log"), pid, ticks, started
        )
        process = Process(description, self._directory(fields["container"]))
        if not pid and wait_status(pidfd, 0, -1) is None:
            raise InvalidInput(f"process {process.key!r} has ended, and nobody knows how")
        self._known[process.key] = process
        Files.of(process).write_process(description)
        self._revive(process, pidfd, master)
        return process

    def _learn(self, process: Process, pidfd: Fd, master: Fd | None) -> None:
        """Replace a made-up exit by the real one, if the kernel still has it; read the terminal's last output."""
        self._read_late(process, master)
        assert process.exit is not None
        status = wait_status(pidfd, process.description.pid, process.description.start_time)
        if status is None:
            return
        process.exit = Exit.of(status)._replace(log=process.exit.log)
        Files.of(process).write_exit(process.exit)
        self._on_exit(process)

    def _read_late(self, process: Process, master: Fd | None) -> None:
        """Read what the terminal of a process that has ended still has: it ended before the daemon could hand it over.

        Perhaps after this keeper had begun; then its end has been told, with a log that was shorter.
        """
        assert process.exit is not None
        if master is not None and process.description.kind == "container":
            process.exit = process.exit._replace(log=self._salvage(process, {STDOUT: master}))

    # --- re-execution ---------------------------------------------------------------------------------------------

    def state(self) -> list[Fields]:
        """Everything that the next program image needs; descriptors as numbers."""
        return [process.state() for process in self]

    def resume(self, states: list[Fields]) -> None:
        """Go on with the processes of the former program image."""
        for state in states:
            description = Description.from_fields(state["description"])
            process = Process(description, self._directory(description.container))
            self._known[process.key] = process
            if state["exit"] is not None:
                process.exit = Exit.from_fields(state["exit"])
            else:
                self._resume_running(process, state)
        self._reaper.reap()

    def _resume_running(self, process: Process, state: Fields) -> None:
        fds = {name: None if fd is None else Fd(fd) for name, fd in state["fds"].items()}
        process.pidfd, process.master, process.stdin = fds["pidfd"], fds["master"], fds["stdin"]
        process.sink = self._sink(process.key, process.description.log)
        if process.sink is not None:
            process.sink.hold(state.get("hold"))
            process.sink.dropped = state["dropped"]
            for stream, data in state["waiting"]:
                process.sink.take(stream, memoryview(data.encode("latin-1")))
        if process.master is not None:
            self._take_terminal(process, process.master)
        if state["outputs"]:
            self._read(process, {int(stream): Fd(fd) for stream, fd in state["outputs"].items()})
        if state["ending"] is not None:
            self.end(process, Exit.from_fields(state["ending"]))
        else:
            self._watch(process)

    def _directory(self, container: str) -> str:
        directory = os.path.join(self._root, container)
        if not os.path.isdir(directory):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        return directory
