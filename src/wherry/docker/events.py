"""Events of the Engine API: the answer of SystemEvents, one object for each."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

__all__ = ["Event", "EventActor"]


class EventActor(Struct, rename="pascal", frozen=True):
    """The object that an event is about."""

    id: str = field(name="ID")
    attributes: dict[str, str]


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened; times are seconds and nanoseconds since the epoch.

    :ivar status: with `id` and `source` the members that clients before API 1.22 know, of containers and images.
    """

    type: str = field(name="Type")
    action: str = field(name="Action")
    actor: EventActor = field(name="Actor")
    scope: str = "local"
    time: int
    time_nano: int = field(name="timeNano")
    status: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    source: str | UnsetType = field(default=UNSET, name="from")
