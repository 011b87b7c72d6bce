"""How an image's configuration completes a container's: Docker's rules."""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.engine.config import ContainerConfig, Healthcheck
from wherry.errors import InvalidInput

__all__ = ["command_of", "merge_image_config"]


def merge_image_config(config: ContainerConfig, image: dict[str, Any]) -> None:
    """Complete `config` in place with what the image says and the caller does not.

    :param image: the ``config`` member of the image's configuration (OCI image specification).
    """
    config.user = config.user or image.get("User") or ""
    config.exposed_ports = {**(image.get("ExposedPorts") or {}), **(config.exposed_ports or {})} or None
    config.env = _merged_env(config.env or [], image.get("Env") or [])
    config.labels = {**(image.get("Labels") or {}), **(config.labels or {})}
    config.working_dir = config.working_dir or image.get("WorkingDir") or ""
    config.stop_signal = config.stop_signal or image.get("StopSignal")
    config.volumes = {**(image.get("Volumes") or {}), **(config.volumes or {})} or None
    _merge_command(config, image)
    if image.get("Healthcheck"):
        config.healthcheck = _merged_check(config.healthcheck, msgspec.convert(image["Healthcheck"], Healthcheck))


def _merged_check(own: Healthcheck | None, images: Healthcheck) -> Healthcheck:
    """Whoever changes the interval alone keeps the image's command."""
    if own is not None:
        for name in Healthcheck.__struct_fields__:
            setattr(images, name, getattr(own, name) or getattr(images, name))
    return images


def _merged_env(own: list[str], images: list[str]) -> list[str]:
    names = {entry.partition("=")[0] for entry in own}
    return own + [entry for entry in images if entry.partition("=")[0] not in names]


def _merge_command(config: ContainerConfig, image: dict[str, Any]) -> None:
    """A container that names an entrypoint of its own does not get the image's command."""
    config.cmd = _as_list(config.cmd)
    config.entrypoint = _as_list(config.entrypoint)
    if not config.entrypoint:
        if not config.cmd:
            config.cmd = image.get("Cmd")
            config.args_escaped = image.get("ArgsEscaped") or config.args_escaped
        if config.entrypoint is None:
            config.entrypoint = image.get("Entrypoint")
    if config.entrypoint == [""]:  # how clients say: none, not the image's either
        config.entrypoint = None


def _as_list(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value


def command_of(config: ContainerConfig) -> list[str]:
    """Entrypoint and command, put together.

    :raises InvalidInput: neither the image nor the caller names a command.
    """
    words = [*(_as_list(config.entrypoint) or []), *(_as_list(config.cmd) or [])]
    if not words:
        raise InvalidInput("no command specified")
    return words
