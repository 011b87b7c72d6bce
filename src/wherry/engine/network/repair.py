"""Repair of interrupted changes: the daemon was killed while it connected or disconnected a container.

Two tables say where a container is: its definition, and the endpoints of `wherry.network`. A change writes one after
the other; so what only one of them has is half a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.docker.network_mode import HOST, NONE
from wherry.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.engine.container.container import Container
    from wherry.network.controller import Controller
    from wherry.network.model import Endpoint

__all__ = ["reconcile_memberships"]


def reconcile_memberships(container: Container, controller: Controller) -> tuple[Sequence[Endpoint], Sequence[str]]:
    """Roll back connects that were never acknowledged; complete interrupted disconnects.

    A container without any endpoint was not disconnected: its endpoints' table may be lost.

    :returns: the endpoints that the container has, and the names of the networks with half a change.
    """
    members = {_name(controller, ref): ref for ref in container.definition.networks}
    found = {controller.get(endpoint.network_id).name: endpoint for endpoint in controller.endpoints_of(container.id)}
    begun = found.keys() - members.keys()
    left = members.keys() - found.keys() - {HOST, NONE} if found else set()
    for name in begun:
        controller.forget(found.pop(name))
    for name in left:
        container.drop_membership(members[name])
    return list(found.values()), sorted(begun | left)


def _name(controller: Controller, ref: str) -> str:
    try:
        return controller.get(ref).name
    except NotFound:  # it was not there yet when the container was made, or is gone
        return ref
