"""systemd's names: a container's *scope*, a unit for processes that others make, and the *slice* that it is in.

See systemd.scope(5), systemd.slice(5) and systemd.resource-control(5). A unit's place in the hierarchies follows from
its name, so it is known before the unit is made.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from wherry.errors import InvalidInput

__all__ = ["Scope", "expand_slice", "scope_of"]

_LONGEST: Final = 255
#: systemd's ``VALID_CHARS`` of unit names.
_NAME: Final = r"[A-Za-z0-9:_.\\@-]+"
_SLICE: Final = ".slice"


class Scope(NamedTuple):
    """Where systemd puts a container.

    :ivar unit: ``wherry-<id>.scope``; a container may also have a slice to itself.
    :ivar slice: the unit that it is in; empty for none (a slice's place is in its name).
    :ivar path: of the control group, from the hierarchies' roots.
    :ivar user: whether the user's manager is asked, and not the system's.
    :ivar container_id: for the unit's description.
    :ivar properties: further ones of the unit: name, signature of D-Bus, value.
    """

    unit: str
    slice: str
    path: str
    user: bool
    container_id: str
    properties: tuple[tuple[str, str, object], ...] = ()


def scope_of(
    cgroups_path: str,
    container_id: str,
    *,
    user: bool = False,
    root: str = "",
    properties: tuple[tuple[str, str, object], ...] = (),
) -> Scope:
    """Return the scope that a ``cgroupsPath`` means: ``slice:prefix:name``, or empty for ``wherry-<id>``.

    :param user: whether the user's manager is to be asked.
    :param root: the manager's own control group; empty for the system's, which has the hierarchies' roots.
    :raises InvalidInput: it is of another form, or no name of a unit.
    """
    parts = (cgroups_path or f":wherry:{container_id}").split(":")
    if len(parts) != 3:  # runc's words, which callers know
        text = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups'
        raise InvalidInput(f'{text}, got "{cgroups_path}" instead')
    within, prefix, name = parts
    within = within or ("user.slice" if user else "system.slice")
    inside = expand_slice(within)
    unit = name if name.endswith(_SLICE) else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if not name or not re.fullmatch(_NAME, unit) or len(unit) > _LONGEST:
        raise InvalidInput(f"cgroupsPath {cgroups_path!r} gives no name of a unit")
    place = expand_slice(unit) if unit.endswith(_SLICE) else f"{inside.rstrip('/')}/{unit}"
    return Scope(unit, within, root.rstrip("/") + place, user, container_id, properties)


def expand_slice(name: str) -> str:
    """Return the path of a slice's control group: each dash is one more level; ``-.slice`` is the root.

    :raises InvalidInput: it is no name of a slice.
    """
    if name == "-.slice":
        return "/"
    stem = name.removesuffix(_SLICE)
    parts = stem.split("-")
    if not name.endswith(_SLICE) or not all(parts) or not re.fullmatch(_NAME, name) or len(name) > _LONGEST:
        raise InvalidInput(f"invalid slice name: {name!r}")
    return "".join(f"/{'-'.join(parts[: count + 1])}{_SLICE}" for count in range(len(parts)))
