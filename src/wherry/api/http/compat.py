"""Shape answers for an API version: which members it has.

The engine answers with the members of all versions, and here goes what a client's has not. The rules are dockerd's
("API version history" of the Docker documentation, and moby's ``daemon/server/router``). What requests mean is in
`older`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from wherry.api.http.answers import document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.api.http.request import Json
    from wherry.api.http.versions import Version
    from wherry.docker.container_answers import ContainerInspect, ContainerSummary
    from wherry.docker.events import Event
    from wherry.docker.system import DiskUsage, SystemInfo

__all__ = [
    "USAGE_TYPES",
    "container",
    "containers",
    "disk_usage",
    "event",
    "image",
    "images",
    "information",
    "network",
    "networks",
]

_ALIASES_ONLY: Final = (1, 45)  #: the short ID and the host name are in ``DNSNames`` only
_OCI: Final = (1, 52)  #: the version that dropped most of what was kept for clients before 1.21

#: The place on the default bridge, and what nobody has used for long.
_BRIDGE_ON_TOP: Final = (
    "Bridge", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "HairpinMode", "IPAddress",
    "IPPrefixLen", "IPv6Gateway", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "MacAddress",
    "SecondaryIPAddresses", "SecondaryIPv6Addresses",
)  # fmt: skip
_IMAGE_CONFIG: Final = (
    "User", "ExposedPorts", "Env", "Cmd", "Healthcheck", "ArgsEscaped", "Volumes", "WorkingDir", "Entrypoint",
    "OnBuild", "Labels", "StopSignal", "Shell",
)  # fmt: skip
#: What older clients find in an image's configuration even where it is not set ...
_EMPTY_IN_CONFIG: Final = {
    "Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "OnBuild": None, "User": "", "Volumes": None,
    "WorkingDir": "",
}  # fmt: skip
#: ... and what the oldest do though it is a container's.
_CONTAINERS_IN_CONFIG: Final = {
    "AttachStderr": False, "AttachStdin": False, "AttachStdout": False, "Domainname": "", "Hostname": "", "Image": "",
    "OpenStdin": False, "StdinOnce": False, "Tty": False,
}  # fmt: skip
_OMITTED_WHEN_EMPTY: Final = ("Author", "Comment", "DockerVersion", "Parent")
_NO_DATE: Final = "0001-01-01T00:00:00Z"

#: What the disk usage has of each ``type``: the member since 1.52, and those that it replaces.
_USAGE: Final = {
    "container": ("ContainerUsage", ("Containers",)),
    "image": ("ImageUsage", ("Images", "LayersSize", "BlobsSize")),
    "volume": ("VolumeUsage", ("Volumes",)),
    "build-cache": ("BuildCacheUsage", ("BuildCache",)),
}
USAGE_TYPES: Final = tuple(_USAGE)


def container(answer: ContainerInspect, version: Version) -> Json:
    """ContainerInspect."""
    shown: Json = document(answer)
    settings, config = shown["NetworkSettings"], shown["Config"]
    if version < _ALIASES_ONLY:
        for place in settings["Networks"].values():
            if place["DNSNames"] is not None:
                names = [*(place["Aliases"] or ()), shown["Id"][:12], config["Hostname"]]
                place["Aliases"] = [name for name in dict.fromkeys(names) if name]
    if version >= _OCI:
        _drop(settings, _BRIDGE_ON_TOP)
        _drop(config, ("MacAddress",))
        _drop_empty(config, ("OnBuild",))
    return shown


def containers(answers: Sequence[ContainerSummary], version: Version) -> Sequence[ContainerSummary]:
    """ContainerList; there may be thousands, which stay what they are."""
    for one in answers:
        if version < (1, 46):
            one.host_config.annotations = UNSET
        if version < _OCI:
            one.health = UNSET
    return answers


def image(shown: Json, version: Version) -> Json:
    """ImageInspect."""
    if version >= (1, 44):
        _drop(shown, ("VirtualSize",))
        if shown["Created"] == _NO_DATE:
            _drop(shown, ("Created",))
    if version < (1, 45):
        shown |= {"Container": "", "ContainerConfig": None}
    if version < (1, 48):
        _drop(shown, ("Descriptor",))
    if version >= _OCI:
        _drop_empty(shown, _OMITTED_WHEN_EMPTY)
    shown["Config"] = _image_config(shown["Config"] or {}, version)
    return shown


def _image_config(config: Json, version: Version) -> Json:
    found = {name: config[name] for name in _IMAGE_CONFIG if config.get(name)}
    if version >= _OCI:
        return found
    return {**(_CONTAINERS_IN_CONFIG if version < (1, 50) else {}), **_EMPTY_IN_CONFIG, **found}


def images(shown: Iterable[Json], version: Version) -> Iterable[Json]:
    """ImageList."""
    for one in shown:
        if version < (1, 43) and not one["RepoTags"] and not one["RepoDigests"]:
            one.update(RepoTags=["<none>:<none>"], RepoDigests=["<none>@<none>"])
        if version >= (1, 44):
            _drop(one, ("VirtualSize",))
        if version < (1, 51):
            one["Containers"] = -1
    return shown


def network(shown: Json, version: Version) -> Json:
    """NetworkInspect."""
    if version < _OCI:
        _drop(shown, ("Status",))
    return shown


def networks(shown: Iterable[Json], version: Version) -> Iterable[Json]:
    """NetworkList."""
    for one in shown:
        _drop(one, ("Status",))
        if version >= _OCI:
            _drop(one, ("Containers",))
    return shown


def information(answer: SystemInfo, version: Version) -> Json:
    """SystemInfo."""
    shown: Json = document(answer)
    if version < (1, 49):
        _drop(shown, ("FirewallBackend",))
    else:
        _drop(
            shown["RegistryConfig"],
            ("AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames"),
        )
        for name in ("ContainerdCommit", "InitCommit", "RuncCommit"):
            _drop(shown[name], ("Expected",))
    if version >= (1, 50):
        _drop(shown, ("BridgeNfIptables", "BridgeNfIp6tables"))
    if version < (1, 50) or not shown["DiscoveredDevices"]:
        _drop(shown, ("DiscoveredDevices",))
    return shown


def disk_usage(answer: DiskUsage, version: Version, types: Iterable[str], *, verbose: bool) -> Json:
    """SystemDataUsage.

    As from dockerd, who does not say ``verbose`` gets what there was before 1.52 as well: many clients name no version.

    :param types: what was asked for, of `USAGE_TYPES`; everything where it is empty.
    :param verbose: with every image and container.
    """
    shown: Json = document(answer)
    if version >= (1, 44):
        for one in shown["Images"]:
            _drop(one, ("VirtualSize",))
    found: Json = {}
    for usage, former in (_USAGE[name] for name in types or USAGE_TYPES):
        if version < _OCI or not verbose:
            found |= {name: shown[name] for name in former}
        if version >= _OCI:
            items = {"Items": shown[former[0]]} if verbose else {}
            found[usage] = {**shown[usage], **items}
    if version < (1, 42) and "BuildCache" in found:
        for one in found["BuildCache"]:
            one["Parent"] = next(iter(one.pop("Parents", None) or ()), "")
        found["BuilderSize"] = sum(one["Size"] for one in found["BuildCache"])
    return found


def event(found: Event, version: Version) -> Event | None:
    """One event of SystemEvents, or None where this version has no such event."""
    if version >= _OCI:
        return replace(found, status=UNSET, id=UNSET, source=UNSET)
    if version < (1, 46) and (found.type, found.action) == ("image", "create"):
        return None
    return found


def _drop(members: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        members.pop(name, None)


def _drop_empty(members: dict[str, Any], names: Iterable[str]) -> None:
    _drop(members, [name for name in names if not members.get(name)])
