"""``wherry network create``: make a network that containers can join."""

from __future__ import annotations

import sys

from wherry.cli.flags import BOOL, LIST, MAP, STRING, Command, Flag
from wherry.cli.kinds import LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "create_body", "run"]

COMMAND = Command(
    "[OPTIONS] NETWORK",
    "Make a network that containers can join",
    (
        Flag("attachable", "", BOOL, "For swarms; without effect"),
        Flag("aux-address", "", MAP, "Address that no container gets (name=address)"),
        Flag("config-from", "", STRING, "For swarms: network whose configuration is taken"),
        Flag("config-only", "", BOOL, "For swarms: make a configuration only"),
        Flag("driver", "d", STRING, "What kind of network: bridge, macvlan or dummy", "bridge"),
        Flag("gateway", "", LIST, "The router's address in a subnet"),
        Flag("ingress", "", BOOL, "For swarms"),
        Flag("internal", "", BOOL, "No way out, only to one another"),
        Flag("ip-range", "", LIST, "Part of a subnet that containers get addresses from"),
        Flag("ipam-driver", "", STRING, "Who manages addresses", "default"),
        Flag("ipam-opt", "", MAP, "Option for who manages addresses (key=value)"),
        Flag("ipv4", "", BOOL, "With IPv4 addresses", True),
        Flag("ipv6", "", BOOL, "With IPv6 addresses (when not said: if the host has them)"),
        Flag("label", "", LABEL, "Note of your own (key=value)"),
        Flag("opt", "o", MAP, "Option for the kind of network (key=value)"),
        Flag("scope", "", STRING, "How far it reaches: local"),
        Flag("subnet", "", LIST, "Range of addresses (10.1.0.0/24)"),
    ),
    least=1,
    most=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make it, and print its ID."""
    made = context.client.networks.create(create_body(options, arguments[0]))
    if made.get("Warning"):
        sys.stderr.write(f"WARNING: {made['Warning']}\n")
    sys.stdout.write(f"{made['Id']}\n")
    return 0


def create_body(options: Options, name: str) -> dict[str, Any]:
    """Say what the network is to be: the body of ``POST /networks/create`` that the ``docker`` command sends.

    :raises wherry.errors.InvalidInput: the addresses do not go together.
    """
    body: dict[str, Any] = {
        "Name": name,
        "Driver": options["driver"],
        "Scope": options["scope"],
        "IPAM": {
            "Driver": options["ipam-driver"],
            "Options": dict(options["ipam-opt"]),
            "Config": _pools(options),
        },
        "Internal": options["internal"],
        "Attachable": options["attachable"],
        "Ingress": options["ingress"],
        "ConfigOnly": options["config-only"],
        "ConfigFrom": {"Network": options["config-from"]} if options["config-from"] else None,
        "Options": dict(options["opt"]),
        "Labels": dict(options["label"]),
    }
    for flag, member in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if flag in options.given:
            body[member] = options[flag]
    return body


def _pools(options: Options) -> list[dict[str, Any]]:
    """Give every subnet the range, gateway and auxiliary addresses that lie in it."""
    if not options["subnet"]:
        if options["ip-range"] or options["gateway"] or options["aux-address"]:
            raise _invalid("every ip-range or gateway or auxiliary address must have a corresponding subnet")
        return []
    import ipaddress

    def parsed(text: str, what: str) -> Any:
        try:
            return ipaddress.ip_interface(text)
        except ValueError:
            raise _invalid(f"invalid {what}: {text}") from None

    pools: dict[str, dict[str, Any]] = {text: {"Subnet": text} for text in options["subnet"]}
    nets = [(text, parsed(text, "subnet").network) for text in options["subnet"]]
    for index, (_, net) in enumerate(nets):
        if any(net.version == other.version and net.overlaps(other) for _, other in nets[:index]):
            raise _invalid("multiple overlapping subnet configuration is not supported")
    for flag, member in (("ip-range", "IPRange"), ("gateway", "Gateway")):
        for text in options[flag]:
            pool = pools[_home(nets, parsed(text, flag).ip, f"no matching subnet for {flag} {text}")]
            if member in pool:
                raise _invalid(f"cannot configure multiple {flag}s ({text}, {pool[member]}) on the same subnet")
            pool[member] = text
    for key, text in options["aux-address"]:
        pool = pools[_home(nets, parsed(text, "aux-address").ip, f"no matching subnet for aux-address {text}")]
        pool.setdefault("AuxiliaryAddresses", {})[key] = text
    return [dict(pool) for pool in pools.values()]


def _home(nets: list[tuple[str, Any]], address: Any, otherwise: str) -> str:
    for text, net in nets:
        if net.version == address.version and address in net:
            return text
    raise _invalid(otherwise)


def _invalid(message: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(message)
