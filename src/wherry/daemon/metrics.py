"""Figures for Prometheus, at ``/metrics`` of the address in ``metrics-addr``, by dockerd's names.

Who reaches that address reads them, and can do nothing else there. Without the option nothing of this is loaded.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from wherry.daemon.listeners import Listener, open_tcp
from wherry.serving import Acceptor, Bounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wherry.api.http.routing import Route
    from wherry.docker.system import SystemInfo

__all__ = ["Metrics", "MetricsServer"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MOST_CONNECTIONS: Final = 32
#: Upper bounds of a histogram's buckets in seconds: those of Prometheus' own clients, and so dockerd's.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: What is timed: the operation of the API, the histogram, the action in it.
_TIMED: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("GET", "/containers/{id:path}/changes"): ("container", "changes"),
    ("POST", "/commit"): ("container", "commit"),
    ("POST", "/containers/create"): ("container", "create"),
    ("DELETE", "/containers/{id:path}"): ("container", "delete"),
    ("POST", "/containers/{id:path}/start"): ("container", "start"),
    ("POST", "/images/create"): ("image", "pull"),
    ("POST", "/images/{name:path}/push"): ("image", "push"),
    ("POST", "/images/{name:path}/tag"): ("image", "tag"),
    ("DELETE", "/images/{name:path}"): ("image", "delete"),
    ("POST", "/networks/create"): ("network", "create"),
    ("POST", "/networks/{id}/connect"): ("network", "connect"),
    ("POST", "/networks/{id}/disconnect"): ("network", "disconnect"),
}
_ACTIONS: Final = {
    "container": "The number of seconds it takes to process each container action",
    "image": "The number of seconds it takes to process each image action",
    "network": "The number of seconds it takes to process each network action",
}
_STATES: Final = ("paused", "running", "stopped")


class Source(Protocol):
    """The engine, as far as it is counted here."""

    def info(self) -> SystemInfo:
        """The body of SystemInfo."""

    def statuses(self) -> Sequence[str]:
        """The state of each container."""

    def event_figures(self) -> tuple[int, int]:
        """How many events there were, and how many follow them."""

    def health_figures(self) -> tuple[int, int]:
        """How many health checks there were, and how many of them could not be run."""


class _Histogram:
    """How many observations were at most so long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, label: str) -> Iterator[str]:
        """The lines of one series."""
        below = 0
        for bound, count in zip((*map(_number, BUCKETS), "+Inf"), self._counts, strict=True):
            below += count
            yield f'{name}_bucket{{{label},le="{bound}"}} {below}'
        yield f"{name}_sum{{{label}}} {_number(self._sum)}"
        yield f"{name}_count{{{label}}} {below}"


class Metrics:
    """The figures of a daemon."""

    def __init__(self, source: Source) -> None:
        self._source = source
        #: Each is there from the beginning, so that a rate is known from its first action on.
        self._histograms = {action: _Histogram() for action in _TIMED.values()}

    def observe(self, route: Route, seconds: float) -> None:
        """Note that an operation of the API succeeded."""
        action = _TIMED.get((route.method, route.pattern))
        if action is not None:
            self._histograms[action].observe(seconds)

    def text(self) -> str:
        """All figures, in Prometheus' text format."""
        lines = [*self._actions(), *self._containers(), *self._engine(), *_process()]
        return "".join(f"{line}\n" for line in lines)

    def _actions(self) -> Iterator[str]:
        for kind, sentence in _ACTIONS.items():
            name = f"engine_daemon_{kind}_actions_seconds"
            yield from _head(name, "histogram", sentence)
            for (of, action), histogram in self._histograms.items():
                if of == kind:
                    yield from histogram.lines(name, f'action="{action}"')

    def _containers(self) -> Iterator[str]:
        counts = Counter(map(str, self._source.statuses()))
        states = Counter({state: counts[state] for state in ("paused", "running")})
        states["stopped"] = counts.total() - states.total()
        name = "engine_daemon_container_states_containers"
        yield from _head(name, "gauge", "The count of containers in various states")
        yield from (f'{name}{{state="{state}"}} {states[state]}' for state in _STATES)
        name = "wherry_containers"
        yield from _head(name, "gauge", "The count of containers by their status in the API")
        yield from (f'{name}{{status="{_escaped(status)}"}} {count}' for status, count in sorted(counts.items()))

    def _engine(self) -> Iterator[str]:
        info = self._source.info()
        labels = {
            "architecture": info.architecture, "commit": "", "daemon_id": info.id, "graphdriver": info.driver,
            "kernel": info.kernel_version, "os": info.operating_system, "os_type": info.os_type,
            "os_version": info.os_version, "version": info.server_version,
        }  # fmt: skip
        pairs = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
        events, subscribers = self._source.event_figures()
        yield from _one(
            "engine_daemon_engine_cpus_cpus", "gauge", "The number of cpus that the host system of the engine has",
            info.ncpu,
        )  # fmt: skip
        yield from _head(
            "engine_daemon_engine_info", "gauge", "The information related to the engine and the OS it is running on"
        )
        yield f"engine_daemon_engine_info{{{pairs}}} 1"
        yield from _one(
            "engine_daemon_engine_memory_bytes", "gauge", "The number of bytes of memory that the host system has",
            info.mem_total,
        )  # fmt: skip
        yield from _one("engine_daemon_events_total", "counter", "The number of events logged", events)
        yield from _one(
            "engine_daemon_events_subscribers_total",
            "gauge",
            "The number of current subscribers to events",
            subscribers,
        )
        checks, failed = self._source.health_figures()
        name = "engine_daemon_health_checks"
        yield from _one(f"{name}_total", "counter", "The total number of health checks", checks)
        yield from _one(f"{name}_failed_total", "counter", "The total number of failed health checks", failed)


def _process() -> Iterator[str]:
    """The daemon's process, as Prometheus' clients report theirs."""
    times = os.times()
    with open("/proc/self/statm", encoding="ascii") as file:
        virtual, resident = (int(word) * resource.getpagesize() for word in file.read().split()[:2])
    figures = (
        ("process_cpu_seconds_total", "counter", "User and system CPU seconds spent", times.user + times.system),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors",
         resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ("process_open_fds", "gauge", "Number of open file descriptors", len(os.listdir("/proc/self/fd"))),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes", resident),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes", virtual),
    )  # fmt: skip
    for name, kind, sentence, value in figures:
        yield from _one(name, kind, sentence, value)


def _one(name: str, kind: str, sentence: str, value: float) -> Iterable[str]:
    return (*_head(name, kind, sentence), f"{name} {_number(value)}")


def _head(name: str, kind: str, sentence: str) -> Iterable[str]:
    return (f"# HELP {name} {sentence}", f"# TYPE {name} {kind}")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class MetricsServer:
    """Answers ``GET /metrics`` on one address."""

    def __init__(self, metrics: Metrics, address: str) -> None:
        self._metrics = metrics
        self._server = web.Server(self._answer, access_log=None)
        self._listener: Listener = open_tcp(f"metrics-addr {address}", address)
        self._acceptor = Acceptor(self._listener.socket, self._server, Bounds(MOST_CONNECTIONS), evicts=True)

    def start(self) -> None:
        """Begin."""
        self._acceptor.start()

    async def close(self) -> None:
        """Listen no more."""
        self._acceptor.close()
        self._listener.close()
        await self._server.shutdown(0.2)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/metrics":
            return web.Response(status=404, text="404 page not found\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        return web.Response(body=self._metrics.text().encode(), headers={"Content-Type": CONTENT_TYPE})
