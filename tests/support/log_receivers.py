"""Receivers of logs, as small as their protocols allow; and a log that is written while it is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from wherry.engine.container.log import ContainerLog
from wherry.engine.delivery.delivery import Delivery
from wherry.engine.delivery.place import Place
from wherry.engine.log_drivers.contract import Sender, Subject
from wherry.engine.log_drivers.table import find_log_driver
from wherry.keeper.log_writer import LogWriter
from wherry.keeper.records import STDERR, STDOUT

__all__ = ["PATIENCE", "STDERR", "STDOUT", "Receiver", "WrittenLog", "subject", "written_log"]

PATIENCE = 30.0


def subject(root: Path, driver: str = "json-file", env: tuple[str, ...] = (), **options: str) -> Subject:
    """A container's facts, with the options' names without their dashes."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return Subject(
        id="c0ffee" + "0" * 58, name="web", image="app:1", image_id="sha256:" + "1" * 64, argv=["sh", "-c", "x"],
        created="2024-01-01T00:00:00Z", env=env, labels={"tier": "front", "com.example/x-y": "1\n2"},
        options={**find_log_driver(driver).defaults, **named}, file=root / "container-json.log",
    )  # fmt: skip


class Receiver:
    """Listens on a port or at a path, and keeps what comes; a connection may be answered, or not read at all."""

    def __init__(self, *, answer: Callable[[bytes], bytes] | None = None, reads: bool = True) -> None:
        self.data = bytearray()
        self.connections = 0
        self._answer = answer
        self._reads = reads
        self._came = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def listen(self, *, path: Path | None = None, port: int = 0, tls: Any = None) -> None:
        """Begin to accept connections."""
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        self._came.set()
        try:
            while self._reads and (data := await reader.read(1 << 16)):
                self.data += data
                if self._answer is not None and (said := self._answer(data)):
                    writer.write(said)
                self._came.set()
        except ConnectionError:
            return

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._came.clear()
                await self._came.wait()

    async def close(self) -> None:
        """Be gone, with all connections."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0)


class WrittenLog:
    """A container's log, the keeper's part of which is played."""

    def __init__(self, root: Path, **bounds: int) -> None:
        self.root = root
        self.writer = LogWriter(root / "logs", **bounds)
        self.log = ContainerLog(root / "logs", self._ask)
        self.place = root / "delivered"
        self.threads = ThreadPoolExecutor(2)
        self.delivery: Delivery | None = None

    async def _ask(self, op: str, **fields: Any) -> None:
        if op == "hold":
            self.writer.held = fields["segment"]

    def write(self, data: bytes, stream: int = STDOUT) -> None:
        """The container writes."""
        assert self.writer.append(stream, memoryview(data)) == len(data)
        self.log.has_grown()

    async def deliver(self, sender: Sender, *, holds: bool = True) -> Delivery:
        """Begin; as if the container was started."""
        self.delivery = Delivery(self.log, Place(self.place), sender, name="web", holds=holds, threads=self.threads)
        self.log.has_started()
        self.writer.held = self.log.say_held()
        return self.delivery

    async def end(self) -> None:
        """The container exits, and everything is delivered."""
        self.log.has_finished(self.writer.position)
        assert self.delivery is not None
        async with asyncio.timeout(PATIENCE):
            await self.delivery.task


@asynccontextmanager
async def written_log(root: Path, **bounds: int) -> AsyncIterator[WrittenLog]:
    """A log, and an end of its delivery."""
    log = WrittenLog(root, **bounds)
    try:
        yield log
    finally:
        if log.delivery is not None:
            await log.delivery.close()
        log.threads.shutdown()
        log.writer.close()
