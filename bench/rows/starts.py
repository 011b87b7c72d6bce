"""Starts by the API alone: with each kind of network, mixed, from several clients; and an exec."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import cycle

from bench.api import Api
from bench.image import NAME
from bench.measure import Bench, Row, milliseconds
from bench.networked import networked
from bench.rows.network import life
from bench.sides import Side

OWN = "bench-own"
MODES = {"none": ("without a network", 6.0), "bridge": ("on the default bridge", 7.0), OWN: ("on another one", 7.5)}
CLIENTS = {1: 120, 4: 180, 16: 180}
SECONDS = 3.0


def measure(bench: Bench) -> list[Row]:
    """All rows about starts."""
    with networked(bench) as both, ExitStack() as stack:
        apis = {side.name: stack.enter_context(Api(side.socket)) for side in both.sides}
        for api in apis.values():
            api.call("POST", "/networks/create", {"Name": OWN, "CheckDuplicate": True})
        rows = [*_kinds(both, apis), _exec(both, apis)]
        return rows + [_throughput(both, count, limit) for count, limit in CLIENTS.items()]


def _kinds(bench: Bench, apis: dict[str, Api]) -> list[Row]:
    """Each kind by itself, then all in turn: what is kept ready for one must not be another's loss."""
    rows = []
    for mode, (words, limit) in MODES.items():
        samples = bench.alternating(partial(_took, apis, cycle([mode])), rounds=50, warm_up=5)
        rows.append(Row(f"API: create + start + wait + remove, {words}", "ms", samples, limit))
    mixed: dict[str, list[float]] = {}
    for side in bench.sides:
        work = Bench([side], bench.quick)
        mixed |= work.alternating(partial(_took, apis, cycle(MODES)), rounds=90, warm_up=6)
    alone = {name: statistics.mean(row.value(name) or 0 for row in rows) for name in mixed}
    against = {name: [took / alone[name] for took in times] for name, times in mixed.items()}
    rows.append(Row("the same with the three in turn, against each by itself", "times", against, 1.1))
    return rows


def _took(apis: dict[str, Api], modes: Iterator[str], side: Side) -> float:
    mode = next(modes)
    return milliseconds(lambda: life(apis[side.name], mode))


def _exec(bench: Bench, apis: dict[str, Api]) -> Row:
    """An exec from its creation until its end is known."""
    containers = {}
    for name, api in apis.items():
        request = {"Image": NAME, "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "none"}}
        containers[name] = api.call("POST", "/containers/create", request)["Id"]
        api.call("POST", f"/containers/{containers[name]}/start")

    def once(side: Side) -> float:
        return milliseconds(lambda: _run_exec(apis[side.name], containers[side.name]))

    samples = bench.alternating(once, rounds=50, warm_up=5)
    for name, api in apis.items():
        api.call("DELETE", f"/containers/{containers[name]}?force=1")
    return Row("API: exec of `true`", "ms", samples, 3.5)


def _run_exec(api: Api, container: str) -> None:
    identifier = api.call("POST", f"/containers/{container}/exec", {"Cmd": ["true"]})["Id"]
    api.call("POST", f"/exec/{identifier}/start", {"Detach": True})
    while api.call("GET", f"/exec/{identifier}/json")["Running"]:
        pass


def _throughput(bench: Bench, clients: int, limit: float) -> Row:
    samples = bench.alternating(lambda side: _per_second(side, clients), rounds=3, warm_up=1)
    words = "one client" if clients == 1 else f"{clients} clients"
    title = f"containers per second on the default bridge, created to removed, {words}"
    return Row(title, "/s", samples, limit, at_least=True)


def _per_second(side: Side, clients: int) -> float:
    until = time.perf_counter() + SECONDS
    done: list[int] = []

    def work() -> None:
        count = 0
        with Api(side.socket) as api:
            while time.perf_counter() < until:
                life(api, "bridge")
                count += 1
        done.append(count)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(done) < clients:
        raise RuntimeError(f"{side.name}: {clients - len(done)} of {clients} clients failed")
    return sum(done) / SECONDS
