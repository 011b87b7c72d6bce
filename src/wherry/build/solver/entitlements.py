"""What a build may only do when its client allows it, and the daemon."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.build.model.graph import ExecOp, NetworkMode, Op, SecurityMode
from wherry.errors import Forbidden, InvalidInput

__all__ = ["ENTITLEMENTS", "check", "granted"]

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


def check(op: Op, entitlements: frozenset[str]) -> None:
    """Whether a build may carry out an operation.

    :raises Forbidden: it needs an entitlement that it does not have.
    """
    if not isinstance(op, ExecOp):
        return
    needed = {
        "network.host": op.network == NetworkMode.HOST,
        "security.insecure": op.security == SecurityMode.INSECURE,
        "device": any(not device.endswith("?") for device in op.devices),
    }
    for name, is_needed in needed.items():
        if is_needed and name not in entitlements:
            raise Forbidden(f"{name} is not allowed")
