"""Network options of ``wherryd``; names and meanings are dockerd's (``dockerd(8)``, ``daemon.json``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wherry.daemon.option import Option
from wherry.errors import InvalidInput
from wherry.network.model import NetworkOptions, PoolSetting

if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORK_OPTIONS: Final = (
    Option(("-b", "--bridge"), "bridge", "text", "a bridge for the default network; none: no default network", "NAME"),
    Option(("--bip",), "bip", "text", "address and prefix length of the default bridge", "CIDR"),
    Option(("--bip6",), "bip6", "text", "the same for IPv6", "CIDR"),
    Option(
        ("--default-address-pool",),
        "default-address-pools",
        "pools",
        "base=CIDR,size=BITS: where networks get their subnets from (repeatable)",
        "POOL",
    ),
    Option(("--default-gateway",), "default-gateway", "text", "the router of the default bridge's containers", "IP"),
    Option(
        ("--default-gateway-v6",), "default-gateway-v6", "text", "the same for IPv6", "IP", field="default_gateway6"
    ),
    Option(
        ("--default-network-opt",),
        "default-network-opts",
        "maps",
        "DRIVER=key=value: an option that networks get unless they say otherwise (repeatable)",
        "OPTION",
    ),
    Option(("--dns",), "dns", "list", "a name server for containers (repeatable)", "IP"),
    Option(
        ("--dns-opt",),
        "dns-opts",
        "list",
        "a resolver option for containers (repeatable)",
        "OPTION",
        field="dns_options",
    ),
    Option(("--dns-search",), "dns-search", "list", "a domain to complete short names with (repeatable)", "DOMAIN"),
    Option(("--fixed-cidr",), "fixed-cidr", "text", "the default bridge's addresses for containers", "CIDR"),
    Option(("--fixed-cidr-v6",), "fixed-cidr-v6", "text", "the same for IPv6", "CIDR", field="fixed_cidr6"),
    Option(
        ("--host-gateway-ip",),
        "host-gateway-ips",
        "list",
        "what host-gateway means in --add-host",
        "IP",
        field="host_gateway_ips",
    ),
    Option(("--icc",), "icc", "switch", "containers on the default bridge reach one another (default true)"),
    Option(
        ("--ip",),
        "ip",
        "text",
        "where ports are published that name no address (default 0.0.0.0)",
        "IP",
        field="host_address",
    ),
    Option(("--ip-forward",), "ip-forward", "switch", "switch forwarding on in the kernel (default true)"),
    Option(
        ("--ip-forward-no-drop",),
        "ip-forward-no-drop",
        "switch",
        "with --ip-forward: let the host route between its other links, too",
    ),
    Option(("--ip-masq",), "ip-masq", "switch", "containers reach outside with the host's address (default true)"),
    Option(("--ipv6",), "ipv6", "switch", "IPv6 on the default bridge (default false; one that has it keeps it)"),
    Option(("--mtu",), "mtu", "number", "MTU of containers' interfaces (default: the uplink's)", "BYTES"),
)

_PLAIN: Final = frozenset(("text", "number", "switch", "list"))


def network_options(values: Mapping[str, Any]) -> NetworkOptions:
    """What the values of the command line and the file say about networks.

    :raises InvalidInput: one makes no sense.
    """
    given: dict[str, Any] = {}
    for option in NETWORK_OPTIONS:
        if option.name in values and option.kind in _PLAIN:
            value = values[option.name]
            given[option.field or option.name] = tuple(value) if option.kind == "list" else value
    for name in ("dns", "host_gateway_ips"):
        for text in given.get(name, ()):
            _check_address(text, name)
    if "host_address" in given:
        _check_address(given["host_address"], "ip")
    return NetworkOptions(
        **given,
        pools=tuple(_pool(text) for text in values.get("default_address_pool", [])),
        default_options=_by_driver(values.get("default_network_opt", [])),
    )


def _check_address(text: str, option: str) -> None:
    from ipaddress import ip_address  # noqa: PLC0415 - not needed by a daemon without such options

    try:
        ip_address(text)
    except ValueError:
        raise InvalidInput(f'invalid value "{text}" for "{option.replace("_", "-")}": it is no IP address') from None


def _pool(text: str) -> PoolSetting:
    """``base=10.10.0.0/16,size=24``."""
    from ipaddress import ip_network  # noqa: PLC0415 - not needed by a daemon without such options

    fields = dict(field.strip().partition("=")[::2] for field in text.split(","))
    if set(fields) != {"base", "size"} or not fields["size"].isdecimal():
        raise InvalidInput(f'invalid default address pool "{text}": it must be base=CIDR,size=BITS')
    try:
        return PoolSetting(ip_network(fields["base"]), int(fields["size"]))
    except ValueError as exc:
        raise InvalidInput(f'invalid address pool "{fields["base"]}"', cause=str(exc)) from exc


def _by_driver(texts: list[str]) -> dict[str, dict[str, str]]:
    """``bridge=com.docker.network.driver.mtu=1400``."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        driver, equals, option = text.partition("=")
        key, second, value = option.partition("=")
        if not (driver and equals and key and second):
            raise InvalidInput(f'invalid default network option "{text}": it must be DRIVER=key=value')
        found.setdefault(driver, {})[key] = value
    return found
