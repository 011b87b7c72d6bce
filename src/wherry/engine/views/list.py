"""Containers in a list: the Engine API's ContainerSummary, and the filters of ``docker ps``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Final

from msgspec import UNSET

from wherry.docker import times
from wherry.docker.container_answers import (
    ContainerSummary,
    Health,
    HealthStatus,
    SummaryHealth,
    SummaryHostConfig,
    SummaryNetworks,
)
from wherry.docker.filters import Filters, check_names, has_label
from wherry.docker.network_mode import HOST, joined_container
from wherry.docker.networks import PortSummary
from wherry.docker.ports import any_port_of
from wherry.docker.units import human_duration
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.network.views import endpoints_to_api, port_summaries
from wherry.engine.views.inspect import image_name, mounts_to_api
from wherry.errors import InvalidInput
from wherry.oci.go_patterns import any_of

__all__ = ["ListService", "status_text"]


_FILTERS: Final = frozenset(
    {"ancestor", "before", "since", "exited", "expose", "publish", "health", "id", "is-task", "isolation", "label",
     "name", "network", "status", "volume"}
)  # fmt: skip
_PORTS: Final = ("publish", "expose")


class ListService:
    """Lists containers.

    :param image_of: the ID of an image by any of its names, or an empty string; for ``ancestor``.
    """

    def __init__(
        self,
        containers: ContainerStore,
        image_of: Callable[[str], str],
        names_of: Callable[[str], list[str]],
    ) -> None:
        self._containers = containers
        self._image_of = image_of
        self._names_of = names_of

    def select(self, *, everything: bool, limit: int, filters: Filters) -> list[Container]:
        """The containers that pass, the newest first.

        :param everything: also those that do not run; certain filters imply it.
        :param limit: how many at most; 0 or less for all of them.
        :raises InvalidInput: there is no such filter, or its value makes no sense.
        """
        chosen = self._passing(everything=everything, filters=filters)
        return chosen[:limit] if limit > 0 else chosen

    def _passing(self, *, everything: bool, filters: Filters) -> list[Container]:
        _check_filters(filters)
        everything = everything or bool(filters.get("status"))
        containers = sorted(self._containers, key=lambda c: (c.definition.created, c.id), reverse=True)
        containers = self._between(containers, filters)
        tests = [self._test(name, values) for name, values in filters.items() if values and name not in _PORTS]
        if any(filters.get(name) for name in _PORTS):
            tests.append(_serves(*(any_port_of(filters.get(name) or ()) for name in _PORTS)))
        return [
            c
            for c in containers
            if (everything or c.state.is_alive or c.state.status is Status.RESTARTING)
            and all(test(c) for test in tests)
        ]

    def _between(self, newest_first: list[Container], filters: Filters) -> list[Container]:
        """Those made before or after a container that ``before`` or ``since`` names."""
        for name in filters.get("before") or []:
            created = self._containers.get(name).definition.created
            newest_first = [c for c in newest_first if c.definition.created < created]
        for name in filters.get("since") or []:
            created = self._containers.get(name).definition.created
            newest_first = [c for c in newest_first if c.definition.created > created]
        return newest_first

    def _test(self, name: str, values: list[str]) -> Callable[[Container], bool]:
        """One filter as a function: any of its values will do, of labels all are needed."""
        if name == "ancestor":
            images = {self._image_of(value) for value in values} - {""}
            named = {name for value in values for name in (value, f"{value}:latest")}
            return lambda c: (
                c.definition.image_id in images
                or c.definition.image in values
                or not named.isdisjoint(self._names_of(c.definition.image_id))
            )
        if name == "name":
            return _named(values)
        simple = _TESTS.get(name)
        if simple is None:
            return lambda c: True
        if name == "label":
            return lambda c: all(simple(c, value) for value in values)
        return lambda c: any(simple(c, value) for value in values)

    def summaries(
        self, containers: Iterable[Container], names: Mapping[str, list[str]], sizes: Mapping[str, tuple[int, int]]
    ) -> list[ContainerSummary]:
        """Containers as they are in a list.

        :param names: by ID, where there are others than its own: links give some. The filter ``name`` looks at its own,
            as in Docker.
        :param sizes: by ID, bytes in its writable layer and in all of its root, where the caller wants them.
        """
        image_of = cache(lambda image, identifier: image_name(image, identifier, self._names_of))  # there are a few
        return [_summary(one, names.get(one.id, [f"/{one.name}"]), sizes.get(one.id), image_of) for one in containers]


def _summary(
    container: Container,
    names: Sequence[str],
    sizes: tuple[int, int] | None,
    image_of: Callable[[str, str], str],
) -> ContainerSummary:
    """One container in a list."""
    definition, state, host = container.definition, container.state, container.host
    size_rw, size_root_fs = sizes or (UNSET, UNSET)
    return ContainerSummary(
        id=container.id,
        names=list(names),
        image=image_of(definition.image, definition.image_id),
        image_id=definition.image_id,
        command=_command(definition.argv),
        created=times.from_rfc3339(definition.created) // 1_000_000_000,
        ports=_ports(container),
        labels=container.config.labels or {},
        state=str(state.status),
        status=status_text(container),
        host_config=SummaryHostConfig(network_mode=host.network_mode or "none", annotations=host.annotations or {}),
        network_settings=SummaryNetworks(networks=endpoints_to_api(container)),
        mounts=mounts_to_api(container),
        health=_health(state.health),
        size_rw=size_rw,
        size_root_fs=size_root_fs,
    )


def _check_filters(filters: Filters) -> None:
    check_names(filters, _FILTERS)
    for name, values in filters.items():
        for value in values:
            if name == "status" and value not in list(Status):
                raise InvalidInput(f"invalid filter 'status={value}'", hint="one of " + ", ".join(Status))
            if name == "exited" and not re.fullmatch(r"-?[0-9]{1,18}", value):
                raise InvalidInput(f"invalid filter 'exited={value}'")
            if name == "health" and value not in ("none", "starting", "healthy", "unhealthy"):
                raise InvalidInput(f"invalid filter 'health={value}'")
            if name == "is-task" and value.lower() not in ("true", "false", "1", "0"):
                raise InvalidInput(f"invalid filter 'is-task={value}'")


def _named(values: Sequence[str]) -> Callable[[Container], bool]:
    """As in Docker: regular expressions on the name with its slash, or without."""
    fits = any_of(values)
    return lambda c: fits(f"/{c.name}") or fits(c.name)


def _ports(container: Container) -> list[PortSummary]:
    """The ports that a running container serves; of one on the host's network none are known."""
    mode = container.host.network_mode
    if not container.state.is_alive or mode == HOST or joined_container(mode):
        return []
    return port_summaries(container.config, container.host, container.endpoints.values())


