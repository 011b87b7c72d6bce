"""Adapt requests to their API version: what it lacks is left out, what it meant then is meant.

Each rule is one of dockerd's ("API version history" of the Docker documentation); newer dockerds keep to them as well.
What answers look like is in `compat`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.docker.container_requests import HostConfig
from wherry.docker.networks import EndpointSettings, PortBinding
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.api.http.versions import Version
    from wherry.docker.container_requests import CreateRequest, Mount

__all__ = [
    "adapt",
    "adapt_connect",
    "adapt_exec",
    "adapt_platform",
    "adapt_signal",
    "adapt_update",
    "check_platforms",
    "reads_only_at_the_top",
]

_MAC_DEPRECATED: Final = (
    "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
)
_MAC_REMOVED: Final = "container-wide MAC address no longer supported; use endpoint-specific MAC address instead"
_EMPTY_BINDINGS: Final = (
    "Following container port(s) have an empty list of port-bindings: {ports}. "
    "Such bindings will be discarded in a future version."
)
_DEVICE_LIMITS: Final = (
    "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops",
    "blkio_device_write_iops",
)  # fmt: skip


def reads_only_at_the_top(version: Version) -> bool:
    """Whether to a client a read-only bind is read-only, and what is mounted below it is not."""
    return version < (1, 44)


def adapt(request: CreateRequest, version: Version) -> tuple[CreateRequest, list[str]]:
    """What a client of this version means by a request, and warnings about that.

    :raises InvalidInput: it asks for what must not be left out silently, or for more networks than one.
    """
    host = _adapted(request.host_config or HostConfig(), version)
    if version < (1, 44):
        if request.healthcheck is not None:
            request.healthcheck.start_interval = None
        _adapt_networks(request)
    if version < (1, 48):
        for settings in _asked_networks(request).values():
            if settings is not None:
                settings.gw_priority = None
    _adapt_mounts(host.mounts or [], version)
    warnings = _about_mac(request, version)
    unbound = [port for port, bindings in (host.port_bindings or {}).items() if not bindings]
    if unbound and version >= (1, 52):
        warnings.append(_EMPTY_BINDINGS.format(ports=", ".join(unbound)))
    return replace(request, host_config=_with_bindings(host, unbound)), warnings


def _adapted(host: HostConfig, version: Version) -> HostConfig:
    if version < (1, 25):
        host = replace(host, auto_remove=None)  # the client does that
    if version < (1, 40):
        host = replace(host, ipc_mode=host.ipc_mode or "shareable")
    if version < (1, 42):
        host = replace(host, console_size=None)
    if version < (1, 43):
        host = replace(host, annotations=None)
    return host


def adapt_update(wanted: HostConfig, version: Version) -> HostConfig:
    """The same for ContainerUpdate."""
    if version < (1, 40):
        wanted = replace(wanted, pids_limit=None)
    if version < (1, 55):
        wanted = replace(wanted, **dict.fromkeys(_DEVICE_LIMITS, None))
    return wanted


def adapt_exec(size: tuple[int, int] | None, version: Version) -> tuple[int, int] | None:
    """The same for the size of an exec's terminal."""
    return size if version >= (1, 42) else None


def adapt_signal(name: str, version: Version) -> str | None:
    """The same for the signal that stops a container."""
    return name or None if version >= (1, 42) else None


def adapt_platform(text: str, version: Version) -> str | None:
    """The same for the platform of a new container."""
    return text or None if version >= (1, 41) else None


def adapt_connect(settings: EndpointSettings, version: Version) -> EndpointSettings:
    """The same for NetworkConnect."""
    if version < (1, 54):
        settings.mac_address = None
    return settings


def check_platforms(platforms: Sequence[str], version: Version) -> Sequence[str]:
    """See that a client of before 1.52 asks for one platform at most.

    :raises InvalidInput: for several.
    """
    if version < (1, 52) and len(platforms) > 1:
        raise InvalidInput(
            "multiple platform parameters are not supported in this API version; use API version 1.52 or later"
        )
    return platforms


def _about_mac(request: CreateRequest, version: Version) -> list[str]:
    if not request.mac_address or version < (1, 44):
        return []
    if version >= (1, 52):
        raise InvalidInput(_MAC_REMOVED)
    return [_MAC_DEPRECATED]


def _with_bindings(host: HostConfig, ports: Iterable[str]) -> HostConfig:
    """An empty list of bindings means: any host port. That is to change; newer clients get a warning."""
    if not host.port_bindings:
        return host
    return replace(host, port_bindings={**host.port_bindings, **{port: [PortBinding()] for port in ports}})


def _adapt_mounts(mounts: Iterable[Mount], version: Version) -> None:
    for mount in mounts:
        options = mount.bind_options
        if options is not None and version < (1, 40):
            options.non_recursive = None
        if version < (1, 42):
            if options is not None:
                options.create_mountpoint = None
            mount.volume_options = mount.volume_options if mount.type == "volume" else None
            mount.tmpfs_options = mount.tmpfs_options if mount.type == "tmpfs" else None
        if options is not None and version < (1, 44) and mount.type == "bind" and options.read_only_force_recursive:
            raise InvalidInput("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")


def _asked_networks(request: CreateRequest) -> dict[str, EndpointSettings | None]:
    return (request.networking_config and request.networking_config.endpoints_config) or {}


def _adapt_networks(request: CreateRequest) -> None:
    """One network at most, and its MAC address is the container's."""
    asked = _asked_networks(request)
    if len(asked) > 1:
        raise InvalidInput(f"Container cannot be created with multiple network endpoints: {', '.join(asked)}")
    for name, given in asked.items():
        settings = asked[name] = given or EndpointSettings()
        settings.mac_address = request.mac_address or None
