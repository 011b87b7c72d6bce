"""Links on the default bridge: the containers that one links to, and the environment variables about them.

On a network that has names a link is one more name there, and none of this (`wherry.engine.network.dns_directory`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.docker.network_mode import is_user_defined, parse_links
from wherry.docker.ports import exposed_ports
from wherry.engine.network.memberships import check_link_target
from wherry.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.docker.container_requests import HostConfig
    from wherry.engine.container.container import Container
    from wherry.engine.container.store import ContainerStore

__all__ = ["Links", "link_environment"]

_NOT_LINKED: Final = ("HOME", "PATH")  # of a linked container's environment


class Links:
    """Finds the containers at either end of links."""

    def __init__(self, containers: ContainerStore) -> None:
        self._containers = containers

    def of(self, container: Container, *, strict: bool = False) -> list[tuple[str, Container]]:
        """The containers that a container on the default bridge links to, by alias.

        :param strict: they have to exist and run.
        :raises InvalidInput: one does not exist.
        :raises Conflict: one does not run, or is not on the default bridge.
        """
        found = []
        for name, alias in _wanted(container):
            try:
                other = self._linkable(name)
            except InvalidInput:
                if strict:
                    raise
                continue
            if strict and not other.state.is_alive:
                raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}")
            if strict and "bridge" not in other.endpoints:
                raise Conflict(f"Cannot link to /{other.name}, as it does not belong to the default network")
            found.append((alias, other))
        return found

    def to(self, target: Container) -> list[Container]:
        """The running containers that link to one."""
        linking = (one for one in self._containers if one.host.links and one.state.is_alive)
        return [one for one in linking if any(other is target for _, other in self.of(one))]

    def resolve(self, host: HostConfig) -> HostConfig:
        """The configuration of a new container with the IDs of the containers that it links to on the default bridge.

        On a network with names the other container may be created later.

        :raises InvalidInput: there is no such container, or it has no network of its own.
        """
        if is_user_defined(host.network_mode or "") or not host.links:
            return host
        links: dict[str, Container] = {}
        for name, alias in parse_links(host.links):
            links.setdefault(alias, self._linkable(name))  # as in Docker an alias is the first one's that takes it
        for other in links.values():
            check_link_target(other.host)
        return replace(host, links=[f"{other.id}:{alias}" for alias, other in links.items()])

    def _linkable(self, name: str) -> Container:
        try:
            return self._containers.get(name)
        except NotFound as exc:
            raise InvalidInput(f"could not get container for {name}", cause=str(exc)) from exc


def _wanted(container: Container) -> list[tuple[str, str]]:
    """The links of a container on the default bridge: names of containers, and the aliases that it gives them."""
    if not container.host.links or "bridge" not in container.definition.networks:
        return []
    return parse_links(container.host.links)


def link_environment(container: Container, linked: Sequence[tuple[str, Container]]) -> list[str]:
    """The environment variables about linked containers, as moby's ``links.Link.ToEnv`` makes them."""
    return [line for alias, other in linked for line in _one_link(container, alias, other)]


def _one_link(container: Container, alias: str, other: Container) -> list[str]:
    endpoint = other.endpoints.get("bridge")
    if endpoint is None or endpoint.ipv4 is None:
        return []
    prefix, address = alias.replace("-", "_").upper(), endpoint.ipv4
    ports = exposed_ports(other.config, other.host)
    lines = [f"{prefix}_PORT={proto}://{address}:{port}" for port, proto in ports[:1]]
    for port, proto in ports:
        one = f"{prefix}_PORT_{port}_{proto.upper()}"
        lines += [
            f"{one}={proto}://{address}:{port}",
            f"{one}_ADDR={address}",
            f"{one}_PORT={port}",
            f"{one}_PROTO={proto}",
        ]
    lines.append(f"{prefix}_NAME=/{container.name}/{alias}")
    for entry in other.config.env or []:
        name, equals, value = entry.partition("=")
        if equals and name not in _NOT_LINKED:
            lines.append(f"{prefix}_ENV_{name}={value}")
    return lines
