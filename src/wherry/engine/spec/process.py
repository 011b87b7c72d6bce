"""The ``process`` of a runtime specification: program, environment, user, capabilities and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.engine.container.hostname import hostname_of
from wherry.engine.spec.security import capability_sets
from wherry.oci.runtime_spec import Box, Process, Rlimit, User

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.settings import Settings

__all__ = ["environment", "process"]

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def process(container: Container, settings: Settings) -> Process:
    """The container's first process."""
    config, host = container.config, container.host
    return Process(
        cwd=config.working_dir or "/",
        args=tuple(container.definition.argv),
        env=tuple(environment(container)),
        terminal=container.has_terminal,
        console_size=_console_size(container),
        user=User(username=config.user or "0"),
        capabilities=capability_sets(host),
        rlimits=_rlimits(container, settings),
        no_new_privileges=_no_new_privileges(container, settings),
        oom_score_adj=host.oom_score_adj or None,
    )


def _console_size(container: Container) -> Box | None:
    size = container.host.console_size
    return Box(*size) if container.has_terminal and size and any(size) else None


def environment(container: Container) -> list[str]:
    """The environment of the container's processes: Docker's defaults, overridden by the configuration."""
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname_of(container)}
    if container.has_terminal:
        values["TERM"] = "xterm"
    for entry in [*container.link_env, *(container.config.env or [])]:
        name, equals, value = entry.partition("=")
        if equals:
            values[name] = value
        else:
            values.pop(name, None)
    return [f"{name}={value}" for name, value in values.items()]


def _no_new_privileges(container: Container, settings: Settings) -> bool:
    for option in container.host.security_opt or []:
        name, _, value = option.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges":
            return value.lower() != "false"
    return settings.no_new_privileges


def _rlimits(container: Container, settings: Settings) -> tuple[Rlimit, ...]:
    limits = {limit.name: (limit.soft, limit.hard) for limit in settings.ulimits}
    limits.update({limit.name: (limit.soft, limit.hard) for limit in container.host.ulimits or []})
    return tuple(
        Rlimit(type=f"RLIMIT_{name.upper()}", soft=soft % 2**64, hard=hard % 2**64)
        for name, (soft, hard) in limits.items()
    )
