"""How an image's configuration completes a container's: Docker's rules."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from wherry.docker.container_requests import ContainerConfig, Healthcheck
from wherry.errors import InvalidInput

__all__ = ["command_of", "with_image_defaults"]


def with_image_defaults(config: ContainerConfig, image: dict[str, Any]) -> ContainerConfig:
    """A container's configuration, completed with what the image says and the caller does not.

    :param image: the ``config`` member of the image's configuration (OCI image specification).
    """
    return replace(
        _with_command(config, image),
        user=config.user or image.get("User") or "",
        exposed_ports={**(image.get("ExposedPorts") or {}), **(config.exposed_ports or {})} or None,
        env=_merged_env(config.env or [], image.get("Env") or []),
        labels={**(image.get("Labels") or {}), **(config.labels or {})},
        working_dir=config.working_dir or image.get("WorkingDir") or "",
        stop_signal=config.stop_signal or image.get("StopSignal"),
        volumes={**(image.get("Volumes") or {}), **(config.volumes or {})} or None,
        healthcheck=_merged_check(config.healthcheck, image.get("Healthcheck")),
    )


def _merged_check(own: Healthcheck | None, image: object) -> Healthcheck | None:
    """Whoever changes the interval alone keeps the image's command."""
    if not image:
        return own
    found = msgspec.convert(image, Healthcheck)
    if own is None:
        return found
    names = Healthcheck.__struct_fields__
    return Healthcheck(**{name: getattr(own, name) or getattr(found, name) for name in names})


def _merged_env(own: list[str], images: list[str]) -> list[str]:
    names = {entry.partition("=")[0] for entry in own}
    return own + [entry for entry in images if entry.partition("=")[0] not in names]


def _with_command(config: ContainerConfig, image: dict[str, Any]) -> ContainerConfig:
    """A container that names an entrypoint of its own does not get the image's command."""
    cmd, entrypoint, escaped = _as_list(config.cmd), _as_list(config.entrypoint), config.args_escaped
    if not entrypoint:
        if not cmd:
            cmd = image.get("Cmd")
            escaped = image.get("ArgsEscaped") or escaped
        if entrypoint is None:
            entrypoint = image.get("Entrypoint")
    if entrypoint == [""]:  # how clients say: none, not the image's either
        entrypoint = None
    return replace(config, cmd=cmd, entrypoint=entrypoint, args_escaped=escaped)


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
