"""Directories of this machine that the steps of a build see: ``wherry build -v SOURCE:TARGET[:ro]``.

Whoever asks for one has the daemon's API, and so could run a container with it; a Dockerfile, or a graph that a client
of BuildKit's sends, cannot ask.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final

import msgspec

from wherry.build.model.graph import BuildMount, HostDirectory
from wherry.errors import InvalidInput

__all__ = ["OPTION", "parse", "sources"]

OPTION: Final = "volumes"  #: of the frontend: a list in JSON
_MOST: Final = 100


def parse(text: str) -> tuple[BuildMount, ...]:
    """Mounts for each step.

    :param text: a list of ``SOURCE:TARGET[:ro|rw]`` in JSON; empty: there are none.
    :raises InvalidInput: it makes no sense.
    """
    if not text:
        return ()
    try:
        given = msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"error reading volumes: {error}") from error
    if len(given) > _MOST:
        raise InvalidInput(f"there are {len(given)} volumes, where {_MOST} are allowed")
    return tuple(map(_mount, given))


def sources(mounts: Iterable[BuildMount]) -> frozenset[str]:
    """What of this machine some mounts show."""
    return frozenset(mount.kind.source for mount in mounts if isinstance(mount.kind, HostDirectory))


def _mount(text: str) -> BuildMount:
    source, _, rest = text.partition(":")
    target, _, access = rest.partition(":")
    if not source.startswith("/") or not target.startswith("/") or "\0" in text:
        raise InvalidInput(f"invalid volume {text[:200]!r}: it is SOURCE:TARGET[:ro], both absolute paths")
    if access not in ("", "ro", "rw"):
        raise InvalidInput(f"invalid volume {text[:200]!r}: invalid mode: {access}")
    if posixpath.normpath(target).strip("/") == "":
        raise InvalidInput(f"invalid volume {text[:200]!r}: destination can't be '/'")
    return BuildMount(posixpath.normpath("/" + target.lstrip("/")), HostDirectory(source), readonly=access == "ro")
