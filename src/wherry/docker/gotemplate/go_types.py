"""The Go types of the API's responses: which members are maps, slices and pointers.

JSON tells neither a map, which may be asked for any key, from a structure, which has its fields and no others, nor what
kind of thing ``null`` is, nor what was left out because it is empty. Docker's templates show all three.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Map", "NilList", "NilPointer", "Struct", "with_go_types", "zero_value"]


class Map(dict[str, Any]):
    """A Go map.

    :ivar zero: what ``index`` gives for a key that it has not.
    :ivar is_nil: whether it is nil, which prints like an empty map except in JSON.
    """

    zero: Any = ""
    is_nil = False


class NilList(list[Any]):
    """A nil slice of Go."""


class NilPointer:
    """A nil pointer of Go."""

    def __bool__(self) -> bool:
        return False


class Struct(dict[str, Any]):
    """A Go structure.

    :ivar empty: the fields that the API leaves out when they are empty.
    """

    empty: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NIL = NilPointer()
_MAPS = _words(
    "Annotations Attributes AuxiliaryAddresses Containers Data DriverOpts ExposedPorts IndexConfigs Labels "
    "Networks Options PortBindings Ports Runtimes StorageOpt Sysctls Tmpfs Volumes"
)
_LISTS = _words(
    "Aliases Args Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps "
    "BlkioWeightDevice CapAdd CapDrop Cmd DNSNames Devices DeviceCgroupRules DeviceRequests Dns DnsOptions "
    "DnsSearch Entrypoint Env ExecIDs ExtraHosts GroupAdd LinkLocalIPs Links MaskedPaths Mounts OnBuild "
    "ReadonlyPaths RepoDigests RepoTags SecondaryIPAddresses SecondaryIPv6Addresses SecurityOpt SecurityOptions "
    "Shell Ulimits VolumesFrom Warnings"
)
_POINTERS = _words("Health Healthcheck IPAMConfig Init MemorySwappiness OomKillDisable PidsLimit StopTimeout")
_EMPTY = {
    "Config": _words("Cmd Entrypoint Env ExposedPorts Healthcheck Labels OnBuild Shell StopTimeout Volumes"),
    "HostConfig": _words("Annotations Init Mounts StorageOpt Sysctls Tmpfs"),
    "State": _words("Health"),
}
_ZEROS: dict[str, Any] = {"Networks": _NIL, "PortBindings": NilList(), "Ports": NilList()}


def with_go_types(value: Any, name: str = "", parent: str = "") -> Any:
    """Convert a value of the API, and everything in it, to its Go types.

    :param name: the member that it is of.
    :param parent: the member that this one is in.
    """
    is_map = name in _MAPS or (parent, name) == ("LogConfig", "Config")
    if isinstance(value, dict):
        found: Map | Struct = Map() if is_map else Struct()
        found.update((key, with_go_types(item, "" if is_map else key, name)) for key, item in value.items())
        if isinstance(found, Map):
            found.zero = _ZEROS.get(name, "")
        else:
            found.empty = _EMPTY.get(name, frozenset())
        return found
    if isinstance(value, list):
        return [with_go_types(item) for item in value]
    return zero_value(name) if value is None else value


def zero_value(name: str) -> Any:
    """The value of a member that is null or absent."""
    if name in _MAPS:
        found = Map()
        found.is_nil = True
        return found
    if name in _LISTS:
        return NilList()
    return _NIL if name in _POINTERS else None
