"""Making a container: everything is checked, then one directory and one row make it exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wherry.engine import clock, files
from wherry.engine.config import ContainerConfig, CreateRequest, HostConfig, LogConfig
from wherry.engine.container import Container, Definition
from wherry.engine.merge import command_of, merge_image_config
from wherry.engine.mounts import missing_volumes, mount_points
from wherry.engine.names import new_id, short
from wherry.engine.network_modes import joined_container
from wherry.engine.registry import Registry
from wherry.engine.settings import Settings
from wherry.engine.validate import validate_create
from wherry.errors import InvalidInput, NotFound, OutOfSpace, SystemFault
from wherry.images.checks import lacks_platform
from wherry.oci.platform import Platform
from wherry.runtime import cgroups

if TYPE_CHECKING:
    from wherry.engine.networking import Networking

__all__ = ["Creator", "ImageFacts"]


class ImageFacts(Protocol):
    """What creating a container needs to know of its image."""

    @property
    def id(self) -> object:
        """The digest of its configuration; its text is its ID."""

    @property
    def config(self) -> dict[str, Any]:
        """The ``config`` member of its configuration, in the specification's JSON names."""

    @property
    def platform(self) -> Platform:
        """What it is for."""


class Creator:
    """Makes containers.

    :param claim_image: looks an image up by name or ID, and keeps it from being removed inside the ``with`` block;
        raises ``NotFound`` in Docker's words.
    :param prepare: makes the writable layer of a container that has its directory.
    :param networking: knows which networks there are.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        registry: Registry,
        claim_image: Callable[[str], AbstractContextManager[ImageFacts]],
        prepare: Callable[[Container], None],
        networking: Networking,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._claim_image = claim_image
        self._prepare = prepare
        self._networking = networking

    def create(self, name: str | None, request: CreateRequest, platform: str | None) -> tuple[Container, list[str]]:
        """Make a container; returns it and the warnings for the caller.

        :param platform: what the image has to be for.
        :raises InvalidInput: the request makes no sense.
        :raises NotFound: there is no such image, or it is for another platform: Docker's clients fetch it then.
        :raises Conflict: the name is taken.
        """
        from wherry.engine.discards import leave_out  # noqa: PLC0415 - not at the daemon's start

        config = _config_of(request)
        host = request.host_config or HostConfig()
        self._settle_joined(host)
        warnings = [*leave_out(host, cgroups.features), *validate_create(config, host)]
        if not config.image:
            raise InvalidInput("no image was specified")
        with self._claim_image(config.image) as image:  # until the container's row protects it
            warnings += _check_platform(config.image, image.platform, platform)
            container = self._create(name, request, image, config=config, host=host, warnings=warnings)
        return container, warnings

    def _create(
        self,
        name: str | None,
        request: CreateRequest,
        image: ImageFacts,
        *,
        config: ContainerConfig,
        host: HostConfig,
        warnings: list[str],
    ) -> Container:
        volumes = list(config.volumes or ())
        merge_image_config(config, image.config)
        argv = command_of(config)
        mounts = mount_points(host)
        warnings += missing_volumes(volumes, mounts)
        asked = request.networking_config.endpoints_config if request.networking_config else None
        networks, about_networks = self._networking.settle(config, host, asked or {})
        self._settle(host)
        warnings += about_networks
        reserved = self._registry.reserve_name(name)
        try:
            definition = Definition(
                id=new_id(), created=clock.now(), image=config.image or "", image_id=str(image.id),
                platform=image.platform.os, argv=argv, config=config, host=host, mounts=mounts,
                networks=networks,
            )  # fmt: skip
            _default_hostname(definition)
            return self._make(reserved, definition)
        finally:
            self._registry.release_name(reserved)

    def _settle_joined(self, host: HostConfig) -> None:
        """Name containers whose namespaces are joined by their IDs, which stay when one is renamed.

        Whether they run is seen at the start; so is, as in Docker, whether one whose network is joined exists.

        :raises InvalidInput: there is no such container.
        """
        try:
            host.ipc_mode, host.pid_mode = self._by_id(host.ipc_mode), self._by_id(host.pid_mode)
        except NotFound as exc:
            raise InvalidInput(exc.message) from exc
        with suppress(NotFound):
            host.network_mode = self._by_id(host.network_mode)

    def _by_id(self, mode: str | None) -> str | None:
        joined = joined_container(mode)
        return f"container:{self._registry.get(joined).id}" if joined else mode

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

    def _settle(self, host: HostConfig) -> None:
        """Replace what was left open by what holds for this engine, so that inspect tells the truth."""
        settings = self._settings()
        host.shm_size = host.shm_size or settings.shm_size
        host.ipc_mode = host.ipc_mode or "private"
        host.cgroupns_mode = host.cgroupns_mode or ("host" if host.privileged and _cgroup_v1() else "private")
        host.log_config = _log_config(host.log_config, settings)
        host.runtime = "wherry"
        if host.memory and not host.memory_swap:
            host.memory_swap = 2 * host.memory  # Docker's default: as much swap as memory


def _config_of(request: CreateRequest) -> ContainerConfig:
    return ContainerConfig(**{name: getattr(request, name) for name in ContainerConfig.__struct_fields__})


def _check_platform(name: str, image: Platform, wanted: str | None) -> list[str]:
    """See that an image is for the platform asked for, or for this machine.

    :return: warnings, in Docker's words; programs for another processor may well run here, through binfmt_misc.
    :raises NotFound: it is for another platform than the one asked for.
    """
    if not image.architecture:  # it does not say: old imports
        return []
    if wanted:
        platform = Platform.parse(wanted)
        if platform.best_of([image]) is None:
            raise lacks_platform(name, platform)
        return []
    here = Platform.host()
    if image.architecture == here.architecture or here.best_of([image]) is not None:
        return []
    both = f"The requested image's platform ({image}) does not match the detected host platform ({here})"
    return [f"{both} and no specific platform was requested"]


def _default_hostname(definition: Definition) -> None:
    config, host = definition.config, definition.host
    if config.hostname or host.uts_mode == "host":
        return
    config.hostname = os.uname().nodename if host.network_mode == "host" else short(definition.id)


def _log_config(asked: LogConfig | None, settings: Settings) -> LogConfig:
    kind = (asked.type if asked else "") or settings.log_driver
    options = dict((asked.config if asked else None) or {})
    if not (asked and asked.type):
        options = {**settings.log_options, **options}
    return LogConfig("none" if kind == "none" else "json-file" if kind == "json-file" else "local", options)


def _cgroup_v1() -> bool:
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()
