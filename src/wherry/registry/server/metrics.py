"""Figures for Prometheus, in its text format: requests by kind and status, their times, bytes in and out.

The numbers are in anonymous memory that all workers share, a row for each, so that whichever of them is asked can
answer for all. A worker writes to its own row only, so that no lock is needed.
"""

from __future__ import annotations

import mmap
from typing import Final

__all__ = ["Metrics"]

_KINDS: Final = ("base", "manifests", "blobs", "uploads", "tags", "referrers", "catalog", "token", "other")
_METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OTHER")
_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, float("inf"))
_REQUESTS: Final = len(_KINDS) * len(_METHODS) * len(_CLASSES)
_TIMES: Final = len(_KINDS) * (len(_BUCKETS) + 1)
_NAMES: Final = (
    "bytes_in", "bytes_out", "in_flight", "collected_blobs", "collected_bytes", "cache_hits", "cache_misses",
    "events_dropped",
)  # fmt: skip
_ROW: Final = _REQUESTS + _TIMES + len(_NAMES)
_HELP: Final = {
    "bytes_in": ("counter", "Bytes of request bodies"),
    "bytes_out": ("counter", "Bytes of blobs and manifests that were sent"),
    "in_flight": ("gauge", "Requests being answered"),
    "collected_blobs": ("counter", "Blobs that garbage collection removed"),
    "collected_bytes": ("counter", "Bytes that garbage collection removed"),
    "cache_hits": ("counter", "Blobs that the pull-through cache had"),
    "cache_misses": ("counter", "Blobs that it had to fetch"),
    "events_dropped": ("counter", "Events that a webhook was never told of"),
}


class Metrics:
    """The rows of all workers; to be made before they are forked.

    :param workers: how many rows.
    """

    def __init__(self, workers: int = 1) -> None:
        self._memory = mmap.mmap(-1, _ROW * workers * 8)
        self._all = memoryview(self._memory).cast("d")
        self._rows = workers
        self._own = self._all[:_ROW]

    def take_row(self, worker: int) -> None:
        """Use this worker's row; counts of a dead worker in it stay."""
        self._own = self._all[worker * _ROW : (worker + 1) * _ROW]
        self._own[_REQUESTS + _TIMES + _NAMES.index("in_flight")] = 0

    def request(self, kind: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        number = _KINDS.index(kind) if kind in _KINDS else len(_KINDS) - 1
        way = _METHODS.index(method) if method in _METHODS else len(_METHODS) - 1
        family = min(max(status // 100, 1), len(_CLASSES)) - 1
        self._own[(number * len(_METHODS) + way) * len(_CLASSES) + family] += 1
        times = _REQUESTS + number * (len(_BUCKETS) + 1)
        self._own[times] += seconds
        for at, bound in enumerate(_BUCKETS, 1):
            if seconds <= bound:
                self._own[times + at] += 1
                break

    def add(self, name: str, amount: float = 1) -> None:
        """Count something else."""
        self._own[_REQUESTS + _TIMES + _NAMES.index(name)] += amount

    def set(self, name: str, value: float) -> None:
        """Set a value that is counted elsewhere."""
        self._own[_REQUESTS + _TIMES + _NAMES.index(name)] = value

    def text(self) -> str:
        """All of it, in Prometheus' text format."""
        return "\n".join([*self._request_lines(), *self._time_lines(), *self._other_lines()]) + "\n"

    def _sum(self, at: int) -> float:
        return sum(self._all[row * _ROW + at] for row in range(self._rows))

    def _request_lines(self) -> list[str]:
        lines = [
            "# HELP wherry_registry_requests_total Requests answered",
            "# TYPE wherry_registry_requests_total counter",
        ]
        for at in range(_REQUESTS):
            count = self._sum(at)
            if count:
                rest, family = divmod(at, len(_CLASSES))
                kind, way = divmod(rest, len(_METHODS))
                labels = f'kind="{_KINDS[kind]}",method="{_METHODS[way]}",status="{_CLASSES[family]}"'
                lines.append(f"wherry_registry_requests_total{{{labels}}} {count:.0f}")
        return lines

    def _time_lines(self) -> list[str]:
        name = "wherry_registry_request_seconds"
        lines = [f"# HELP {name} Time from a request to the end of its answer", f"# TYPE {name} histogram"]
        for number, kind in enumerate(_KINDS):
            start = _REQUESTS + number * (len(_BUCKETS) + 1)
            total = 0.0
            buckets = []
            for at, bound in enumerate(_BUCKETS, 1):
                total += self._sum(start + at)
                limit = "+Inf" if bound == float("inf") else f"{bound:g}"
                buckets.append(f'{name}_bucket{{kind="{kind}",le="{limit}"}} {total:.0f}')
            if total:
                lines += buckets
                lines.append(f'{name}_sum{{kind="{kind}"}} {self._sum(start):.6f}')
                lines.append(f'{name}_count{{kind="{kind}"}} {total:.0f}')
        return lines

    def _other_lines(self) -> list[str]:
        lines = []
        for at, name in enumerate(_NAMES):
            kind, text = _HELP[name]
            full = f"wherry_registry_{name}" + ("_total" if kind == "counter" else "")
            value = self._sum(_REQUESTS + _TIMES + at)
            lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {value:.0f}"]
        return lines
