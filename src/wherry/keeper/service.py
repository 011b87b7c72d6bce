"""The keeper itself: answers the daemon's requests, and tells it what happens to its processes."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from wherry import __version__
from wherry.errors import Conflict, InvalidInput, WherryError
from wherry.keeper.connection import Connection
from wherry.keeper.launcher import Launcher
from wherry.keeper.loop import Loop, Timer, report_fault
from wherry.keeper.process import Process
from wherry.keeper.processes import Processes
from wherry.keeper.protocol import PROTOCOL, Request
from wherry.keeper.upgrade import Reexecute
from wherry.linux.fd import Fd

PAGE: Final = 64
"""Processes in one message of the answer to ``hello``: some 300 bytes each, so a page is far below the limit."""
WARM_UP: Final = 0.002
"""Seconds after a start before the next one is prepared for: what the first has to tell comes first."""
WARM: Final = 10.0
"""Seconds after a start for which the beginning of another one is kept ready; it costs memory, so not for ever."""
LARGEST_PLAN: Final = 16 * 1024 * 1024
"""Bytes of a plan at most; a container with 1000 mounts needs a few hundred kilobytes."""

_UCRED: Final = struct.Struct("iII")
Fields = dict[str, Any]


class Call(NamedTuple):
    """A request, where it came from, and the owners of what came with it; what nobody takes is closed with the call."""

    connection: Connection
    seq: int
    fields: Fields
    fds: list[Fd]

    def answer(self, fields: Fields | None = None, fds: Sequence[int] = ()) -> None:
        """Send the answer; the descriptors stay the caller's."""
        self.connection.send({"re": self.seq, **(fields or {})}, fds)


