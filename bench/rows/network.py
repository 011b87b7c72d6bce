"""Networks: what they add to a container's life, many members, and throughput."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench.api import Api
from bench.image import NAME
from bench.measure import Bench, Row, milliseconds
from bench.networked import HOST, daemon_of, inside, networked, process_of, run
from bench.rows.run import own_client
from bench.sides import Side

MEMBERS = 200
FIRST = 10
SECONDS = 2
TURNS = 9
PORT = 5201
GIGA = 1_000_000_000


def measure(bench: Bench) -> list[Row]:
    """All rows about networks."""
    with networked(bench) as both:
        rows = [*_at_the_terminal(both), _added(both), _many(both)]
        return rows + _throughput(both)


def _at_the_terminal(bench: Bench) -> list[Row]:
    command = ("run", "--rm", NAME, "true")
    stock = bench.alternating(lambda side: milliseconds(lambda: side.docker(*command)), rounds=20)
    own = bench.alternating(lambda side: own_client(side, *command), rounds=20)
    words = "`run --rm busybox true` on the default bridge"
    return [Row(f"{words}, docker CLI", "ms", stock, 22), Row(f"{words}, each engine's own CLI", "ms", own, 16)]


# ------------------------------------------------------------------------------------------------ what the network adds


def _added(bench: Bench) -> Row:
    """The life of a container with the default bridge less that of one without a network, in turn."""
    with ExitStack() as stack:
        connections = {side.name: stack.enter_context(Api(side.socket)) for side in bench.sides}

        def took(side: Side, mode: str) -> float:
            return milliseconds(lambda: life(connections[side.name], mode))

        without = bench.alternating(lambda side: took(side, "none"), rounds=50, warm_up=5)
        with_bridge = bench.alternating(lambda side: took(side, "bridge"), rounds=50, warm_up=5)
    plain = Row("", "ms", without)
    samples = {name: [took - (plain.value(name) or 0) for took in times] for name, times in with_bridge.items()}
    return Row("what the default bridge adds to create + start + wait + remove through the API", "ms", samples, 5)


def life(api: Api, mode: str) -> None:
    """One container's whole life on a network."""
    request = {"Image": NAME, "Cmd": ["true"], "HostConfig": {"NetworkMode": mode}}
    container = api.call("POST", "/containers/create", request)["Id"]
    api.call("POST", f"/containers/{container}/start")
    api.call("POST", f"/containers/{container}/wait")
    api.call("DELETE", f"/containers/{container}")


# ---------------------------------------------------------------------------------------------------------------- many


def _many(bench: Bench) -> Row:
    """Of many containers on one network the last ten, each started beside all others, against the first ten."""
    wherry = Bench([side for side in bench.sides if side.name == "wherry"], bench.quick)
    count = max(3 * FIRST, bench.amount(MEMBERS))
    samples = wherry.alternating(lambda side: _last_against_first(side, count), rounds=3, warm_up=0)
    title = f"start + remove of the last {FIRST} of {count} containers on one network, against the first {FIRST}"
    return Row(title, "times", samples, 1.25)


def _last_against_first(side: Side, count: int) -> float:
    with Api(side.socket) as api:
        network = api.call("POST", "/networks/create", {"Name": "many", "CheckDuplicate": True})["Id"]
        request = {"Image": NAME, "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "many"}}
        containers = [api.call("POST", "/containers/create", request)["Id"] for _ in range(count)]
        starts = [milliseconds(partial(api.call, "POST", f"/containers/{each}/start")) for each in containers]
        removals = [milliseconds(partial(api.call, "DELETE", f"/containers/{each}?force=1")) for each in containers]
        _when_empty(api, network)
    # Removals go from full to empty: the first of them is the one among many.
    few = sorted(starts[:FIRST])[FIRST // 2] + sorted(removals[-FIRST:])[FIRST // 2]
    many = sorted(starts[-FIRST:])[FIRST // 2] + sorted(removals[:FIRST])[FIRST // 2]
    return many / few


def _when_empty(api: Api, network: str) -> None:
    """Remove a network as soon as nobody is on it."""
    while api.call("GET", f"/networks/{network}")["Containers"]:
        time.sleep(0.01)
    api.call("DELETE", f"/networks/{network}")


# ---------------------------------------------------------------------------------------------------------- throughput


def _throughput(bench: Bench) -> list[Row]:
    """Both sides in turn, because one measurement of five seconds differs from the next by a tenth and more.

    Docker's bridge has an MTU of 1500 whatever the uplink's is; in here that is wherry's, too.
    """
    if shutil.which("iperf3") is None:
        return []
    up = _in_turn(bench, _container_to_host)
    by_host = _in_turn(bench, partial(_published, address=HOST))
    by_localhost = _in_turn(bench, partial(_published, address="127.0.0.1"))
    dockers = statistics.median(up["docker"]) if up.get("docker") else None
    return [
        Row("iperf3, container to host over the bridge", "Gb/s", up, dockers, at_least=True),
        Row("iperf3, published port, by the host's address", "Gb/s", by_host, 14.3, at_least=True),
        Row("iperf3, published port, by localhost", "Gb/s", by_localhost, 14.3, at_least=True),
    ]


def _in_turn(bench: Bench, measured: Callable[[Side], float]) -> dict[str, list[float]]:
    return bench.alternating(measured, rounds=TURNS, warm_up=1)


def _container_to_host(side: Side) -> float:
    container = side.docker("run", "-d", NAME, "sleep", "1000").strip()
    gateway = side.docker("inspect", "--format", "{{.NetworkSettings.Gateway}}", container).strip()
    try:
        return _iperf(daemon_of(side), process_of(side, container), gateway)
    finally:
        side.remove_containers()


def _published(side: Side, *, address: str) -> float:
    container = side.docker("run", "-d", "-p", f"{PORT}:{PORT}", NAME, "sleep", "1000").strip()
    try:
        return _iperf(process_of(side, container), daemon_of(side), address)
    finally:
        side.remove_containers()


def _iperf(server: int, client: int, address: str) -> float:
    """Gigabits per second from one namespace into another; the server ends with its one client."""
    listening = subprocess.Popen(
        inside(server, "iperf3", "-s", "-1", "-p", str(PORT), "--forceflush"), stdout=subprocess.PIPE, text=True
    )
    assert listening.stdout is not None
    try:
        while "listening" not in listening.stdout.readline():
            if listening.poll() is not None:
                raise RuntimeError("iperf3 does not listen")
        told = run(client, "iperf3", "-c", address, "-p", str(PORT), "-t", str(SECONDS), "-J")
    finally:
        listening.kill()
        listening.wait()
        listening.stdout.close()
    return float(json.loads(told)["end"]["sum_received"]["bits_per_second"]) / GIGA
