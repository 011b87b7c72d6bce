"""``--volumes-from``: what other containers have mounted, in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.engine.create.mounts import in_order
from wherry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherry.engine.container.container import Container
    from wherry.engine.container.mount_point import MountPoint

__all__ = ["with_inherited"]

_ACCESS: Final = frozenset({"ro", "rw"})
_LABELS: Final = frozenset({"z", "Z"})
_CONSISTENCY: Final = frozenset({"consistent", "cached", "delegated"})


def with_inherited(
    points: Iterable[MountPoint], given: Iterable[str], find: Callable[[str], Container]
) -> list[MountPoint]:
    """A container's own mounts, and those of others where it has none.

    :param given: ``container`` or ``container:mode``; of two with the same target the later one counts.
    :param find: looks a container up by name or ID.
    :raises InvalidInput: there is no such container, or the mode is wrong; in Docker's words.
    """
    found: dict[str, MountPoint] = {}
    for text in given:
        name, writable = _parse(text)
        try:
            donor = find(name)
        except NotFound as exc:
            raise InvalidInput(exc.message) from exc
        kept = (point for point in donor.definition.mounts if point.target not in (donor.host.tmpfs or {}))
        found.update((point.target, _inherited(point, writable=writable)) for point in kept)
    return in_order({**found, **{point.target: point for point in points}}.values())


def _inherited(point: MountPoint, *, writable: bool) -> MountPoint:
    if point.writable and not writable:
        access = "rro" if point.kind == "bind" else "ro"
        point = replace(point, writable=False, options=[*point.options, access] if point.options else [])
    return replace(point, mode=point.mode if point.kind == "tmpfs" else "", copy=False)


def _parse(text: str) -> tuple[str, bool]:
    """A container's reference, and whether what comes of it is writable."""
    if not text:
        raise InvalidInput("volumes-from specification cannot be an empty string")
    name, _, mode = text.partition(":")
    words = mode.split(",") if mode else []
    for kind in (_ACCESS, _LABELS, _CONSISTENCY):
        if sum(word in kind for word in words) > 1:
            raise InvalidInput(f"invalid mode: {mode}")
    if not set(words) <= _ACCESS | _LABELS | _CONSISTENCY:
        raise InvalidInput(f"invalid mode: {mode}")
    return name, "ro" not in words
