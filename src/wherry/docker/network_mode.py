"""The network mode of a container, and links: what ``HostConfig.NetworkMode`` and ``HostConfig.Links`` can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from wherry.docker.container_requests import HostConfig

__all__ = [
    "HOST",
    "NONE",
    "is_default",
    "is_user_defined",
    "joined_container",
    "named_links",
    "parse_links",
    "without_link",
]

NONE: Final = "none"
HOST: Final = "host"
_DEFAULTS: Final = ("", "default")
_PREDEFINED: Final = ("bridge", "default", HOST, NONE)


def joined_container(mode: str | None) -> str | None:
    """The container whose network namespace a mode joins: ``web`` for ``container:web``; None for other modes."""
    kind, colon, name = (mode or "").partition(":")
    return name if colon and kind == "container" else None


def is_default(mode: str | None) -> bool:
    """Whether a mode stands for the default network of the engine."""
    return (mode or "") in _DEFAULTS


def is_user_defined(name: str) -> bool:
    """Whether a network is user-defined: only these have name resolution and let addresses be chosen."""
    return name not in _PREDEFINED and name != "" and joined_container(name) is None


def parse_links(links: list[str]) -> list[tuple[str, str]]:
    """Parse links, ``NAME[:ALIAS]`` each, into names and aliases; also ``/NAME:/THIS/ALIAS``, which dockerd shows.

    :raises InvalidInput: a link has another form.
    """
    found = []
    for link in links:
        name, colon, alias = link.partition(":")
        if not name or ":" in alias or (colon and not alias):
            raise InvalidInput(f"bad format for links: {link}")
        name = name.removeprefix("/")
        found.append((name, alias.rpartition("/")[2] if alias else name))
    return found


def named_links(host: HostConfig) -> dict[str, str]:
    """The IDs of what a container links to, by the aliases that make names of it (``/web/db``).

    On a network that has names a link is one more name there, and none of the engine's.
    """
    if not host.links or is_user_defined(host.network_mode or ""):
        return {}
    return {alias: identifier for identifier, alias in parse_links(host.links)}


def without_link(host: HostConfig, alias: str) -> list[str]:
    """The links of a container but the ones with an alias."""
    links = host.links or []
    return [link for link in links if parse_links([link])[0][1] != alias]
