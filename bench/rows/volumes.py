"""Volumes: made, mounted, listed, filled."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.api import Api
from bench.image import NAME
from bench.measure import Bench, Row, milliseconds
from bench.sides import Side

MANY = 1000
FILES = 5000
_FILLED = "wherry-bench/filled"
_BINDS = ["bench:/data"]


def measure(bench: Bench) -> list[Row]:
    """All rows."""
    with ExitStack() as stack:
        apis = {side.name: stack.enter_context(Api(side.socket)) for side in bench.sides}
        return [_made(bench, apis), _mounted(bench, apis), _listed(bench, apis), _filled(bench, apis)]


def _made(bench: Bench, apis: dict[str, Api]) -> Row:
    def once(side: Side) -> float:
        return milliseconds(lambda: _life(apis[side.name]))

    return Row("API: volume create + remove", "ms", bench.alternating(once, rounds=100, warm_up=5), 5)


def _life(api: Api) -> None:
    api.call("POST", "/volumes/create", {"Name": "bench"})
    api.call("DELETE", "/volumes/bench")


def _mounted(bench: Bench, apis: dict[str, Api]) -> Row:
    """Each life with a volume against the one before it without: a busy moment hits both."""

    def difference(side: Side) -> float:
        plain, mounted = (milliseconds(partial(_run, apis[side.name], binds)) for binds in ([], _BINDS))
        return mounted - plain

    samples = bench.alternating(difference, rounds=50, warm_up=5)
    for api in apis.values():
        api.call("DELETE", "/volumes/bench")
    return Row("what a volume adds to create + start + wait + remove through the API", "ms", samples, 2)


def _run(api: Api, binds: list[str]) -> None:
    request = {"Image": NAME, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "Binds": binds}}
    container = api.call("POST", "/containers/create", request)["Id"]
    api.call("POST", f"/containers/{container}/start")
    api.call("POST", f"/containers/{container}/wait")
    api.call("DELETE", f"/containers/{container}")


def _listed(bench: Bench, apis: dict[str, Api]) -> Row:
    count = bench.amount(MANY)
    for api in apis.values():
        for number in range(count):
            api.call("POST", "/volumes/create", {"Name": f"bench-{number}"})
    samples = bench.alternating(
        lambda side: milliseconds(lambda: apis[side.name].call("GET", "/volumes")), rounds=10, warm_up=1
    )
    for api in apis.values():
        for number in range(count):
            api.call("DELETE", f"/volumes/bench-{number}")
    return Row(f"API: list of {count:,} volumes", "ms", samples, 100)


def _filled(bench: Bench, apis: dict[str, Api]) -> Row:
    """The time of the create that fills a new volume, against the one that finds it filled."""
    count = bench.amount(FILES)
    script = f"mkdir /full; cd /full; i=0; while [ $i -lt {count} ]; do echo $i > $i; i=$((i+1)); done"
    for api in apis.values():
        request = {"Image": NAME, "Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": "none"}}
        container = api.call("POST", "/containers/create", request)["Id"]
        api.call("POST", f"/containers/{container}/start")
        api.call("POST", f"/containers/{container}/wait")
        api.call("POST", f"/commit?container={container}&repo={_FILLED}")
        api.call("DELETE", f"/containers/{container}")
    samples = bench.alternating(lambda side: _fill(apis[side.name]), rounds=5, warm_up=1)
    for api in apis.values():
        api.call("DELETE", f"/images/{_FILLED}")
    docker = Row("", "ms", samples).value("docker")
    return Row(f"first use of a volume with {count:,} files of the image's", "ms", samples, docker)


def _fill(api: Api) -> float:
    request = {"Image": _FILLED, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "Binds": ["bench:/full"]}}
    made: list[str] = []
    took = milliseconds(lambda: made.append(api.call("POST", "/containers/create", request)["Id"]))
    api.call("DELETE", f"/containers/{made[0]}")
    api.call("DELETE", "/volumes/bench")
    return took
