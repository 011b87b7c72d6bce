"""Create a container: validate, complete with the image, resolve; then one directory and one row make it exist."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from msgspec.structs import replace

from wherry.content.durable import disk_errors
from wherry.docker import times
from wherry.docker.container_requests import ContainerConfig, CreateRequest, HostConfig
from wherry.docker.network_mode import joined_container
from wherry.engine.container import directories
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.names import new_id, short
from wherry.engine.container.store import ContainerStore
from wherry.engine.create.image_defaults import command_of, with_image_defaults
from wherry.engine.create.image_mounts import with_images
from wherry.engine.create.mounts import mount_points, with_anonymous
from wherry.engine.create.validate import validate_create
from wherry.engine.create.volumes_from import with_inherited
from wherry.engine.log_drivers.config import log_config
from wherry.engine.network.ports import check_ports
from wherry.engine.settings import Settings
from wherry.engine.spec.cgroup_delegation import check_delegation, is_version_1
from wherry.errors import InvalidInput, NotFound
from wherry.images.checks import lacks_platform
from wherry.oci.platform import Platform
from wherry.runtime import cgroups

if TYPE_CHECKING:
    from wherry.docker.networks import EndpointSettings
    from wherry.engine.create.writable_layers import WritableLayers
    from wherry.engine.network.attachments import Attachments
    from wherry.engine.volumes.container_volumes import ContainerVolumes
    from wherry.layers.overlay_paths import OverlayMount

__all__ = ["Asked", "CreateService", "ImageFacts", "resolved_host"]


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

    def overlay(self, container_directory: Path, /) -> Sequence[OverlayMount]:
        """Return the overlay mounts of a container; nothing is made."""


class Asked(NamedTuple):
    """What a container is to be, at one stage: as asked for, with the image's defaults, resolved."""

    config: ContainerConfig
    host: HostConfig


class CreateService:
    """Makes containers.

    :param claim_image: looks an image up by name or ID, and keeps it from being removed inside the ``with`` block;
        raises ``NotFound`` in Docker's words.
    :param for_platform: what of an image for several is meant: a name or an ID.
    :param layers: makes the writable layer of a container that has its directory.
    :param attachments: decides which networks a container joins.
    :param volumes: makes its volumes.
    """

    def __init__(
        self,
        settings: Settings,
        containers: ContainerStore,
        claim_image: Callable[[str], AbstractContextManager[ImageFacts]],
        layers: WritableLayers,
        attachments: Attachments,
        *,
        for_platform: Callable[[str, Platform | None], Awaitable[str]],
        volumes: ContainerVolumes,
    ) -> None:
        self._settings = settings
        self._containers = containers
        self._claim_image = claim_image
        self._image_for = for_platform
        self._layers = layers
        self._attachments = attachments
        self._volumes = volumes

    async def create(
        self,
        name: str | None,
        request: CreateRequest,
        platform: str | None,
        *,
        read_only_below: bool = True,
        missing: frozenset[str] = frozenset(),
    ) -> tuple[Container, list[str]]:
        """Make a container; returns it and the warnings for the caller.

        :param platform: what the image has to be for.
        :param read_only_below: a read-only bind that says nothing else makes what is mounted below it read-only, too.
        :param missing: sources of binds that are not there.
        :raises InvalidInput: the request makes no sense.
        :raises NotFound: there is no such image, or it is for another platform: Docker's clients fetch it then.
        :raises Conflict: the name is taken.
        """
        asked, warnings = self._checked(request)
        if not asked.config.image:
            raise InvalidInput("no image was specified")
        with ExitStack() as claims:  # until the container's row protects the images
            image = claims.enter_context(self._claim_image(await self._for_platform(asked.config.image, platform)))
            warnings += _check_platform(asked.config.image, image.platform, platform)
            points = mount_points(asked.host, read_only_below=read_only_below, missing=missing)
            mounts = claims.enter_context(with_images(points, self._claim_image))
            mounts = with_inherited(mounts, asked.host.volumes_from or (), self._containers.get)
            complete = _with_image(asked, image.config)
            mounts = with_anonymous(mounts, complete.config, asked.host.volume_driver or "")
            endpoints = request.networking_config.endpoints_config if request.networking_config else None
            definition, about_networks = self._definition(complete, endpoints or {}, image, mounts)
            container = await self._make(name, definition, image.overlay(self._settings.data_root))
        return container, [*warnings, *about_networks]

    async def _for_platform(self, name: str, platform: str | None) -> str:
        return await self._image_for(name, Platform.parse(platform) if platform else None)

    def _checked(self, request: CreateRequest) -> tuple[Asked, list[str]]:
        """What is asked for, without what this machine cannot do; and what has to be said about that."""
        from wherry.engine.create.unsupported_limits import drop  # noqa: PLC0415 - not at the daemon's start

        config = _config_of(request)
        host, warnings = drop(self._joined_by_id(request.host_config or HostConfig()), cgroups.features)
        check_delegation(host)
        host = self._layers.resolved(host)
        return Asked(config, host), [*warnings, *validate_create(config, host, self._settings.log_driver)]

    def _joined_by_id(self, host: HostConfig) -> HostConfig:
        """Name containers whose namespaces are joined by their IDs, which stay when one is renamed.

        Whether they run is seen at the start; so is, as in Docker, whether one whose network is joined exists.

        :raises InvalidInput: there is no such container.
        """
        try:
            host = replace(host, ipc_mode=self._by_id(host.ipc_mode), pid_mode=self._by_id(host.pid_mode))
        except NotFound as exc:
            raise InvalidInput(exc.message) from exc
        with suppress(NotFound):
            host = replace(host, network_mode=self._by_id(host.network_mode))
        return host

    def _by_id(self, mode: str | None) -> str | None:
        joined = joined_container(mode)
        return f"container:{self._containers.get(joined).id}" if joined else mode

    def _definition(
        self,
        asked: Asked,
        endpoints: Mapping[str, EndpointSettings | None],
        image: ImageFacts,
        mounts: list[MountPoint],
    ) -> tuple[Definition, list[str]]:
        """What a container is, with everything resolved; and warnings about its networks.

        :raises InvalidInput: there is no command, or what is asked of networks does not go together.
        """
        argv = command_of(asked.config)
        host, networks, warnings = self._attachments.resolve(asked.config, asked.host, endpoints)
        identifier = new_id()
        definition = Definition(
            id=identifier, created=times.now(), image=asked.config.image or "", image_id=str(image.id),
            platform=image.platform.os, argv=argv, config=_with_hostname(asked.config, host, identifier),
            host=resolved_host(host, self._settings), mounts=mounts, networks=networks,
        )  # fmt: skip
        return definition, warnings

    async def _make(self, name: str | None, definition: Definition, root: Sequence[OverlayMount]) -> Container:
        reserved = self._containers.reserve_name(name)
        try:
            async with self._volumes.provided(definition.id, definition.mounts, root) as mounts:
                return self._made(reserved, replace(definition, mounts=mounts))
        finally:
            self._containers.release_name(reserved)

    def _made(self, name: str, definition: Definition) -> Container:
        """Add its row, which names its volumes from now on, and make its directories."""
        container = self._containers.add(name, definition)
        try:
            with disk_errors("make the container's directory"):
                directories.make_data_directories(container)
                self._layers.prepare(container)
        except BaseException:
            self._containers.forget(container)
            directories.remove_tree(container.directory)
            raise
        return container


