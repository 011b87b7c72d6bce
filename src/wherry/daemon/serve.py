"""The daemon's life: open the engine, answer, end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from typing import TYPE_CHECKING

from wherry import __version__
from wherry.api.app import Api, make_api
from wherry.daemon import logs, options
from wherry.daemon.listeners import BACKLOG, Listener
from wherry.daemon.notify import notify
from wherry.engine.engine import Engine
from wherry.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wherry.daemon.background import Background
    from wherry.daemon.ground import Ground
    from wherry.daemon.options import Options

log = logging.getLogger(__name__)


class Daemon:
    """Listeners, an engine behind them, and the wish to end."""

    def __init__(self, told: Options, engine: Engine, listeners: list[Listener]) -> None:
        self._told = told
        self._engine = engine
        self._listeners = listeners
        self._servers: list[asyncio.Server] = []
        self._api: Api | None = None
        self._end = asyncio.Event()
        self._killed = False

    async def start(self) -> None:
        """Answer on every listener, and to signals."""
        loop = asyncio.get_running_loop()
        self._api = make_api(self._engine, self.shut_down)
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
        """Answer no more, and let go of the containers, which go on."""
        self._stop_listening()
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
            self._told = options.reread(self._told)
        except WherryError as error:
            log.error("unable to reload the configuration", extra={"error": str(error)})  # noqa: TRY400 - a person's mistake
            return
        logs.set_level(self._told.log_level)
        self._engine.settings = self._told.settings
        log.info("reloaded the configuration", extra={"level": self._told.log_level})


async def _accept(loop: asyncio.AbstractEventLoop, api: Api, listener: Listener) -> asyncio.Server:
    """Answer on a listener. Not by `create_unix_server`, which since 3.13 would remove a socket that is systemd's."""
    return await loop.create_server(api.connection, sock=listener.socket, ssl=listener.tls, backlog=BACKLOG)


async def serve(told: Options, channel: Background, ground: Ground) -> None:
    """Run the daemon until it is asked to end.

    :param told: what it was told.
    :param channel: who waits for it to answer.
    :param ground: what it has taken hold of.
    :raises WherryError: it cannot start.
    """
    settings = told.settings
    daemon = Daemon(told, await Engine.open(settings, ground.keeper.join), ground.listeners)
    try:
        await daemon.start()
        _write_pid(told.pid_file)
        _settle()
        notify("READY=1", os.environ)
        channel.ready()
        log.info("ready", extra={"version": __version__, "pid": os.getpid(), "data_root": settings.data_root})
        await daemon.wait()
        notify("STOPPING=1", os.environ)
    finally:
        await daemon.close()


def _write_pid(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n")


def _settle() -> None:
    """What was loaded so far stays: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
