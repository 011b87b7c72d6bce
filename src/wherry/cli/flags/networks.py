"""``--network`` in its short and its long form, and the endpoint settings that follow from it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags.parser import Options

__all__ = ["endpoint", "endpoints", "network"]


def network(text: str) -> dict[str, Any]:
    """Read ``name`` or ``name=net,alias=a,ip=10.0.0.5,driver-opt=key=value``.

    :raises ValueError: a field is unknown.
    """
    if "=" not in text:
        return {"name": text}
    from wherry.cli.flags.mounts import csv_fields

    result: dict[str, Any] = {"name": ""}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise ValueError(f"invalid key=value pair: {field}")
        if key == "alias":
            result.setdefault("aliases", []).append(value)
        elif key == "driver-opt":
            name, equals, text = value.partition("=")
            if not equals:
                raise ValueError("invalid key value pair format in driver options")
            result.setdefault("driver_opts", {})[name.strip().lower()] = text.strip()
        elif key == "link-local-ip":
            result.setdefault("link_local", []).append(value)
        elif key in ("name", "ip", "ip6", "mac-address"):
            result[key] = value
        elif key == "gw-priority":
            result[key] = int(value)
        else:
            raise ValueError(f"invalid field key {key}")
    if not result["name"]:
        raise ValueError("network name/id is not specified")
    return result


def endpoint(one: dict[str, Any]) -> dict[str, Any]:
    """The API's EndpointSettings for one network."""
    addresses: dict[str, Any] = {}
    if one.get("ip"):
        addresses["IPv4Address"] = one["ip"]
    if one.get("ip6"):
        addresses["IPv6Address"] = one["ip6"]
    if one.get("link_local"):
        addresses["LinkLocalIPs"] = one["link_local"]
    return {
        "IPAMConfig": addresses or None,
        "Links": one.get("links"),
        "Aliases": one.get("aliases"),
        "MacAddress": one.get("mac-address", ""),
        "DriverOpts": one.get("driver_opts"),
        "GwPriority": one.get("gw-priority", 0),
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }


def endpoints(options: Options) -> tuple[str, dict[str, Any]]:
    """The network mode of a container, and its endpoint settings for each network.

    :returns: the network mode, and the API's EndpointsConfig.
    :raises wherry.errors.InvalidInput: a setting is given twice.
    """
    networks: list[dict[str, Any]] = [dict(one) for one in options["network"]] or [{"name": "default"}]
    _apply_single_flags(networks[0], options)
    mode = networks[0]["name"]
    shown = "network" in options.given and len(networks) == 1 and set(networks[0]) == {"name"}
    if shown:
        return mode, {}
    return mode, {one["name"]: endpoint(one) for one in networks}


def _apply_single_flags(first: dict[str, Any], options: Options) -> None:
    """Apply ``--ip``, ``--network-alias`` and others like them to the first network."""
    user_defined = first["name"] not in ("default", "bridge", "host", "none") and ":" not in first["name"]
    if options["network-alias"]:
        _check_conflict(first, "aliases", "--network-alias", "alias")
        first["aliases"] = list(options["network-alias"])
    if options["link"] and user_defined:
        first["links"] = list(options["link"])
    if options["link-local-ip"]:
        _check_conflict(first, "link_local", "--link-local-ip", "link-local-ip")
        first["link_local"] = list(options["link-local-ip"])
    for name in ("ip", "ip6", "mac-address"):
        if options[name]:
            _check_conflict(first, name, f"--{name}", name)
            first[name] = options[name]


def _check_conflict(first: dict[str, Any], key: str, flag: str, field: str) -> None:
    if first.get(key):
        from wherry.errors import InvalidInput

        raise InvalidInput(f"conflicting options: cannot specify both {flag} and per-network {field}")
