"""Servers that take logs, written by those who know the protocols: each prints what it has understood, as JSON lines.

Fluentd's forward protocol by the server in the Fluent project's own logger for node, GELF by graygelf.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import quiet
from machine import NODE
from support.needs import program
from support.processes import wait_for

_FLUENTD: Final = """
const {FluentServer} = require("@fluent-org/logger");
const server = new FluentServer({listenOptions: {port: PORT, host: "127.0.0.1"}});
server.on("entry", (tag, time, record) =>
  console.log(JSON.stringify({tag, seconds: time.epoch ?? time, nanoseconds: time.nano ?? 0, ...record})));
server.listen().then(() => console.log("{}"));
"""
_GELF: Final = """
const server = require("graygelf/server")();
server.on("message", message => console.log(JSON.stringify(message)));
server.listen(PORT, "127.0.0.1");
server._udp.on("listening", () => console.log("{}"));
"""


class Receiver:
    """A server that runs."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def entries(self) -> list[dict[str, Any]]:
        """What it has understood so far."""
        return [json.loads(line) for line in self._output.read_text().splitlines()][1:]

    def has(self, count: int) -> list[dict[str, Any]]:
        """The same, when that are so many at least."""
        wait_for(lambda: len(self.entries()) >= count)
        return self.entries()


@contextmanager
def _running(script: str, directory: Path, port: int) -> Iterator[Receiver]:
    output = directory / f"received-{port}"
    with output.open("wb") as file:
        command = [program("node") or "node", "-e", script.replace("PORT", str(port))]
        process = subprocess.Popen(command, cwd=NODE, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + quiet.patience(60)
        while not output.read_bytes():
            assert process.poll() is None
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.02)
        yield Receiver(output)
    finally:
        process.kill()
        process.wait()


def fluentd(directory: Path, port: int) -> AbstractContextManager[Receiver]:
    """A server of the forward protocol, for a ``with`` statement; it acknowledges."""
    return _running(_FLUENTD, directory, port)


def gelf(directory: Path, port: int) -> AbstractContextManager[Receiver]:
    """A server of GELF by UDP, compressed or not, in chunks or not."""
    return _running(_GELF, directory, port)
