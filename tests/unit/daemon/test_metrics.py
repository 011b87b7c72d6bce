"""Figures for Prometheus: dockerd's names, in a format that its parser takes, and nothing else at that address."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.api_harness import ApiHarness
from support.ports import free_port
from wherry.api import app
from wherry.api.http.routing import Route
from wherry.api.http.server import Api
from wherry.daemon.metrics import _TIMED, Metrics, MetricsServer

STATES = ("paused", "running", "stopped")
_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"([a-z_]+)(\{{{_LABEL}(?:,{_LABEL})*\}})? ([0-9.e+-]+)")


def samples(text: str) -> dict[str, float]:
    """Each sample; fails at a line that is none."""
    found = {}
    typed = set(re.findall(r"^# TYPE ([a-z_]+) ", text, re.MULTILINE))
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert re.sub("_(bucket|sum|count)$", "", match[1]) in typed or match[1] in typed
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


async def ask(port: int, request: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode()


class Source:
    """An engine with three containers."""

    def info(self) -> Any:
        """What is asked of it; the rest of this answer has no figures."""
        return SimpleNamespace(
            architecture="x", id="I", driver="overlay", kernel_version="6", operating_system='a "b" \\ \n c',
            os_type="linux", os_version="1", server_version="0", ncpu=4, mem_total=1 << 40,
        )  # fmt: skip

    def statuses(self) -> list[str]:
        return ["running", "exited", "created"]

    def event_figures(self) -> tuple[int, int]:
        return 7, 1

    def health_figures(self) -> tuple[int, int]:
        return 5, 2


def test_the_figures_are_in_prometheus_format() -> None:
    metrics = Metrics(Source())
    start = next(route for route in routes() if route.pattern == "/containers/{id:path}/start")
    for seconds in (0.001, 0.02, 0.02, 100):
        metrics.observe(start, seconds)
    found = samples(metrics.text())
    name = "engine_daemon_container_actions_seconds"
    for bound, count in (("0.005", 1), ("0.01", 1), ("0.025", 3), ("10", 3), ("+Inf", 4)):
        assert found[f'{name}_bucket{{action="start",le="{bound}"}}'] == count
    assert found[f'{name}_count{{action="start"}}'] == 4
    assert found[f'{name}_count{{action="create"}}'] == 0
    states = {state: found[f'engine_daemon_container_states_containers{{state="{state}"}}'] for state in STATES}
    assert states == {"paused": 0, "running": 1, "stopped": 2}
    assert found['wherry_containers{status="created"}'] == 1
    assert found["engine_daemon_engine_memory_bytes"] == 1 << 40
    assert found["engine_daemon_events_total"] == 7
    assert found["engine_daemon_health_checks_total"] == 5
    assert found["engine_daemon_health_checks_failed_total"] == 2
    assert found["process_open_fds"] > 3


async def test_the_api_tells_of_what_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def observing(*arguments: Any) -> Api:
        api = app.make_api(*arguments)
        api.observe = lambda route, seconds: seen.append(route.pattern)
        return api

    monkeypatch.setattr("support.api_harness.make_api", observing)
    async with ApiHarness(tmp_path).serving(monkeypatch) as harness:
        assert (await harness.ask("GET", "/containers/json")).status == 200
        assert (await harness.ask("POST", "/containers/none/start")).status == 404
    assert seen == ["/containers/json"]


async def test_nothing_else_is_at_that_address() -> None:
    port = free_port()
    server = MetricsServer(Metrics(Source()), f"127.0.0.1:{port}")
    server.start()
    answer = await ask(port, "GET /metrics")
    assert "text/plain; version=0.0.4" in answer
    assert samples(answer.partition("\r\n\r\n")[2])
    for request, status in (("GET /", 404), ("POST /metrics", 405), ("GET /containers/json", 404)):
        assert f"HTTP/1.1 {status} " in await ask(port, request)
    await server.close()


def routes() -> list[Route]:
    """The operations of the API, over nothing."""

    class Anything:
        def __getattr__(self, name: str) -> Anything:
            return self

        def __truediv__(self, other: object) -> Anything:
            return self

        def __call__(self, *_: object, **__: object) -> Anything:
            return self

    anything: Any = Anything()
    return app.all_routes(anything, anything, anything)


def test_each_timed_operation_is_one_of_the_api() -> None:
    assert set(_TIMED) <= {(route.method, route.pattern) for route in routes()}
