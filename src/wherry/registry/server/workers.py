"""Several processes that serve one address (SO_REUSEPORT, socket(7)): instances are stateless, so nothing joins them.

The first process only watches: a worker that dies is replaced, and a signal is passed on to all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry import legible
from wherry.errors import InvalidInput, SystemFault, WherryError
from wherry.linux.process import set_pdeathsig
from wherry.registry.server.metrics import Metrics
from wherry.registry.server.records import SECRET
from wherry.registry.server.serve import serve
from wherry.registry.storage.filesystem import FilesystemStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.registry.server.settings import Settings

__all__ = ["listen", "run"]

_log = logging.getLogger(__name__)
_PASSED_ON: Final = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
"""Signals that each worker gets from the process that watches."""
_BACKLOG: Final = 4096
_TOO_FAST_SECONDS: Final = 1.0
_LEFT_SECONDS: Final = 3600.0
"""No single object takes that long to write."""


def run(settings: Settings, reread: Callable[[], Settings]) -> int:
    """Serve with as many workers as the settings say, until told to end. :returns: the exit code.

    :param reread: reads the settings again, at SIGHUP.
    :raises InvalidInput: the address is none.
    :raises SystemFault: it can't be listened on.
    """
    _raise_file_limit()
    metrics = Metrics(settings.workers)
    with listen(settings.addr, shared=settings.workers > 1) as first:
        where = _shown(first)
        if settings.storage.type == "filesystem":
            _prepare(settings)
        if settings.workers == 1:
            serving = serve(settings, first, metrics, housekeeper=True, ready=lambda: _say(where), reread=reread)
            asyncio.run(serving)
            return 0
        return _Workers(settings, where, first, metrics, reread).run()


def _prepare(settings: Settings) -> None:
    """Put a directory in order, before several processes use it."""
    storage = FilesystemStorage(Path(settings.root))
    for sentence in storage.tighten(SECRET):
        _log.warning("%s", sentence)
    if not settings.read_only:
        storage.sweep(_LEFT_SECONDS)


def listen(address: str, *, shared: bool) -> socket.socket:
    """A socket that listens.

    :param address: ``host:port``, ``[::1]:5000``, ``:5000`` for all addresses; port 0 is any that is free.
    :param shared: whether others will listen on the same address.
    :raises InvalidInput: the address is none.
    :raises SystemFault: somebody else has it.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"invalid address {address!r}", hint="HOST:PORT")
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise InvalidInput(f"invalid address {address!r}", cause=str(error.strerror).lower()) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SystemFault(f"unable to listen on {address}", cause=str(error.strerror).lower()) from error
    return listener


class _Workers:
    """The process that watches."""

    def __init__(
        self,
        settings: Settings,
        address: str,
        first: socket.socket,
        metrics: Metrics,
        reread: Callable[[], Settings],
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._address = address
        self._first: socket.socket | None = first
        self._metrics = metrics
        self._pids: dict[int, tuple[int, float]] = {}
        self._watcher = os.getpid()
        self._ending = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, self._renew)
        for worker in range(self._settings.workers):
            self._start(worker)
        self._close_first()
        _say(self._address)
        while self._pids:
            pid, status = os.waitpid(-1, 0)
            self._replace(pid, os.waitstatus_to_exitcode(status))
        return 0

    def _close_first(self) -> None:
        """Close the first listener: connections in the backlog of a socket without accept would wait for ever."""
        if self._first is not None:
            self._first.close()
            self._first = None

    def _start(self, worker: int) -> None:
        # the first worker takes the socket that the address was found with: it is never unbound
        listener = self._first if worker == 0 and self._first else listen(self._address, shared=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # none may come between a fork and what is known of it
        pid = os.fork()
        if pid:
            self._pids[pid] = worker, time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
            if self._ending:  # the others have their signal already
                os.kill(pid, signal.SIGTERM)
            if listener is not self._first:
                listener.close()
            return
        if listener is not self._first:
            self._close_first()  # held open here, it would take connections that nobody answers
        try:
            code = self._work(worker, listener)
        except BaseException as error:
            sys.stderr.write(f"wherry registry: worker {worker}: {legible.lines(str(error))}\n")
            code = 1
        os._exit(code)

    def _work(self, worker: int, listener: socket.socket) -> int:
        for number in _PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON - {signal.SIGHUP})  # SIGHUP waits for its handler
        set_pdeathsig(
            signal.SIGTERM
        )  # who watches may be killed: nobody would pass a signal on, and the address be kept
        if os.getppid() != self._watcher:
            return 1
        self._metrics.take_row(worker)
        serving = serve(
            self._settings, listener, self._metrics,
            housekeeper=worker == 0, ready=lambda: None, reread=self._reread,
        )  # fmt: skip
        asyncio.run(serving)
        return 0

    def _replace(self, pid: int, code: int) -> None:
        worker, started = self._pids.pop(pid, (0, 0.0))
        if self._ending:
            return
        _log.error("worker %d exited with %d; starting a replacement", worker, code)
        if time.monotonic() - started < _TOO_FAST_SECONDS:
            time.sleep(_TOO_FAST_SECONDS)
        self._start(worker)

    def _end(self, number: int, frame: object) -> None:
        self._ending = True
        self._pass_on(signal.SIGTERM, frame)

    def _renew(self, number: int, frame: object) -> None:
        """A replacement worker starts with the reloaded settings; errors are logged by the others."""
        with suppress(WherryError):
            self._settings = self._reread()
        self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: object) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _say(where: str) -> None:
    """Print a line when the registry is ready, with its address."""
    sys.stdout.write(f"listening on {where}\n")
    sys.stdout.flush()


def _raise_file_limit() -> None:
    """Take as many descriptors as the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
