"""The daemon: open the engine, serve, end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

from wherry import __version__
from wherry.api.app import make_api
from wherry.api.http.server import Api
from wherry.daemon import logs, snapshot
from wherry.daemon.listeners import BACKLOG, Listener
from wherry.daemon.notify import notify
from wherry.daemon.options import reread
from wherry.daemon.rest import Rest
from wherry.engine.engine import Engine
from wherry.errors import WherryError
from wherry.linux.memory import give_back_free_pages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wherry.daemon.background import Background
    from wherry.daemon.metrics import MetricsServer
    from wherry.daemon.options import Options
    from wherry.daemon.snapshot import Start
    from wherry.daemon.startup import Acquired
    from wherry.serving import Acceptor

log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 1024  #: over TCP; each costs 0.3 MB


class Daemon:
    """Listeners, an engine behind them, and the wish to end."""

    def __init__(self, options: Options, engine: Engine, listeners: list[Listener]) -> None:
        self._options = options
        self._engine = engine
        self._listeners = listeners
        self._servers: list[asyncio.Server | Acceptor] = []
        self._api: Api | None = None
        self._metrics: MetricsServer | None = None
        self._rest = Rest(asyncio.get_running_loop())
        self._end = asyncio.Event()
        self._killed = False

    async def start(self) -> None:
        """Answer on every listener, and to signals."""
        loop = asyncio.get_running_loop()
        self._api = make_api(self._engine, self.shut_down)
        self._api.afterwards = self._rest.after_work
        if self._options.metrics:
            self._metrics = _serve_metrics(self._engine, self._api, self._options.metrics)
        for listener in self._listeners:
            self._servers.append(await _accept(loop, self._api, listener))
            log.info("listening", extra={"host": listener.host})
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    async def wait(self) -> None:
        """Return when the daemon was asked to end."""
        await self._end.wait()

    async def shut_down(self, kill: bool) -> Sequence[str]:
        """End; with `kill` every container and the keeper end first. Returns when only the daemon itself is left.

        :returns: what stays on the machine all the same, and why, in sentences.
        """
        self._stop_listening()
        left: Sequence[str] = ()
        try:
            if kill:
                left = await self._engine.shutdown(kill=True)
                self._killed = True
        finally:
            self._end.set()
        return left

    async def close(self) -> None:
        """Stop answering, and close the engine; containers keep running."""
        self._stop_listening()
        self._rest.close()
        if self._metrics is not None:
            await self._metrics.close()
        if self._api is not None:
            await self._api.close()
        if not self._killed:
            await self._engine.close()

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.close()

    def _reload(self) -> None:
        """Read the configuration file again (SIGHUP): log level, debug and labels."""
        try:
            self._options = reread(self._options)
        except WherryError as error:
            log.error("unable to reload the configuration", extra={"error": str(error)})  # noqa: TRY400 - a person's mistake
            return
        logs.set_level(self._options.log_level)
        self._engine.reload(self._options.settings)
        log.info("configuration reloaded", extra={"level": self._options.log_level})


def _serve_metrics(engine: Engine, api: Api, address: str) -> MetricsServer:
    from wherry.daemon.metrics import Metrics, MetricsServer  # noqa: PLC0415 - off by default

    metrics = Metrics(engine)
    server = MetricsServer(metrics, address)
    api.observe = metrics.observe
    server.start()
    log.info("listening for Prometheus", extra={"address": address})
    return server


async def _accept(loop: asyncio.AbstractEventLoop, api: Api, listener: Listener) -> asyncio.Server | Acceptor:
    """Answer on a listener. Not by `create_unix_server`, which since 3.13 would remove a socket that is systemd's.

    On TCP, clients have to show a certificate first, and the number of connections and handshakes is bounded.
    """
    if listener.tls is None:
        return await loop.create_server(api.connection, sock=listener.socket, backlog=BACKLOG)
    from wherry.serving import Acceptor, Bounds  # noqa: PLC0415 - nearly no daemon listens on TCP

    acceptor = Acceptor(listener.socket, api.connection, Bounds(MOST_CONNECTIONS), listener.tls)
    acceptor.start()
    return acceptor


async def serve(options: Options, channel: Background, acquired: Acquired, start: Start) -> None:
    """Run the daemon until it is asked to end.

    :param options: the command line's and the configuration file's.
    :param channel: who waits for it to answer.
    :param acquired: its sockets, and the thread that finds the keeper.
    :param start: how this process began.
    :raises WherryError: it cannot start.
    """
    settings = options.settings
    daemon = Daemon(options, await Engine.open(settings, acquired.keeper.join), acquired.listeners)
    try:
        await daemon.start()
        _write_pid(options.pid_file)
        notify("READY=1", os.environ)
        channel.ready()
        _freeze_objects()
        start.is_over()
        asyncio.get_running_loop().call_later(snapshot.DELAY, snapshot.offer_beside)
        log.info("ready", extra={"version": __version__, "pid": os.getpid(), "data_root": settings.data_root})
        await daemon.wait()
        notify("STOPPING=1", os.environ)
    finally:
        await daemon.close()


def _write_pid(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:  # a full disk is no reason not to work: who makes room needs a daemon for it
        log.warning("cannot write the PID file", extra={"path": path, "error": str(error)})


def _freeze_objects() -> None:
    """Exempt what was loaded so far from garbage collection: it stays. What the start has freed, a megabyte, does not.

    Little of it is garbage, 0.5 MB of what modules needed to be made, and to look for it would delay the first answer.
    """
    gc.freeze()
    gc.enable()
    give_back_free_pages()
