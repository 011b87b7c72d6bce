"""What happens, told to whoever listens: the Engine API's events."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

__all__ = ["EventBus"]

_HISTORY: Final = 1024
_QUEUE: Final = 8192

Filters = Mapping[str, list[str]]


class EventBus:
    """Publishes events to subscribers and remembers the last 1024 of them."""

    def __init__(self) -> None:
        self._past: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    def publish(self, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        """Tell that something happened now.

        :param kind: ``container``, ``image``, ``daemon`` ...
        :param action: ``start``, ``die``, ``exec_create: sh`` ...
        """
        moment = time.time_ns()
        event: dict[str, Any] = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": identifier, "Attributes": dict(attributes)},
            "scope": "local",
            "time": moment // 1_000_000_000,
            "timeNano": moment,
        }
        if kind in ("container", "image"):  # members that clients before API 1.22 know
            event |= {"status": action, "id": identifier}
            if kind == "container":
                event["from"] = attributes.get("image", "")
        self._past.append(event)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()  # a subscriber that does not read loses the oldest, nobody else anything
            queue.put_nowait(event)

    async def subscribe(
        self, filters: Filters, since: int | None, until: int | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Past events since a time, then the coming ones until a time; times are nanoseconds since the epoch."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE)
        past = [event for event in self._past if since is not None and event["timeNano"] >= since]
        self._queues.add(queue)
        try:
            for event in past:
                if until is not None and event["timeNano"] > until:
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


def matches(event: Mapping[str, Any], filters: Filters) -> bool:
    """Whether an event passes: of each filter's values one has to match, of ``label`` all."""
    return all(_passes(event, name, values) for name, values in filters.items() if values)


def _passes(event: Mapping[str, Any], name: str, values: list[str]) -> bool:
    test = _TESTS.get(name)
    if test is not None:
        return test(event, values)
    actor = event["Actor"]
    return event["Type"] == name and _names(actor, actor["Attributes"].get("name", ""), values)


def _is_action(event: Mapping[str, Any], values: list[str]) -> bool:
    """``exec_start`` stands for every ``exec_start: COMMAND``."""
    return any(value in (event["Action"], event["Action"].partition(":")[0]) for value in values)


def _is_image(event: Mapping[str, Any], values: list[str]) -> bool:
    actor = event["Actor"]
    shown = actor["Attributes"].get("image" if event["Type"] == "container" else "name", "")
    return any(value in (shown, shown.partition(":")[0], actor["ID"]) for value in values)


_TESTS: Final[Mapping[str, Callable[[Mapping[str, Any], list[str]], bool]]] = {
    "type": lambda event, values: event["Type"] in values,
    "scope": lambda event, values: event["scope"] in values,
    "event": _is_action,
    "image": _is_image,
    "label": lambda event, values: all(has_label(event["Actor"]["Attributes"], value) for value in values),
}


def _names(actor: Mapping[str, Any], name: str, values: list[str]) -> bool:
    return any(value and (name == value.removeprefix("/") or actor["ID"].startswith(value)) for value in values)


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether labels contain ``key`` or ``key=value``."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
