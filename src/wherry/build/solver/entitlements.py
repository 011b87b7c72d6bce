"""What a build may only do when its client allows it, and the daemon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wherry.build.model.graph import BuildMount, ExecOp, Op, SecurityMode
from wherry.build.model.host_directories import sources
from wherry.build.model.network import NetworkMode, StepNetwork
from wherry.errors import Forbidden, InvalidInput

__all__ = ["ENTITLEMENTS", "Permissions", "granted"]

ENTITLEMENTS = ("network.host", "security.insecure", "device")


def granted(asked: Iterable[str], allowed: frozenset[str]) -> frozenset[str]:
    """The entitlements of a build; texts as in BuildKit, which clients show.

    :param asked: what the client allows; ``device=NAME`` is a device's.
    :param allowed: what the daemon's configuration does.
    :raises InvalidInput: there is no such entitlement.
    :raises Forbidden: the daemon does not allow it.
    """
    found = set()
    for text in asked:
        name = text.partition("=")[0]
        if name not in ENTITLEMENTS:
            raise InvalidInput(f"unknown entitlement {text}")
        if name not in allowed:
            raise Forbidden(f"granting entitlement {name} is not allowed by build daemon configuration")
        found.add(name)
    return frozenset(found)


@dataclass(frozen=True)
class Permissions:
    """What the steps of a build may do.

    :param entitlements: as `granted` gives them.
    :param joins: the container whose network they may have; empty: none.
    :param binds: what of this machine they may see (`host_directories`).
    """

    entitlements: frozenset[str] = frozenset()
    joins: str = ""
    binds: frozenset[str] = frozenset()

    def check(self, op: Op) -> None:
        """Whether an operation may be part of the build, whoever has carried it out.

        :raises Forbidden: it needs what the build does not have.
        """
        if not isinstance(op, ExecOp):
            return
        network = StepNetwork.parse(op.network)
        needed = {
            "network.host": network.mode is NetworkMode.HOST,
            "security.insecure": op.security == SecurityMode.INSECURE,
            "device": any(not device.endswith("?") for device in op.devices),
        }
        for name, is_needed in needed.items():
            if is_needed and name not in self.entitlements:
                raise Forbidden(f"{name} is not allowed")
        if network.mode is NetworkMode.CONTAINER and network.name != self.joins:
            raise Forbidden("the network of a container is not allowed")
        self.check_sources(op.mounts)

    def check_sources(self, mounts: Iterable[BuildMount]) -> None:
        """Whether steps may see what mounts show of this machine.

        :raises Forbidden: they may not.
        """
        if not sources(mounts) <= self.binds:
            raise Forbidden("directories of the host are not allowed")
