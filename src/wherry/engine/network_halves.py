"""Changes of networks that were cut short: the daemon was killed while it put a container on one, or took it off.

Two tables tell where a container is: its definition, and the endpoints of `wherry.network`. A change writes one after
the other; so what only one of them has is half a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.engine.network_modes import HOST, NONE
from wherry.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.engine.container import Container
    from wherry.network.model import Endpoint
    from wherry.network.networks import Networks

__all__ = ["whole"]


def whole(container: Container, networks: Networks) -> tuple[Sequence[Endpoint], Sequence[str]]:
    """Undo joins, of which nobody was told that they worked, and bring leavings to their end.

    Without any endpoint nothing is taken to be a leaving: then it may be the tables that are lost.

    :returns: the places that the container has, and the names of the networks that it was on by half.
    """
    members = {_name(networks, ref): ref for ref in container.definition.networks}
    found = {networks.get(endpoint.network_id).name: endpoint for endpoint in networks.endpoints_of(container.id)}
    begun = found.keys() - members.keys()
    left = members.keys() - found.keys() - {HOST, NONE} if found else set()
    for name in begun:
        networks.forget(found.pop(name))
    for name in left:
        del container.definition.networks[members[name]]
    return list(found.values()), sorted(begun | left)


def _name(networks: Networks, ref: str) -> str:
    try:
        return networks.get(ref).name
    except NotFound:  # it was not there yet when the container was made, or is gone
        return ref
