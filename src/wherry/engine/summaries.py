"""Containers in a list: the Engine API's ContainerSummary, and the filters of ``docker ps``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from wherry.engine import clock
from wherry.engine.container import Container
from wherry.engine.events import has_label
from wherry.engine.inspection import image_shown, mounts_shown
from wherry.engine.network_modes import HOST, joined_container
from wherry.engine.network_ports import exposed_ports, listed_ports, port_requests, ports_in
from wherry.engine.network_shown import endpoints_shown
from wherry.engine.registry import Registry
from wherry.engine.state import Health, HealthStatus, Status
from wherry.errors import InvalidInput

__all__ = ["Lister", "human_duration", "status_text"]

Filters = Mapping[str, list[str]]

_FILTERS: Final = frozenset(
    {"ancestor", "before", "since", "exited", "expose", "publish", "health", "id", "is-task", "isolation", "label",
     "name", "network", "status", "volume"}
)  # fmt: skip
_MINUTE, _HOUR, _DAY, _WEEK, _MONTH, _YEAR = 60, 3600, 86400, 604800, 2592000, 31536000


class Lister:
    """Lists containers.

    :param image_of: the ID of an image by any of its names, or an empty string; for ``ancestor``.
    :param size_of: bytes in a container's writable layer, and in all of its root.
    """

    def __init__(
        self,
        registry: Registry,
        image_of: Callable[[str], str],
        names_of: Callable[[str], list[str]],
        size_of: Callable[[Container], tuple[int, int]],
    ) -> None:
        self._registry = registry
        self._image_of = image_of
        self._names_of = names_of
        self._size_of = size_of

    def summaries(self, *, everything: bool, limit: int, size: bool, filters: Filters) -> list[dict[str, Any]]:
        """Summaries, the newest first.

        :param everything: also those that do not run; certain filters imply it.
        :param limit: how many at most; 0 or less for all of them.
        :raises InvalidInput: there is no such filter, or its value makes no sense.
        """
        chosen = self.select(everything=everything, filters=filters)
        if limit > 0:
            chosen = chosen[:limit]
        return [self._summary(container, size=size) for container in chosen]

    def select(self, *, everything: bool, filters: Filters) -> list[Container]:
        """The containers that pass, the newest first."""
        _check_filters(filters)
        everything = everything or any(filters.get(name) for name in ("status", "exited"))
        containers = sorted(self._registry, key=lambda c: (c.definition.created, c.id), reverse=True)
        containers = self._between(containers, filters)
        tests = [self._test(name, values) for name, values in filters.items() if values]
        return [
            c
            for c in containers
            if (everything or c.state.is_alive or c.state.status is Status.RESTARTING)
            and all(test(c) for test in tests)
        ]

    def _between(self, newest_first: list[Container], filters: Filters) -> list[Container]:
        """Those made before or after a container that ``before`` or ``since`` names."""
        for name in filters.get("before") or []:
            created = self._registry.get(name).definition.created
            newest_first = [c for c in newest_first if c.definition.created < created]
        for name in filters.get("since") or []:
            created = self._registry.get(name).definition.created
            newest_first = [c for c in newest_first if c.definition.created > created]
        return newest_first

    def _test(self, name: str, values: list[str]) -> Callable[[Container], bool]:
        """One filter as a function: any of its values will do, of labels all are needed."""
        if name == "ancestor":
            images = {self._image_of(value) for value in values} - {""}
            return lambda c: c.definition.image_id in images or c.definition.image in values
        simple = _TESTS.get(name)
        if simple is None:
            return lambda c: True
        if name == "label":
            return lambda c: all(simple(c, value) for value in values)
        return lambda c: any(simple(c, value) for value in values)

    def _summary(self, container: Container, *, size: bool) -> dict[str, Any]:
        definition, state = container.definition, container.state
        summary: dict[str, Any] = {
            "Id": container.id,
            "Names": [f"/{container.name}"],
            "Image": image_shown(container, self._names_of),
            "ImageID": definition.image_id,
            "Command": _command(definition.argv),
            "Created": clock.from_rfc3339(definition.created) // 1_000_000_000,
            "Ports": _ports(container),
            "Labels": container.config.labels or {},
            "State": str(state.status),
            "Status": status_text(container),
            "HostConfig": {
                "NetworkMode": container.host.network_mode or "none",
                "Annotations": container.host.annotations or {},
            },
            "NetworkSettings": {"Networks": endpoints_shown(container)},
            "Mounts": mounts_shown(container),
        }
        if size:
            summary["SizeRw"], summary["SizeRootFs"] = self._size_of(container)
        return summary


def _check_filters(filters: Filters) -> None:
    for name, values in filters.items():
        if name not in _FILTERS:
            raise InvalidInput(f"invalid filter '{name}'")
        for value in values:
            if name == "status" and value not in list(Status):
                raise InvalidInput(f"invalid filter 'status={value}'", hint="one of " + ", ".join(Status))
            if name == "exited" and not re.fullmatch(r"-?\d+", value):
                raise InvalidInput(f"invalid filter 'exited={value}'")
            if name == "health" and value not in ("none", "starting", "healthy", "unhealthy"):
                raise InvalidInput(f"invalid filter 'health={value}'")
            if name == "name":
                _pattern(value)
            if name == "is-task" and value.lower() not in ("true", "false", "1", "0"):
                raise InvalidInput(f"invalid filter 'is-task={value}'")
            if name in ("expose", "publish"):
                ports_in(value)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as exc:
        raise InvalidInput(f"invalid filter 'name={text}'", cause=str(exc)) from exc


def _named(container: Container, value: str) -> bool:
    """As in Docker: a regular expression on the name with its slash, or without."""
    pattern = _pattern(value)
    return bool(pattern.search(f"/{container.name}") or pattern.search(container.name))


def _ports(container: Container) -> list[dict[str, Any]]:
    """The ports that a running container serves; of one on the host's network none are known."""
    mode = container.host.network_mode
    if not container.state.is_alive or mode == HOST or joined_container(mode):
        return []
    return listed_ports(container.config, container.host, container.endpoints.values())


