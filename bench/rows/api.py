"""The engine alone: no client's start-up in the figure."""

from __future__ import annotations

from contextlib import ExitStack

from bench.api import Api
from bench.image import NAME
from bench.measure import Bench, Row, milliseconds
from bench.sides import Side

REQUEST = {"Image": NAME, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}


def measure(bench: Bench) -> list[Row]:
    """Create, start, wait and remove over one kept connection per side."""
    with ExitStack() as stack:
        connections = {side.name: stack.enter_context(Api(side.socket)) for side in bench.sides}

        def once(side: Side) -> float:
            return milliseconds(lambda: life(connections[side.name]))

        samples = bench.alternating(once, rounds=100, warm_up=5)
    return [Row("API: create + start + wait + remove", "ms", samples, 15)]


def life(api: Api) -> None:
    """One container's whole life.

    :raises RuntimeError: when its program did not succeed.
    """
    container = api.call("POST", "/containers/create", REQUEST)["Id"]
    api.call("POST", f"/containers/{container}/start")
    status = api.call("POST", f"/containers/{container}/wait")["StatusCode"]
    api.call("DELETE", f"/containers/{container}")
    if status != 0:
        raise RuntimeError(f"true ended with status {status}")
