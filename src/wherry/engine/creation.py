"""Making a container: everything is checked, then one directory and one row make it exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from wherry.engine import clock, files
from wherry.engine.config import ContainerConfig, CreateRequest, HostConfig, LogConfig
from wherry.engine.container import Container, Definition
from wherry.engine.merge import command_of, merge_image_config
from wherry.engine.mounts import mount_points
from wherry.engine.names import new_id, short
from wherry.engine.registry import Registry
from wherry.engine.settings import Settings
from wherry.engine.validate import validate_create
from wherry.errors import InvalidInput, OutOfSpace, SystemFault

__all__ = ["Creator", "ImageFacts"]

_LOCAL_NETWORKS: Final = frozenset({"none", "host"})


class ImageFacts(Protocol):
    """What creating a container needs to know of its image."""

    @property
    def id(self) -> object:
        """The digest of its configuration; its text is its ID."""

    @property
    def config(self) -> dict[str, Any]:
        """The ``config`` member of its configuration, in the specification's JSON names."""

    @property
    def os(self) -> str:
        """The operating system that it is for."""


class Creator:
    """Makes containers.

    :param find_image: looks an image up by name or ID; raises ``NotFound`` in Docker's words.
    :param prepare: makes the writable layer of a container that has its directory.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        registry: Registry,
        find_image: Callable[[str], ImageFacts],
        prepare: Callable[[Container], None],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._find_image = find_image
        self._prepare = prepare

    def create(self, name: str | None, request: CreateRequest, platform: str | None) -> tuple[Container, list[str]]:
        """Make a container; returns it and the warnings for the caller.

        :raises InvalidInput: the request makes no sense.
        :raises NotFound: there is no such image.
        :raises Conflict: the name is taken.
        """
        config = _config_of(request)
        host = request.host_config or HostConfig()
        warnings = validate_create(config, host)
        image = self._image(config)
        merge_image_config(config, image.config)
        argv = command_of(config)
        mounts = mount_points(host)
        warnings += self._settle(config, host)
        reserved = self._registry.reserve_name(name)
        try:
            definition = Definition(
                id=new_id(), created=clock.now(), image=config.image or "", image_id=str(image.id),
                platform=platform or "linux", argv=argv, config=config, host=host, mounts=mounts,
            )  # fmt: skip
            _default_hostname(definition)
            return self._make(reserved, definition), warnings
        finally:
            self._registry.release_name(reserved)

    def _image(self, config: ContainerConfig) -> ImageFacts:
        if not config.image:
            raise InvalidInput("no image was specified")
        return self._find_image(config.image)

    def _make(self, name: str, definition: Definition) -> Container:
        container = self._registry.add(name, definition)
        try:
            files.make_data_directories(container)
            self._prepare(container)
        except BaseException as exc:
            self._registry.forget(container)
            files.remove_tree(container.directory)
            if isinstance(exc, OSError):
                kind = OutOfSpace if exc.errno in (28, 122) else SystemFault
                raise kind("cannot make the container's directory", cause=str(exc)) from exc
            raise
        return container

    def _settle(self, config: ContainerConfig, host: HostConfig) -> list[str]:
        """Replace what was left open by what holds for this engine, so that inspect tells the truth."""
        settings, warnings = self._settings(), []
        host.shm_size = host.shm_size or settings.shm_size
        host.ipc_mode = host.ipc_mode or "private"
        host.cgroupns_mode = host.cgroupns_mode or ("host" if host.privileged and _cgroup_v1() else "private")
        host.log_config = _log_config(host.log_config, settings)
        host.runtime = "wherry"
        if host.oom_kill_disable and not _can_disable_oom_killer():
            host.oom_kill_disable = None
            warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        warnings += _settle_network(config, host)
        return warnings


def _config_of(request: CreateRequest) -> ContainerConfig:
    return ContainerConfig(**{name: getattr(request, name) for name in ContainerConfig.__struct_fields__})


def _default_hostname(definition: Definition) -> None:
    config, host = definition.config, definition.host
    if config.hostname or host.uts_mode == "host":
        return
    config.hostname = os.uname().nodename if host.network_mode == "host" else short(definition.id)


def _settle_network(config: ContainerConfig, host: HostConfig) -> list[str]:
    """Only ``none``, ``host`` and another container's network exist yet; what means "the default" is ``none``."""
    mode = host.network_mode or "default"
    if config.network_disabled:
        mode = "none"
    if mode in ("default", "bridge"):
        mode = "none"
    elif mode not in _LOCAL_NETWORKS and not mode.startswith("container:"):
        # not a NotFound: docker's command takes that for a missing image, and pulls
        raise InvalidInput(f"network {mode} not found")
    host.network_mode = mode
    published = any((host.port_bindings or {}).values()) or host.publish_all_ports
    if published and mode != "host":
        return ["Published ports are discarded: this version of wherry has no bridge networks"]
    return ["Published ports are discarded when using host network mode"] if published else []


def _log_config(asked: LogConfig | None, settings: Settings) -> LogConfig:
    kind = (asked.type if asked else "") or settings.log_driver
    options = dict((asked.config if asked else None) or {})
    if not (asked and asked.type):
        options = {**settings.log_options, **options}
    return LogConfig("none" if kind == "none" else "json-file" if kind == "json-file" else "local", options)


def _cgroup_v1() -> bool:
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _can_disable_oom_killer() -> bool:
    return Path("/sys/fs/cgroup/memory/memory.oom_control").exists() or _cgroup_v1()
