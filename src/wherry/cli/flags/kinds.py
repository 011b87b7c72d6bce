"""Types of flag values beyond numbers and strings: sizes, durations, limits, devices.

A parser with a module of its own is imported when such a flag is used.
"""

from __future__ import annotations

from wherry.cli.flags.parser import Kind, integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ADD_HOST",
    "ATTACH",
    "BYTES",
    "BYTES_OR_MINUS_ONE",
    "CPUS",
    "DNS",
    "DURATION",
    "ENV",
    "INT32",
    "LABEL",
    "LINK",
    "MOUNT",
    "NETWORK",
    "SYSCTL",
    "THROTTLE_BPS",
    "THROTTLE_IOPS",
    "UINT16",
    "ULIMIT",
    "WEIGHT_DEVICE",
]


def _size(text: str) -> int:
    from wherry.docker.units import parse_size

    return parse_size(text)


def _size_or_minus_one(text: str) -> int:
    return -1 if text == "-1" else _size(text)


def _duration(text: str) -> int:
    from wherry.docker.units import parse_duration

    return parse_duration(text)


def _cpus(text: str) -> int:
    from wherry.docker.units import parse_cpus

    return parse_cpus(text)


def _mount(text: str) -> dict[str, Any]:
    from wherry.cli.flags.mounts import mount

    return mount(text)


def _network(text: str) -> dict[str, Any]:
    from wherry.cli.flags.networks import network

    return network(text)


def _ulimit(text: str) -> dict[str, Any]:
    from wherry.cli.flags.limits import ulimit

    return ulimit(text)


def _weight(text: str) -> dict[str, Any]:
    from wherry.cli.flags.limits import weight_device

    return weight_device(text)


def _bps(text: str) -> dict[str, Any]:
    from wherry.cli.flags.limits import throttle_bytes

    return throttle_bytes(text)


def _iops(text: str) -> dict[str, Any]:
    from wherry.cli.flags.limits import throttle_operations

    return throttle_operations(text)


def _attach(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _label(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise ValueError(f"invalid label '{text}': empty name")
    return key, value


def _sysctl(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    known = key.startswith(
        ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.", "net.", "user.", "kernel.domainname")
    )
    if not equals or not known:
        raise ValueError(f"sysctl '{text}' is not allowed")
    return key, value


def _add_host(text: str) -> str:
    cut = text.find("=") if "=" in text else text.find(":")
    name, address = text[:cut], text[cut + 1 :]
    if cut < 1 or not address:
        raise ValueError(f'bad format for add-host: "{text}"')
    address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if address != "host-gateway" and not is_address(address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def is_address(text: str) -> bool:
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def _dns(text: str) -> str:
    if not is_address(text):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text


def _link(text: str) -> str:
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise ValueError(f"bad format for links: {text}")
    return text


def _env(text: str) -> str:
    if not text or text.startswith("="):
        raise ValueError(f"invalid environment variable: {text}")
    if "=" not in text:
        import os

        return f"{text}={os.environ[text]}" if text in os.environ else text
    return text


ADD_HOST = Kind("list", _add_host, (), multiple=True)
ATTACH = Kind("list", _attach, (), multiple=True)
BYTES = Kind("bytes", _size, 0)
BYTES_OR_MINUS_ONE = Kind("bytes", _size_or_minus_one, 0)
CPUS = Kind("decimal", _cpus, 0)
DNS = Kind("list", _dns, (), multiple=True)
DURATION = Kind("duration", _duration, 0)
ENV = Kind("list", _env, (), multiple=True)
INT32 = Kind("int", integer(32), 0)
LABEL = Kind("list", _label, (), multiple=True)
LINK = Kind("list", _link, (), multiple=True)
MOUNT = Kind("mount", _mount, (), multiple=True)
NETWORK = Kind("network", _network, (), multiple=True)
SYSCTL = Kind("map", _sysctl, (), multiple=True)
THROTTLE_BPS = Kind("list", _bps, (), multiple=True)
THROTTLE_IOPS = Kind("list", _iops, (), multiple=True)
UINT16 = Kind("uint16", integer(16, signed=False), 0)
ULIMIT = Kind("ulimit", _ulimit, (), multiple=True)
WEIGHT_DEVICE = Kind("list", _weight, (), multiple=True)
