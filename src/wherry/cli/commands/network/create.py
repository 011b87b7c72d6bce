"""``wherry network create``: create a network."""

from __future__ import annotations

from wherry.cli.console import write, write_error
from wherry.cli.flags.kinds import LABEL
from wherry.cli.flags.parser import BOOL, LIST, MAP, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "create_body", "run"]

COMMAND = Command(
    "[OPTIONS] NETWORK",
    "Create a network that containers can connect to",
    (
        Flag("attachable", "", BOOL, "Enable manual attachment (for swarms; without effect)"),
        Flag("aux-address", "", MAP, "Auxiliary address, which no container gets (name=address)"),
        Flag("config-from", "", STRING, "The network from which to copy the configuration"),
        Flag("config-only", "", BOOL, "Create a configuration only network"),
        Flag("driver", "d", STRING, "Driver of the network: bridge, macvlan, ipvlan or dummy", "bridge"),
        Flag("gateway", "", LIST, "Gateway of a subnet (the router's address)"),
        Flag("ingress", "", BOOL, "Create the routing-mesh network (for swarms)"),
        Flag("internal", "", BOOL, "Restrict external access: containers reach only one another"),
        Flag("ip-range", "", LIST, "Allocate container addresses from this part of a subnet"),
        Flag("ipam-driver", "", STRING, "IP address management (IPAM) driver", "default"),
        Flag("ipam-opt", "", MAP, "IPAM driver option (key=value)"),
        Flag("ipv4", "", BOOL, "Enable IPv4 address assignment", True),
        Flag("ipv6", "", BOOL, "Enable IPv6 address assignment"),
        Flag("label", "", LABEL, "Set a label, metadata of the network (key=value)"),
        Flag("opt", "o", MAP, "Driver option (key=value)"),
        Flag("scope", "", STRING, "Scope of the network: local"),
        Flag("subnet", "", LIST, "Subnet in CIDR format (10.1.0.0/24)"),
    ),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create the network and print its ID."""
    made = context.client.networks.create(create_body(options, arguments[0]))
    if made.get("Warning"):
        write_error("WARNING: {}\n", made["Warning"])
    write("{}\n", made["Id"])
    return 0


def create_body(options: Options, name: str) -> dict[str, Any]:
    """The body of ``POST /networks/create``, as the ``docker`` command sends it.

    :raises wherry.errors.InvalidInput: the addresses conflict.
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
    """Assign the ranges, gateways and auxiliary addresses to the subnets that contain them."""
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
