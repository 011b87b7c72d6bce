"""Everything about one container: the Engine API's ContainerInspect."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import UNSET

from wherry.docker.configuration_answers import ConfigView, HostConfigView, PortBindingView, completed
from wherry.docker.container_answers import ContainerInspect, ContainerState, GraphDriver, MountView
from wherry.docker.container_requests import Healthcheck, RestartPolicy
from wherry.docker.network_mode import parse_links
from wherry.engine.container import etc_files
from wherry.engine.container.container import Container
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.state import Status
from wherry.engine.log_drivers.table import driver_of
from wherry.engine.network.views import network_settings_to_api
from wherry.engine.spec.security import masked_paths, readonly_paths

__all__ = ["image_name", "inspect", "mounts_to_api"]


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
        host_config=host_config_to_api(container, find),
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


def config_to_api(container: Container) -> ConfigView:
    """The API's ``Config``, without nulls where Docker has none."""
    config = container.config
    return completed(
        ConfigView, config, image=container.definition.image, exposed_ports=config.exposed_ports or UNSET,
        healthcheck=UNSET if config.healthcheck in (None, Healthcheck()) else config.healthcheck,
        args_escaped=config.args_escaped or UNSET, network_disabled=config.network_disabled or UNSET,
        mac_address=config.mac_address or UNSET, stop_signal=config.stop_signal or UNSET, shell=config.shell or UNSET,
    )  # fmt: skip


def host_config_to_api(container: Container, find: Callable[[str], Container | None]) -> HostConfigView:
    """The API's ``HostConfig``: what was asked for, completed with what holds."""
    host = container.host
    policy = host.restart_policy or RestartPolicy()
    return completed(
        HostConfigView,
        host,
        port_bindings={
            port: [PortBindingView(host_ip=one.host_ip or "", host_port=one.host_port or "") for one in bindings or ()]
            for port, bindings in (host.port_bindings or {}).items()
        },
        restart_policy=RestartPolicy(policy.name or "no", policy.maximum_retry_count),
        links=_links_to_api(container, find),
        masked_paths=list(masked_paths(host)),
        readonly_paths=list(readonly_paths(host)),
    )


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


def image_name(image: str, identifier: str, names_of: Callable[[str], list[str]]) -> str:
    """A container's image as the user named it, or its ID when that name is another image's now."""
    if identifier.startswith(image) or identifier.partition(":")[2].startswith(image):
        return image
    known = names_of(identifier)
    return image if image in known or f"{image}:latest" in known or "@" in image else identifier
