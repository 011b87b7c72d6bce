"""``wherry port audit``: the tables of what is reachable from where."""

from __future__ import annotations

from wherry.cli.console import printable
from wherry.cli.output.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["audit_text"]

_SHOWN = 2
"""Addresses in a row: a port on every address of a host with many networks would fill the screen."""
_NOTHING = "No port of a container is reachable from outside its network.\n"


def audit_text(found: dict[str, Any]) -> str:
    """The response of ``GET /wherry/networks/audit`` as tables."""
    parts = [_ports(found["Ports"]), _networks(found["Networks"])]
    parts += [f"WARNING: {text}\n" for text in printable(found["Warnings"])]
    return "\n".join(part for part in parts if part)


def _ports(ports: list[dict[str, Any]]) -> str:
    if not ports:
        return _NOTHING
    rows = [["CONTAINER", "PORT", "REACHED FROM", "AT", "LISTENING", "WHY"]]
    for one in ports:
        listening = {True: "yes", False: "no"}.get(one["Listening"], "?")
        rows.append([one["Container"], one["Port"], one["From"], _at(one["At"]), listening, one["Why"]])
    return align(rows)


def _at(addresses: list[str]) -> str:
    more = f" and {len(addresses) - _SHOWN} more" if len(addresses) > _SHOWN else ""
    return ", ".join(addresses[:_SHOWN]) + more or "-"


def _networks(networks: list[dict[str, Any]]) -> str:
    if not networks:
        return ""
    rows = [["NETWORK", "DRIVER", "EACH OTHER", "OUTSIDE", "CONTAINERS"]]
    for one in networks:
        among = "every port" if one["Open"] else "nothing"
        outside = "no way" if one["Internal"] else "can go out"
        rows.append([one["Network"], one["Driver"], among, outside, ", ".join(one["Containers"])])
    return align(rows)
