"""The keeper's main object: it answers the daemon's requests, and sends it events about its processes."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from wherry import __version__
from wherry.errors import Conflict, InvalidInput, WherryError
from wherry.keeper.connection import Connection
from wherry.keeper.contract import Launcher
from wherry.keeper.loop import Loop, Timer, report_fault, say
from wherry.keeper.process import Process
from wherry.keeper.process_table import ProcessTable
from wherry.keeper.protocol import PROTOCOL, Request
from wherry.keeper.upgrade import Reexecute
from wherry.linux.fd import Fd

PAGE: Final = 64
"""Processes in one message of the answer to ``hello``: some 300 bytes each, so a page is far below the limit."""
WARM_UP: Final = 0.002
"""Seconds after a start before the next one is prepared for: the reports of the first are read first."""
WARM: Final = 10.0
"""Seconds after a start for which the beginning of another one is kept ready; it costs memory, so not for ever."""
PATIENCE_FOR_BIRTHS: Final = 2.0
"""Seconds for which an upgrade waits for processes that come into containers: who is there could hold them up."""
PATIENCE_FOR_STARTS: Final = 10.0
"""Seconds for which an upgrade waits for containers that start: what they were given may not answer."""
MOST_HELD: Final = 4
"""Descriptors that are held for the daemon at most."""
ALONE: Final = 30.0
"""Seconds without a daemon after which a keeper of nothing ends: a daemon that is started again is back by then."""
LARGEST_PLAN: Final = 16 * 1024 * 1024
"""Bytes of a plan at most; a container with 1000 mounts needs a few hundred kilobytes."""

_UCRED: Final = struct.Struct("iII")
Fields = dict[str, Any]


class Call(NamedTuple):
    """A request, its connection, and its descriptors; those that no handler takes are closed with it."""

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
        self.processes: Final = ProcessTable(
            exec_root, launcher, self.loop, on_exit=self._send_exit, on_growth=self._on_growth
        )
        self._launcher: Final = launcher
        self._cooling: Timer | None = None
        self._listener: Final = listener
        self._reexecute: Final = reexecute
        self._connection: Connection | None = None
        self._ungreeted: Final[set[Connection]] = set()
        """Connections that have not sent ``hello`` yet."""
        self._held: Final[dict[str, Fd]] = {}
        """What the daemon has deposited, by name: it lives on while no daemon runs."""
        self._upgrade: int | None = None
        """The sequence number of an accepted ``upgrade``."""
        self._operations: Final[dict[str, Callable[[Call], None]]] = {
            "hello": self._hello,
            "launch": self._launch,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "hold": self._hold,
            "close-stdin": self._close_stdin,
            "forget": self._forget,
            "adopt": self._adopt,
            "keep": self._keep,
            "kept": self._kept,
            "upgrade": self._begin_upgrade,
            "shutdown": self._shutdown,
        }
        self.loop.watch(listener.fileno(), self._on_connect)
        self.processes.listen()

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
        self._ungreeted.add(connection)
        connection.start()

    def _on_gone(self, connection: Connection) -> None:
        self._ungreeted.discard(connection)
        if connection is self._connection:
            self._connection = None
            self.loop.later(ALONE, self._end_alone)
            self.processes.hold_nothing()

    def _end_alone(self) -> None:
        """End when there are no processes and no daemon; records of exited processes are on disk."""
        self._on_connect(0)  # somebody may just be coming
        if self._connection is None and not self._ungreeted and not self.processes.running:
            say("no processes and no daemon: the keeper ends")
            self.loop.stop()

    def _on_request(self, connection: Connection, request: Request) -> None:
        """Carry out a request; an error becomes its answer."""
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
        """Greet a daemon, which takes over from the one before, and list all processes."""
        former, self._connection = self._connection, call.connection
        self._ungreeted.discard(call.connection)
        if former is not None:
            former.close()
            self.processes.hold_nothing()
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
            answer = {"pid": described.pid, "birth": described.start_time, "started": described.started}
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
        """Begin the next start, unless others are under way: those shall have the processors.

        Not what comes into a container that runs: it may be held up there for ever.
        """
        if not any(process.child is not None and not process.is_among_others for process in self.processes):
            self._launcher.warm_up()

    def _watch(self, call: Call) -> None:
        process = self.processes[call.fields["key"]]
        if process.exit is None:
            call.connection.watched.add(process.key)
        call.answer({"log": process.log})

    def _unwatch(self, call: Call) -> None:
        process = self.processes[call.fields["key"]]
        call.connection.unwatch([process.key])
        call.answer({"log": process.log})

    def _hold(self, call: Call) -> None:
        self.processes.hold(call.fields["key"], call.fields["segment"])
        call.answer()

    def _close_stdin(self, call: Call) -> None:
        self.processes.close_stdin(call.fields["key"])
        call.answer()

    def _forget(self, call: Call) -> None:
        self.processes.forget(call.fields["key"])
        call.connection.unwatch([call.fields["key"]])
        call.answer()

    def _adopt(self, call: Call) -> None:
        pidfd, *rest = call.fds
        self.processes.adopt(call.fields, pidfd, rest[0] if rest else None)
        call.answer()

    def _keep(self, call: Call) -> None:
        name = call.fields["name"]
        if name not in self._held and len(self._held) >= MOST_HELD:
            raise Conflict(f"the keeper holds {MOST_HELD} descriptors already")
        former, self._held[name] = self._held.get(name), call.fds[0]
        if former is not None:
            former.close()
        call.answer()

    def _kept(self, call: Call) -> None:
        held = self._held.get(call.fields["name"])
        call.answer(fds=[held.fileno()] if held is not None else [])

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

    def _send_exit(self, process: Process) -> bool:
        """Tell the daemon of an exit; False where there is none. Of an exec that was told nothing is kept."""
        if self._connection is None or process.exit is None:
            return False
        self._connection.unwatch([process.key])
        described = process.description
        event = {"event": "exited", "key": described.key, "container": described.container, "kind": described.kind}
        only_now = {"forgotten": True} if described.kind == "exec" else {}
        return self._connection.send(event | process.exit.fields() | only_now)

    def _after_round(self) -> None:
        if self._connection is not None:
            self._connection.send_grown(self.processes.position)
        if self._upgrade is not None:
            self._try_upgrade()

    # --- re-execution ---------------------------------------------------------------------------------------------

    def _begin_upgrade(self, call: Call) -> None:
        """Read no more requests; the rest follows when everything at hand is finished."""
        self._upgrade = call.seq
        call.connection.paused = True
        call.connection.start()
        self.loop.later(PATIENCE_FOR_BIRTHS, lambda: self._hurry(call.seq, self.processes.give_up_births))
        self.loop.later(PATIENCE_FOR_STARTS, lambda: self._hurry(call.seq, self.processes.give_up_starts))

    def _hurry(self, upgrade: int, give_up: Callable[[], None]) -> None:
        if self._upgrade == upgrade:
            give_up()

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
            "held": {name: fd.fileno() for name, fd in self._held.items()},
        }
        fds = [connection.fileno(), self._listener.fileno(), *(fd.fileno() for fd in self._held.values())]
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
        self._held.update({name: Fd(fd) for name, fd in state.get("held", {}).items()})
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
