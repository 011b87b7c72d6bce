"""``--publish`` and ``--expose``."""

from __future__ import annotations

from wherry.cli.flags.kinds import is_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["port_bindings"]

_PROTOCOLS = ("tcp", "udp", "sctp")


def _invalid(message: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(message)


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low, high = int(first), int(last if dash else first)
    except ValueError:
        raise _invalid(f"invalid {what}: {text}") from None
    if not (0 <= low <= high <= 65535):
        raise _invalid(f"invalid {what}: {text}")
    return low, high


def _protocol(text: str) -> tuple[str, str]:
    port, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise _invalid(f"invalid proto: {protocol}")
    return port, protocol


def _split(text: str) -> tuple[str, str, str]:
    """Split ``[address:][host port:]container port``; an IPv6 address may be in brackets."""
    head, colon, container = text.rpartition(":")
    if not colon:
        return "", "", container
    address, _, host = head.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address and not is_address(address):
        raise _invalid(f"invalid IP address: {address}")
    return address, host, container


def _long_form(text: str) -> str:
    """Convert ``published=8080,target=80,protocol=udp`` to the short form."""
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    unknown = set(fields) - {"published", "target", "protocol", "mode"}
    if unknown or "target" not in fields:
        raise _invalid(f"invalid field {min(unknown)}" if unknown else f"missing mandatory field 'target' in {text}")
    published = f"{fields['published']}:" if fields.get("published") else ""
    return f"{published}{fields['target']}/{fields.get('protocol', 'tcp')}"


def _bindings(text: str) -> Iterable[tuple[str, dict[str, str]]]:
    if "=" in text:
        text = _long_form(text)
    ports, protocol = _protocol(text)
    address, host, container = _split(ports)
    if not container:
        raise _invalid(f"no port specified: {text}<empty>")
    low, high = _range(container, "containerPort")
    if not host:
        return [(f"{port}/{protocol}", {"HostIp": address, "HostPort": ""}) for port in range(low, high + 1)]
    first, last = _range(host, "hostPort")
    if last - first != high - low:
        if low != high:
            raise _invalid(f"invalid ranges specified for container and host Ports: {container} and {host}")
        return [(f"{low}/{protocol}", {"HostIp": address, "HostPort": host})]
    return [
        (f"{low + step}/{protocol}", {"HostIp": address, "HostPort": str(first + step)})
        for step in range(high - low + 1)
    ]


def port_bindings(publish: Iterable[str], expose: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read ``--publish`` and ``--expose`` values.

    :returns: the API's ExposedPorts and PortBindings.
    :raises wherry.errors.InvalidInput: invalid port.
    """
    exposed: dict[str, Any] = {}
    bindings: dict[str, Any] = {}
    for text in publish:
        for port, binding in _bindings(text):
            exposed[port] = {}
            bindings.setdefault(port, []).append(binding)
    for text in expose:
        if ":" in text:
            raise _invalid(f"invalid port format for --expose: {text}")
        ports, protocol = _protocol(text)
        low, high = _range(ports, "range format for --expose")
        exposed.update({f"{port}/{protocol}": {} for port in range(low, high + 1)})
    return exposed, bindings