def _exposes(container: Container, value: str) -> bool:
    return not set(ports_in(value)).isdisjoint(exposed_ports(container.config, container.host))


def _publishes(container: Container, value: str) -> bool:
    """By the container's port, as in Docker."""
    published = {(port.container_port, port.protocol) for port in port_requests(container.config, container.host)}
    return not published.isdisjoint(ports_in(value))


def _on_network(container: Container, value: str) -> bool:
    return any(
        value == name or (value and (settings.network_id or "").startswith(value))
        for name, settings in container.definition.networks.items()
    )


def _uses_volume(container: Container, value: str) -> bool:
    return any(value in (point.source, point.target) for point in container.definition.mounts)


_TESTS: Final[Mapping[str, Callable[[Container, str], bool]]] = {
    "id": lambda c, v: c.id.startswith(v),
    "name": _named,
    "label": lambda c, v: has_label(c.config.labels or {}, v),
    "status": lambda c, v: c.state.status == v,
    "exited": lambda c, v: (
        not c.state.is_alive and c.state.finished_at != clock.ZERO_TIME and c.state.exit_code == int(v)
    ),
    "network": _on_network,
    "volume": _uses_volume,
    "expose": _exposes,
    "publish": _publishes,
    "health": lambda c, v: v == (c.state.health.status if c.state.health else "none"),
    "is-task": lambda c, v: v.lower() in ("false", "0"),
}


def _command(argv: list[str]) -> str:
    return " ".join(word if word and not re.search(r"[\s'\"]", word) else f"'{word}'" for word in argv)


# --- the status column ----------------------------------------------------------------------------


def status_text(container: Container) -> str:
    """What ``docker ps`` shows: ``Up 3 minutes``, ``Exited (0) 2 hours ago``."""
    state = container.state
    if state.status in (Status.RUNNING, Status.PAUSED):
        note = " (Paused)" if state.status is Status.PAUSED else _health_note(state.health)
        return f"Up {_since(state.started_at)}{note}"
    if state.status is Status.RESTARTING:
        return f"Restarting ({state.exit_code}) {_since(state.finished_at)} ago"
    if state.status is Status.REMOVING:
        return "Removal In Progress"
    if state.status is Status.DEAD:
        return "Dead"
    if state.status is Status.CREATED:
        return "Created"
    return f"Exited ({state.exit_code}) {_since(state.finished_at)} ago"


def _health_note(health: Health | None) -> str:
    if health is None:
        return ""
    return " (health: starting)" if health.status is HealthStatus.STARTING else f" ({health.status})"


def _since(moment: str) -> str:
    return human_duration((time.time_ns() - clock.from_rfc3339(moment)) / 1e9)


def human_duration(seconds: float) -> str:
    """A duration as ``docker ps`` writes it.

    :param seconds: how long.
    """
    whole = int(seconds)
    steps = (
        (1, "Less than a second"), (2, "1 second"), (_MINUTE, f"{whole} seconds"), (2 * _MINUTE, "About a minute"),
        (46 * _MINUTE, f"{whole // _MINUTE} minutes"), (90 * _MINUTE, "About an hour"),
        (2 * _DAY, f"{round(seconds / _HOUR)} hours"), (2 * _WEEK, f"{whole // _DAY} days"),
        (2 * _MONTH, f"{whole // _WEEK} weeks"), (2 * _YEAR, f"{whole // _MONTH} months"),
    )  # fmt: skip
    return next((text for limit, text in steps if whole < limit), f"{whole // _YEAR} years")