class Keeper:
    """Serves one exec-root.

    :param exec_root: the directory, which nobody but the owner may enter.
    :param launcher: starts programs.
    :param listener: the socket ``keeper.sock``.
    :param reexecute: replaces the program image; it gets what :meth:`resume` needs.
    """

    def __init__(self, exec_root: str, launcher: Launcher, listener: socket.socket, reexecute: Reexecute) -> None:
        self.loop: Final = Loop(self._after_round)
        self.processes: Final = Processes(
            exec_root, launcher, self.loop, on_exit=self._tell_exit, on_growth=self._on_growth
        )
        self._launcher: Final = launcher
        self._cooling: Timer | None = None
        self._listener: Final = listener
        self._reexecute: Final = reexecute
        self._connection: Connection | None = None
        self._strangers: Final[set[Connection]] = set()
        """Connections that did not say hello yet."""
        self._upgrade: int | None = None
        """The sequence number of an accepted ``upgrade``."""
        self._operations: Final[dict[str, Callable[[Call], None]]] = {
            "hello": self._hello,
            "launch": self._launch,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "close-stdin": self._close_stdin,
            "forget": self._forget,
            "adopt": self._adopt,
            "upgrade": self._begin_upgrade,
            "shutdown": self._shutdown,
        }
        self.loop.watch(listener.fileno(), self._on_connect)

    def run(self) -> None:
        """Serve until ``shutdown``."""
        self.loop.run()

    # --- connections ----------------------------------------------------------------------------------------------

    def _on_connect(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        if not _may_talk(sock):
            sock.close()
            return
        connection = Connection(sock, self.loop, self._on_request, self._on_gone)
        self._strangers.add(connection)
        connection.start()

    def _on_gone(self, connection: Connection) -> None:
        self._strangers.discard(connection)
        if connection is self._connection:
            self._connection = None

    def _on_request(self, connection: Connection, request: Request) -> None:
        """Carry out a request; whatever goes wrong becomes its answer."""
        call = Call(connection, request.seq, request.fields, [Fd(fd) for fd in request.fds])
        try:
            self._operations[request.op](call)
        except (WherryError, OSError) as error:
            connection.refuse(request.seq, error)
        except Exception as error:
            # A fault of ours in one request: the asker must not wait for ever, and the keeper must go on.
            report_fault()
            connection.refuse(request.seq, error)

    def _hello(self, call: Call) -> None:
        """Greet a daemon, which takes over from the one before, and tell it all there is."""
        former, self._connection = self._connection, call.connection
        self._strangers.discard(call.connection)
        if former is not None:
            former.close()
        rows = [process.summary() for process in self.processes]
        while len(rows) > PAGE:
            call.answer({"processes": rows[:PAGE], "more": True})
            del rows[:PAGE]
        call.answer({"protocol": PROTOCOL, "pid": os.getpid(), "version": __version__, "processes": rows})
        for process in self.processes.running:
            call.connection.send({"event": "process", "key": process.key}, process.held_fds())

    # --- requests -------------------------------------------------------------------------------------------------

    def _launch(self, call: Call) -> None:
        plan_fd, *stdio = call.fds
        streams = (stdio[0], stdio[1], stdio[2]) if stdio else None
        plan = _content(plan_fd)
        plan_fd.close()
        self.processes.start(call.fields, plan, streams, lambda process, error: self._launched(call, process, error))

    def _launched(self, call: Call, process: Process, error: Fields | None) -> None:
        if error is None:
            described = process.description
            answer = {"pid": described.pid, "birth": described.birth, "started": described.started}
            root, process.root = process.root, None
            if root is None:
                call.answer(answer, process.held_fds())
            else:
                with root:  # its end may take long, so that it is not this process that should see to it
                    call.answer({**answer, "root": True}, [*process.held_fds(), root.fileno()])
            self._keep_warm()
        elif call.connection.closed:
            self.processes.end_unanswered(process, error)
        else:
            call.answer({"error": error})

    def _keep_warm(self) -> None:
        """Where one process was started there will be more: the next one is begun now, and kept for a while."""
        self.loop.later(WARM_UP, self._warm_up)
        if self._cooling is not None:
            self._cooling.cancel()
        self._cooling = self.loop.later(WARM, self._launcher.cool_down)

    def _warm_up(self) -> None:
        """Begin the next start, unless others are under way: those shall have the processors."""
        if not any(process.child is not None for process in self.processes):
            self._launcher.warm_up()

    def _watch(self, call: Call) -> None:
        process = self.processes[call.fields["key"]]
        if process.exit is None:
            call.connection.watched.add(process.key)
        call.answer({"log": process.log})

    def _unwatch(self, call: Call) -> None:
        process = self.processes[call.fields["key"]]
        call.connection.stop_telling([process.key])
        call.answer({"log": process.log})

    def _close_stdin(self, call: Call) -> None:
        self.processes.close_stdin(call.fields["key"])
        call.answer()

    def _forget(self, call: Call) -> None:
        self.processes.forget(call.fields["key"])
        call.connection.stop_telling([call.fields["key"]])
        call.answer()

    def _adopt(self, call: Call) -> None:
        pidfd, *rest = call.fds
        self.processes.adopt(call.fields, pidfd, rest[0] if rest else None)
        call.answer()

    def _shutdown(self, call: Call) -> None:
        running = self.processes.running
        if running:
            raise Conflict(f"the keeper has {len(running)} running processes", hint="stop them first")
        call.answer()
        self._launcher.cool_down()
        self.loop.stop()

    # --- events ---------------------------------------------------------------------------------------------------

    def _on_growth(self, key: str) -> None:
        if self._connection is not None:
            self._connection.grew(key)

    def _tell_exit(self, process: Process) -> None:
        if self._connection is None or process.exit is None:
            return
        self._connection.stop_telling([process.key])
        described = process.description
        event = {"event": "exited", "key": described.key, "container": described.container, "kind": described.kind}
        self._connection.send(event | process.exit.fields())

    def _after_round(self) -> None:
        if self._connection is not None:
            self._connection.tell_grown(self.processes.position)
        if self._upgrade is not None:
            self._try_upgrade()

    # --- re-execution ---------------------------------------------------------------------------------------------

    def _begin_upgrade(self, call: Call) -> None:
        """Read no more requests; the rest follows when everything at hand is finished."""
        self._upgrade = call.seq
        call.connection.paused = True
        call.connection.start()

    def _try_upgrade(self) -> None:
        connection = self._connection
        if connection is None:
            self._upgrade = None  # who asked for it has gone, and may ask again
            return
        if not connection.is_flushed or any(process.child is not None for process in self.processes):
            return
        self._launcher.cool_down()
        state = {
            "processes": self.processes.state(),
            "connection": connection.fileno(),
            "watched": sorted(connection.watched),
            "seq": self._upgrade,
            "last_seq": connection.side.last_seq,
            "listener": self._listener.fileno(),
        }
        fds = [connection.fileno(), self._listener.fileno()]
        for process in self.processes.running:
            fds += process.held_fds() + [output.fileno() for output in process.outputs]
            fds += [] if process.stdin is None else [process.stdin.fileno()]
        try:
            self._reexecute(state, fds)
        except OSError as error:
            refused, self._upgrade = self._upgrade, None
            connection.paused = False
            connection.refuse(refused, error)
            connection.start()

    def resume(self, state: Fields) -> None:
        """Go on where the former program image stopped."""
        self._connection = connection = Connection(
            socket.socket(fileno=state["connection"]), self.loop, self._on_request, self._on_gone
        )
        connection.side.resume(state["last_seq"])
        connection.watched.update(state["watched"])
        self.processes.resume(state["processes"])
        connection.start()
        connection.send(
            {"event": "ready", "re": state["seq"], "protocol": PROTOCOL, "pid": os.getpid(), "version": __version__}
        )


def _may_talk(sock: socket.socket) -> bool:
    """Only root and the keeper's own user may; the directory's mode says so as well."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return uid in (0, os.geteuid())


def _content(fd: Fd) -> bytes:
    """What a memfd holds.

    :raises InvalidInput: it is too large to be a plan.
    """
    size = os.fstat(fd.fileno()).st_size
    if not 0 < size <= LARGEST_PLAN:
        raise InvalidInput(f"a plan of {size} bytes")
    return os.pread(fd.fileno(), size, 0)
