"""Everything about one container: the Engine API's ContainerInspect."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import msgspec

from wherry.engine.container import Container
from wherry.engine.mounts import MountPoint
from wherry.engine.network_modes import parse_links
from wherry.engine.network_shown import network_settings
from wherry.engine.security import apparent_paths
from wherry.engine.state import Status

__all__ = ["image_shown", "inspect", "mounts_shown"]

Json = dict[str, Any]

_NUMBERS: Final = (
    "CpuShares", "Memory", "NanoCpus", "BlkioWeight", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod",
    "CpuRealtimeRuntime", "MemoryReservation", "MemorySwap", "OomScoreAdj", "ShmSize", "CpuCount", "CpuPercent",
    "IOMaximumIOps", "IOMaximumBandwidth",
)  # fmt: skip
_TEXTS: Final = (
    "CgroupParent", "CpusetCpus", "CpusetMems", "ContainerIDFile", "VolumeDriver", "CgroupnsMode", "IpcMode", "Cgroup",
    "PidMode", "UTSMode", "UsernsMode", "Runtime", "Isolation", "NetworkMode",
)  # fmt: skip
_FLAGS: Final = ("AutoRemove", "Privileged", "PublishAllPorts", "ReadonlyRootfs", "OomKillDisable")
_LISTS: Final = ("Devices", "Dns", "DnsOptions", "DnsSearch", "BlkioWeightDevice", "BlkioDeviceReadBps",
                 "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps")  # fmt: skip


def inspect(
    container: Container,
    names_of: Callable[[str], list[str]],
    find: Callable[[str], Container | None],
    size: tuple[int, int] | None,
) -> Json:
    """The body of ContainerInspect.

    :param names_of: the names that an image has.
    :param find: the container that has an ID.
    :param size: bytes in the writable layer and in all of the root, if the caller wants them.
    """
    definition, state = container.definition, container.state
    body: Json = {
        "Id": container.id,
        "Created": definition.created,
        "Path": definition.argv[0],
        "Args": definition.argv[1:],
        "State": state_shown(container),
        "Image": definition.image_id,
        "ResolvConfPath": str(container.run_directory / "resolv.conf"),
        "HostnamePath": str(container.run_directory / "hostname"),
        "HostsPath": str(container.run_directory / "hosts"),
        "LogPath": str(container.log_directory),
        "Name": f"/{container.name}",
        "RestartCount": state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": {**host_config_shown(container), "Links": _links_shown(container, find)},
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {"UpperDir": str(container.directory / "upper"), "WorkDir": str(container.directory / "work")},
        },
        "Mounts": mounts_shown(container),
        "Config": config_shown(container),
        "NetworkSettings": network_settings(container),
    }
    if size is not None:
        body["SizeRw"], body["SizeRootFs"] = size
    return body


def state_shown(container: Container) -> Json:
    """The API's ``State``."""
    state = container.state
    shown = {
        "Status": str(state.status),
        "Running": state.is_alive or state.status is Status.RESTARTING,
        "Paused": state.status is Status.PAUSED,
        "Restarting": state.status is Status.RESTARTING,
        "OOMKilled": state.oom_killed,
        "Dead": state.status is Status.DEAD,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    }
    if state.health is not None:
        shown["Health"] = msgspec.to_builtins(state.health)
    return shown


def config_shown(container: Container) -> Json:
    """The API's ``Config``, without nulls where Docker has none."""
    shown: Json = msgspec.to_builtins(container.config)
    for name in ("Hostname", "Domainname", "User", "WorkingDir"):
        shown[name] = shown[name] or ""
    for name in ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"):
        shown[name] = bool(shown[name])
    shown["Image"] = container.definition.image
    shown["Env"] = shown["Env"] or []
    shown["Labels"] = shown["Labels"] or {}
    for name in (
        "ExposedPorts",
        "Healthcheck",
        "ArgsEscaped",
        "NetworkDisabled",
        "MacAddress",
        "StopSignal",
        "Shell",
    ):
        if not shown[name]:
            del shown[name]
    if shown["StopTimeout"] is None:
        del shown["StopTimeout"]  # 0 is a wish
    return shown


def host_config_shown(container: Container) -> Json:
    """The API's ``HostConfig``: what was asked for, completed with what holds."""
    shown: Json = msgspec.to_builtins(container.host)
    for names, default in ((_NUMBERS, 0), (_TEXTS, ""), (_FLAGS, False)):
        for name in names:
            shown[name] = shown[name] or default
    for name in _LISTS:
        shown[name] = shown[name] or []
    shown["PortBindings"] = {
        port: [{name: text or "" for name, text in binding.items()} for binding in bindings or []]
        for port, bindings in (shown["PortBindings"] or {}).items()
    }
    shown["RestartPolicy"] = shown["RestartPolicy"] or {"Name": "no", "MaximumRetryCount": 0}
    shown["RestartPolicy"]["Name"] = shown["RestartPolicy"]["Name"] or "no"
    shown["ConsoleSize"] = shown["ConsoleSize"] or [0, 0]
    shown["MaskedPaths"] = apparent_paths(container.host)["maskedPaths"]
    shown["ReadonlyPaths"] = apparent_paths(container.host)["readonlyPaths"]
    for name in ("Mounts", "Tmpfs", "StorageOpt", "Sysctls", "Init", "Annotations", "KernelMemory"):
        if shown[name] is None:
            del shown[name]
    return shown


def _links_shown(container: Container, find: Callable[[str], Container | None]) -> list[str] | None:
    """Links on the default bridge, as Docker shows them: ``/db:/web/alias``."""
    found = []
    for ref, alias in parse_links(container.host.links or []):
        other = find(ref)
        found.append(f"/{other.name if other else ref}:/{container.name}/{alias}")
    return found or None


def mounts_shown(container: Container) -> list[Json]:
    """The API's ``Mounts``."""
    return [_mount_shown(point) for point in container.definition.mounts if point.mode == "" or point.kind == "bind"]


def _mount_shown(point: MountPoint) -> Json:
    return {
        "Type": point.kind,
        "Source": os.fspath(point.source),
        "Destination": point.target,
        "Mode": point.mode,
        "RW": point.writable,
        "Propagation": point.propagation,
    }


def image_shown(container: Container, names_of: Callable[[str], list[str]]) -> str:
    """The image as the user named it, or its ID when that name is another image's now."""
    image, identifier = container.definition.image, container.definition.image_id
    if identifier.startswith(image) or identifier.partition(":")[2].startswith(image):
        return image
    known = names_of(identifier)
    return image if image in known or f"{image}:latest" in known or "@" in image else identifier
