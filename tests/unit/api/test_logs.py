"""Answers with a log: what is read when the client leaves, or when the log is rotated under the reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.api.routes import logs
from wherry.docker.streams import LogChunk, LogOptions
from wherry.keeper.log_reader import Overtaken


class Containers:
    """A container whose log has some pieces, and then one that never comes, or an error."""

    def __init__(self, *pieces: LogChunk, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.is_closed = False
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    def inspect(self, _ref: str) -> Any:
        return SimpleNamespace(config=SimpleNamespace(tty=False))

    async def logs(self, _ref: str, _options: LogOptions) -> AsyncGenerator[LogChunk, None]:
        try:
            for piece in self.pieces:
                yield piece
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.is_closed = True

    async def lacks_older_logs(self, _ref: str, _options: LogOptions) -> bool:
        self.is_asked.set()
        await self.may_answer.wait()
        return False


class Asked:
    """A request of docker-py's, and what it is answered."""

    def __init__(self, **query: str) -> None:
        self.id = "web"
        self.version = (1, 43)
        self.query = query
        self.http = self
        self.headers: Mapping[str, str] = {"User-Agent": "docker-sdk-python/7"}
        self.body = b""

    def flag(self, name: str) -> bool:
        return name in self.query

    def text(self, name: str) -> str:
        return self.query.get(name, "")

    def moment(self, _name: str) -> None:
        return None

    async def write(self, data: bytes) -> None:
        self.body += data


async def opened(request: Asked, _kind: str, _headers: Mapping[str, str]) -> Asked:
    return request


def test_who_leaves_while_the_answer_is_prepared_leaves_nothing_behind() -> None:
    async def scene() -> None:
        containers = Containers()
        request: Any = Asked(stdout="1", follow="1")
        serving = asyncio.create_task(logs.LogRoutes(containers).logs(request))
        await containers.is_asked.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert containers.is_closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())


def test_the_beginning_of_a_line_comes_before_the_word_that_the_reader_was_overtaken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "open_stream", opened)

    async def scene() -> None:
        containers = Containers(LogChunk(1, b"one\ntw"), error=Overtaken("gone"))
        containers.may_answer.set()
        request: Any = Asked(stdout="1")
        await logs.LogRoutes(containers).logs(request)
        head = b"\0\0\0\0\0\0"
        assert request.body == b"\1" + head + b"\4one\n\1" + head + b"\2tw\3" + head + b"\4gone"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("tail", "lines"),
    [("3", 3), ("+3", 3), ("0", 0), ("", None), ("all", None), ("-1", None), ("9" * 5000, None), ("٣", None)],
)
def test_how_many_lines_is_a_number_or_all_of_them(tail: str, lines: int | None) -> None:
    seen: list[LogOptions] = []

    class Looking(Containers):
        def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[LogChunk, None]:
            seen.append(options)
            raise RuntimeError

    async def scene() -> None:
        request: Any = Asked(stdout="1", tail=tail)
        with pytest.raises(RuntimeError):
            await logs.LogRoutes(Looking()).logs(request)

    asyncio.run(scene())
    assert seen[0].tail == lines
