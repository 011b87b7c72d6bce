"""Everything about one container: the Engine API's ContainerInspect."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET

from wherry.docker.container_answers import ContainerInspect, ContainerState, GraphDriver, MountView
from wherry.docker.network_mode import parse_links
from wherry.engine.container import etc_files
from wherry.engine.container.container import Container
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.state import Status
from wherry.engine.log_drivers.table import driver_of
from wherry.engine.network.views import network_settings_to_api
from wherry.engine.spec.security import masked_paths, readonly_paths

__all__ = ["image_name", "inspect", "mounts_to_api"]

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
) -> ContainerInspect:
    """The body of ContainerInspect.

    :param names_of: the names that an image has.
    :param find: the container that has an ID.
    :param size: bytes in the writable layer and in all of the root, if the caller wants them.
    """
    definition, state = container.definition, container.state
    upper, work = (str(container.directory / name) for name in ("upper", "work"))
    size_rw, size_root_fs = size or (UNSET, UNSET)
    return ContainerInspect(
        id=container.id,
        created=definition.created,
        path=definition.argv[0],
        args=definition.argv[1:],
        state=state_to_api(container),
        image=definition.image_id,
        resolv_conf_path=str(etc_files.path_of(container, "resolv.conf")),
        hostname_path=str(etc_files.path_of(container, "hostname")),
        hosts_path=str(etc_files.path_of(container, "hosts")),
        log_path=_log_path(container),
        name=f"/{container.name}",
        restart_count=state.restart_count,
        exec_ids=list(container.exec_ids) or None,
        host_config={**host_config_to_api(container), "Links": _links_to_api(container, find)},
        graph_driver=GraphDriver(name="overlay2", data={"UpperDir": upper, "WorkDir": work}),
        mounts=mounts_to_api(container),
        config=config_to_api(container),
        network_settings=network_settings_to_api(container),
        size_rw=size_rw,
        size_root_fs=size_root_fs,
    )


def _log_path(container: Container) -> str:
    config = container.host.log_config
    driver = driver_of(config)
    if driver.writes_file((config.config if config else None) or {}):
        return str(container.log_file)
    return str(container.log_directory) if driver.has_log_path else ""


def state_to_api(container: Container) -> ContainerState:
    """The API's ``State``."""
    state = container.state
    return ContainerState(
        status=str(state.status),
        running=state.is_alive or state.status is Status.RESTARTING,
        paused=state.status is Status.PAUSED,
        restarting=state.status is Status.RESTARTING,
        oom_killed=state.oom_killed,
        dead=state.status is Status.DEAD,
        pid=state.pid,
        exit_code=state.exit_code,
        error=state.error,
        started_at=state.started_at,
        finished_at=state.finished_at,
        health=UNSET if state.health is None else state.health,
    )


def config_to_api(container: Container) -> Json:
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


def host_config_to_api(container: Container) -> Json:
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
    shown["MaskedPaths"] = list(masked_paths(container.host))
    shown["ReadonlyPaths"] = list(readonly_paths(container.host))
    for name in ("Mounts", "Tmpfs", "StorageOpt", "Sysctls", "Init", "Annotations", "KernelMemory"):
        if shown[name] is None:
            del shown[name]
    return shown


def _links_to_api(container: Container, find: Callable[[str], Container | None]) -> list[str] | None:
    """Links on the default bridge, as Docker shows them: ``/db:/web/alias``."""
    found = []
    for ref, alias in parse_links(container.host.links or []):
        other = find(ref)
        found.append(f"/{other.name if other else ref}:/{container.name}/{alias}")
    return found or None


def mounts_to_api(container: Container) -> list[MountView]:
    """The API's ``Mounts``."""
    return [_mount_to_api(point) for point in container.definition.mounts if point.mode == "" or point.kind != "tmpfs"]


def _mount_to_api(point: MountPoint) -> MountView:
    return MountView(
        type=point.kind, source=os.fspath(point.source), destination=point.target, mode=point.mode, rw=point.writable,
        propagation=point.propagation, name=point.name or UNSET, driver=point.driver or UNSET,
    )  # fmt: skip


def image_name(container: Container, names_of: Callable[[str], list[str]]) -> str:
    """The image as the user named it, or its ID when that name is another image's now."""
    image, identifier = container.definition.image, container.definition.image_id
    if identifier.startswith(image) or identifier.partition(":")[2].startswith(image):
        return image
    known = names_of(identifier)
    return image if image in known or f"{image}:latest" in known or "@" in image else identifier
