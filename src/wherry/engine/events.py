"""The Engine API's events: published by the engine's parts, delivered to subscribers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final

from msgspec import UNSET

from wherry.docker.events import Event, EventActor
from wherry.docker.filters import Filters, check_names, has_label

__all__ = ["EventBus"]

_HISTORY: Final = 1024
_QUEUE: Final = 8192
_FORMERLY: Final = ("container", "image")  #: whose events have members for clients before API 1.22


class EventBus:
    """Publishes events to subscribers and remembers the last 1024 of them."""

    def __init__(self) -> None:
        self._past: deque[Event] = deque(maxlen=_HISTORY)
        self._queues: set[asyncio.Queue[Event]] = set()
        self.published = 0  #: how many there were

    @property
    def subscribers(self) -> int:
        """How many follow."""
        return len(self._queues)

    def publish(self, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        """Publish an event that happens now.

        :param kind: ``container``, ``image``, ``daemon`` ...
        :param action: ``start``, ``die``, ``exec_create: sh`` ...
        """
        moment = time.time_ns()
        event = Event(
            type=kind,
            action=action,
            actor=EventActor(identifier, dict(attributes)),
            time=moment // 1_000_000_000,
            time_nano=moment,
            status=action if kind in _FORMERLY else UNSET,
            id=identifier if kind in _FORMERLY else UNSET,
            source=attributes.get("image", "") if kind == "container" else UNSET,
        )
        self.published += 1
        self._past.append(event)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()  # a subscriber that does not read loses the oldest event
            queue.put_nowait(event)

    def subscribe(self, filters: Filters, since: int | None, until: int | None) -> AsyncGenerator[Event, None]:
        """Past events since a time, then the coming ones until a time; times are nanoseconds since the epoch.

        Without a start, but with an end, all past events up to it are delivered, as by dockerd.

        :raises InvalidInput: there is no such filter.
        """
        check_names(filters, _FILTERS)
        if since is None and until is not None:
            since = 0
        return self._subscription(filters, since, time.time_ns() if until == 0 else until)

    async def _subscription(
        self, filters: Filters, since: int | None, until: int | None
    ) -> AsyncGenerator[Event, None]:
        queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        past = [event for event in self._past if since is not None and event.time_nano >= since]
        self._queues.add(queue)
        try:
            for event in past:
                if until is not None and event.time_nano > until:
                    return
                if matches(event, filters):
                    yield event
            while True:
                wait = None if until is None else (until - time.time_ns()) / 1e9
                try:
                    event = await asyncio.wait_for(queue.get(), wait)
                except TimeoutError:
                    return
                if matches(event, filters):
                    yield event
        finally:
            self._queues.discard(queue)


def matches(event: Event, filters: Filters) -> bool:
    """Whether an event passes: of each filter's values one has to match, of ``label`` all."""
    return all(_passes(event, name, values) for name, values in filters.items() if values)


def _passes(event: Event, name: str, values: list[str]) -> bool:
    test = _TESTS.get(name)
    if test is not None:
        return test(event, values)
    return event.type == name and _names(event.actor, values)


def _is_action(event: Event, values: list[str]) -> bool:
    """``exec_start`` stands for every ``exec_start: COMMAND``."""
    return any(value in (event.action, event.action.partition(":")[0]) for value in values)


def _is_image(event: Event, values: list[str]) -> bool:
    shown = event.actor.attributes.get("image" if event.type == "container" else "name", "")
    return any(value in (shown, shown.partition(":")[0], event.actor.id) for value in values)


_TESTS: Final[Mapping[str, Callable[[Event, list[str]], bool]]] = {
    "type": lambda event, values: event.type in values,
    "scope": lambda event, values: event.scope in values,
    "event": _is_action,
    "image": _is_image,
    "label": lambda event, values: all(has_label(event.actor.attributes, value) for value in values),
}


#: dockerd ignores all others.
_FILTERS: Final = frozenset(
    {*_TESTS, "builder", "config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"}
)


def _names(actor: EventActor, values: list[str]) -> bool:
    name = actor.attributes.get("name", "")
    return any(value and (name == value.removeprefix("/") or actor.id.startswith(value)) for value in values)