def _serves(published: Callable[[int, str], bool], exposed: Callable[[int, str], bool]) -> Callable[[Container], bool]:
    """Whether one of the ports that the list shows is among the host's or the container's that are asked for."""
    return lambda c: any(
        published(port.public_port or 0, port.type) or exposed(port.private_port, port.type) for port in _ports(c)
    )


def _on_network(container: Container, value: str) -> bool:
    return any(
        value == name or (value and (settings.network_id or "").startswith(value))
        for name, settings in container.definition.networks.items()
    )


def _uses_volume(container: Container, value: str) -> bool:
    return any(value in (point.source, point.target, point.name) for point in container.definition.mounts)


_TESTS: Final[Mapping[str, Callable[[Container, str], bool]]] = {
    "id": lambda c, v: c.id.startswith(v),
    "label": lambda c, v: has_label(c.config.labels or {}, v),
    "status": lambda c, v: c.state.status == v,
    "exited": lambda c, v: (
        not c.state.is_alive and c.state.finished_at != times.ZERO_TIME and c.state.exit_code == int(v)
    ),
    "network": _on_network,
    "volume": _uses_volume,
    "health": lambda c, v: v == (c.state.health.status if c.state.health else "none"),
    "is-task": lambda c, v: v.lower() in ("false", "0"),
}


_NO_HEALTH: Final = SummaryHealth(status="none", failing_streak=0)
_QUOTED: Final = re.compile(r"[\s'\"]")


def _command(argv: list[str]) -> str:
    return " ".join([word if word and not _QUOTED.search(word) else f"'{word}'" for word in argv])


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


def _health(health: Health | None) -> SummaryHealth:
    if health is None:
        return _NO_HEALTH
    return SummaryHealth(status=str(health.status), failing_streak=health.failing_streak)


def _health_note(health: Health | None) -> str:
    if health is None:
        return ""
    return " (health: starting)" if health.status is HealthStatus.STARTING else f" ({health.status})"


def _since(moment: str) -> str:
    return human_duration((time.time_ns() - times.from_rfc3339(moment)) / 1e9)
