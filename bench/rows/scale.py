"""An engine that has much to remember: thousands of containers, hundreds of images, a hundred networks."""

from __future__ import annotations

import selectors
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import machine
from bench.api import Api
from bench.image import NAME
from bench.measure import Bench, Row, milliseconds, seconds
from bench.networked import networked
from bench.sides import Side

CONTAINERS = 5000
MORE_CONTAINERS = 5000
CROWD = 1000
IMAGES = 300
LAYERS = 118  # on top of the one that the image has
NETWORKS = 100
RUNNING = 100
OBSERVED = 10  # seconds
_SETTLED = 2.0  # seconds until all streams send
MEGA = 1_000_000
KILO = 1_000


def measure(bench: Bench) -> list[Row]:
    """All rows; thousands of containers on wherry only, since dockerd takes minutes to make them."""
    with networked(bench) as both:
        rows = [_networks(both), _stats(both)]
        wherry = Bench([side for side in both.sides if side.name == "wherry"], bench.quick)
        return rows + ([*_crowd(wherry), *_thousands(wherry)] if wherry.sides else [])


def _networks(bench: Bench) -> Row:
    count = bench.amount(NETWORKS)

    def removal(side: Side) -> float:
        with Api(side.socket) as api:
            made = [
                api.call("POST", "/networks/create", {"Name": f"bench-{number}", "CheckDuplicate": True})["Id"]
                for number in range(min(count, 25))  # dockerd's ranges of addresses are used up at 31
            ]
            return seconds(lambda: [api.call("DELETE", f"/networks/{each}") for each in made]) * count / len(made)

    return Row(f"{count} networks removed, one after the other", "s", bench.once(removal), 0.5 * count / NETWORKS)


def _stats(bench: Bench) -> Row:
    """What the engine takes to say each second what a hundred containers use, as ``docker stats`` asks for it."""
    count = bench.amount(RUNNING)

    def load(side: Side) -> float:
        with Api(side.socket) as api, ExitStack() as streams:
            request = {"Image": NAME, "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "none"}}
            made = [api.call("POST", "/containers/create", request)["Id"] for _ in range(count)]
            for each in made:
                api.call("POST", f"/containers/{each}/start")
            following = [streams.enter_context(Api(side.socket)) for _ in made]
            for each, one in zip(made, following, strict=True):
                one.begin("GET", f"/containers/{each}/stats?stream=1")
            _take(following, _SETTLED)
            processes = side.engine_processes()
            before, began = machine.cpu_seconds(processes), time.monotonic()
            _take(following, bench.amount(OBSERVED))
            share = (machine.cpu_seconds(processes) - before) / (time.monotonic() - began)
            for each in made:
                api.call("DELETE", f"/containers/{each}?force=1")
        return share * 100

    return Row(f"`stats` of {count} containers each second, % of one core", "%", bench.once(load), 2)


def _take(following: Sequence[Api], seconds: float) -> None:
    """Take what connections send, for some time."""
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for one in following:
            selector.register(one, selectors.EVENT_READ, one)
        while (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                key.data.discard()


def _crowd(bench: Bench) -> list[Row]:
    """A thousand containers that run and do nothing: what the last ones take, next to the first."""
    count = bench.amount(CROWD)

    def figures(side: Side) -> tuple[float, float, float]:
        disk, memory = machine.disk_used(side.data), machine.available_memory()
        with Api(side.socket) as api:
            request = {"Image": NAME, "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "none"}}
            took = []
            for _ in range(count):
                made = api.call("POST", "/containers/create", request)["Id"]
                took.append(milliseconds(partial(api.call, "POST", f"/containers/{made}/start")))
        found = (
            statistics.median(took[-OBSERVED:]) / statistics.median(took[:OBSERVED]),
            (memory - machine.available_memory()) / count / MEGA,
            (machine.disk_used(side.data) - disk) / count / KILO,
        )
        side.remove_containers()
        return found

    [[times, memory, disk]] = [figures(side) for side in bench.sides]
    name = bench.sides[0].name
    return [
        Row(f"start of the last 10 of {count:,} idle containers, against the first 10", "times", {name: [times]}, 1.15),
        Row(f"memory for each of {count:,} idle containers", "MB", {name: [memory]}, 0.45),
        Row(f"disk for each of {count:,} idle containers", "KB", {name: [disk]}, 16),
    ]


def _thousands(bench: Bench) -> list[Row]:
    side = bench.sides[0]
    containers, images = bench.amount(CONTAINERS), bench.amount(IMAGES)
    more, networks = bench.amount(MORE_CONTAINERS), bench.amount(NETWORKS)
    empty = bench.alternating(_cold_start, rounds=5, warm_up=1)
    first = _create(side, containers)
    with Api(side.socket) as api:
        for number in range(images):
            name = f"container={first}&repo=bench-{number}&tag=1"
            api.call("POST", f"/commit?{name}", {"Labels": {"number": str(number)}})
    _build_deep(side)
    full = bench.alternating(_cold_start, rounds=5, warm_up=1)
    listing = bench.alternating(_asked(lambda api: api.call("GET", "/containers/json?all=1")), rounds=10)
    _create(side, more)
    with Api(side.socket) as api:
        for number in range(networks):
            api.call("POST", "/networks/create", {"Name": f"bench-{number}", "CheckDuplicate": True})
    memory = bench.once(lambda side: machine.memory_of(side.engine_processes()) / MEGA)
    what = f"{containers:,} containers and {images} images"
    everything = f"{containers + more:,} containers, {images} images and {networks} networks"
    return [
        Row("daemon start to first answer, with a bridge", "s", empty, 0.2),
        Row(f"daemon start to first answer, {what}", "s", full, 0.4),
        Row(f"API: list of {containers:,} containers", "ms", listing, 60),
        Row(f"the engine's resident memory, {everything}", "MB", memory, 75),
    ]


def _create(side: Side, count: int) -> str:
    """Make containers that are not started; gives the ID of the last one."""
    request = {"Image": NAME, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    with Api(side.socket) as api:
        for _ in range(count):
            made: str = api.call("POST", "/containers/create", request)["Id"]
    return made


def _build_deep(side: Side) -> None:
    """Make an image of as many layers as there may be."""
    with TemporaryDirectory() as directory:
        Path(directory, "file").touch()
        steps = "".join(f"COPY file /file{number}\n" for number in range(LAYERS))
        Path(directory, "Dockerfile").write_text(f"FROM {NAME}\n{steps}")
        side.docker("build", "--quiet", "--tag", "deep", directory)


def _cold_start(side: Side) -> float:
    side.stop()
    side.start()
    return side.start_up


def _asked(question: Callable[[Api], object]) -> Callable[[Side], float]:
    def ask(side: Side) -> float:
        with Api(side.socket) as api:
            return milliseconds(lambda: question(api))

    return ask