def _with_image(asked: Asked, image: dict[str, Any]) -> Asked:
    """The same, completed by the image's configuration.

    :raises InvalidInput: the image's ports and the caller's do not go together.
    """
    config = with_image_defaults(asked.config, image)
    check_ports(config, asked.host)  # the image's, too: who lists containers asks for them
    return Asked(config, asked.host)


_OWN_RUNTIMES: Final = frozenset({"wherry", "runc", "io.containerd.runc.v2"})
"""What is wherry's own runtime: clients name Docker's."""


def runtime_name(asked: str, settings: Settings) -> str:
    """The runtime that a container gets.

    :raises InvalidInput: it was not added; in Docker's words.
    """
    if not asked:
        return settings.default_runtime
    if asked in settings.runtimes:
        return asked
    if asked not in _OWN_RUNTIMES:
        raise InvalidInput(f"unknown or invalid runtime name: {asked}")
    return "wherry"


def resolved_host(host: HostConfig, settings: Settings) -> HostConfig:
    """A host configuration in which what was left open is what holds for this engine: inspect tells the truth."""
    swap = host.memory_swap
    return replace(
        host,
        pids_limit=host.pids_limit if (host.pids_limit or 0) > 0 else None,
        shm_size=host.shm_size or settings.shm_size,
        ipc_mode=host.ipc_mode or settings.ipc_mode,
        cgroupns_mode=host.cgroupns_mode
        or settings.cgroupns_mode
        or ("host" if host.privileged and is_version_1() else "private"),
        log_config=log_config(host.log_config, settings),
        runtime=runtime_name(host.runtime or "", settings),
        memory_swap=2 * host.memory if host.memory and not swap else swap,  # Docker's default: as much swap as memory
    )


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


def _with_hostname(config: ContainerConfig, host: HostConfig, identifier: str) -> ContainerConfig:
    if config.hostname or host.uts_mode == "host":
        return config
    return replace(config, hostname=os.uname().nodename if host.network_mode == "host" else short(identifier))
