"""A step becomes a container: in memory only, in no table, and without a log."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.build.model.graph import SecurityMode
from wherry.build.model.network import NetworkMode, StepNetwork
from wherry.docker.container_requests import ContainerConfig, DeviceRequest, HostConfig, Ulimit
from wherry.docker.network_mode import HOST, NONE, joined_container
from wherry.docker.networks import EndpointSettings
from wherry.engine.cdi.requests import OF_A_BUILD
from wherry.engine.container.container import Container, Definition, OwnHome
from wherry.engine.container.log import ContainerLog
from wherry.engine.container.state import State
from wherry.engine.create.validate import validate_create
from wherry.engine.spec.process import DEFAULT_PATH
from wherry.errors import InvalidInput
from wherry.runtime import cgroups

if TYPE_CHECKING:
    from wherry.build.model.executor import Step
    from wherry.engine.container.log import AskKeeper

__all__ = ["environment", "guest_of"]

_HOST_NAME: Final = "buildkitsandbox"  # BuildKit's
_MOST: Final = 2000
_MOST_WORDS: Final = 100_000
_FEWEST_PROCESSES: Final = 1000  # of the bound


def guest_of(
    step: Step, directory: Path, run_directory: Path, ask: AskKeeper, *, default_network: str, terminal: bool = False
) -> Container:
    """A container that is a step. Its mounts come when they are made.

    :param directory: for its files in /etc.
    :param run_directory: the keeper's, for it.
    :param default_network: the engine's.
    :param terminal: whether it has one.
    :raises InvalidInput: the step asks for what cannot be, in Docker's words.
    """
    op = step.op
    _check_counts(step)
    network = _network_of(op.network, default_network)
    shared = joined_container(network) is not None
    name = op.hostname or _HOST_NAME
    # Without an address of its own, its name is the loopback's, as in BuildKit: who looks it up must not wait for DNS.
    own_host = [f"{name}:127.0.0.1"] if network in (NONE, HOST) else []
    host = replace(
        _limited(step),
        network_mode=network,
        privileged=op.security == SecurityMode.INSECURE,
        readonly_rootfs=step.readonly,
        cgroup_parent=op.cgroup_parent or None,
        shm_size=op.shm_size or None,
        ulimits=[Ulimit(limit.name, limit.soft, limit.hard) for limit in op.ulimits],
        extra_hosts=[f"{entry.host}:{entry.ip}" for entry in op.extra_hosts] + own_host,
        init=False,
        pids_limit=_most_processes(),
        device_requests=[DeviceRequest(driver=OF_A_BUILD, device_ids=list(op.devices))] if op.devices else None,
    )
    config = ContainerConfig(
        hostname=None if shared else name, user=op.user, working_dir=op.cwd, env=list(step.env), tty=terminal
    )
    validate_create(config, host)
    definition = Definition(
        id=step.id, created="", image="", image_id="", argv=list(op.args), config=config, host=host,
        mounts=[], networks={} if shared else {network: EndpointSettings()},
    )  # fmt: skip
    home = OwnHome(directory, run_directory, ContainerLog(directory / "log", ask))
    return Container(f"build-{step.id[:12]}", definition, State(), home)


def _check_counts(step: Step) -> None:
    """Check how much a client lists: each entry costs time on the event loop.

    :raises InvalidInput: it is too much.
    """
    op = step.op
    for what, count, most in (
        ("mounts", len(step.mounts), _MOST),
        ("devices", len(op.devices), _MOST),
        ("extra hosts", len(op.extra_hosts), _MOST),
        ("ulimits", len(op.ulimits), _MOST),
        ("arguments and environment variables", len(op.args) + len(step.env), _MOST_WORDS),
    ):
        if count > most:
            raise InvalidInput(f"a step cannot have more than {most} {what}")


def _network_of(text: str, default: str) -> str:
    """A step's network in the engine's words."""
    network = StepNetwork.parse(text)
    words = {NetworkMode.DEFAULT: default, NetworkMode.HOST: HOST, NetworkMode.NONE: NONE}
    joined = f"container:{network.name}" if network.mode is NetworkMode.CONTAINER else network.name
    return words.get(network.mode, joined)


def _limited(step: Step) -> HostConfig:
    limits = step.limits
    return HostConfig(
        memory=limits.memory or None,
        memory_swap=limits.memory_swap or None,
        cpu_shares=limits.cpu_shares or None,
        cpu_period=limits.cpu_period or None,
        cpu_quota=limits.cpu_quota or None,
        cpuset_cpus=limits.cpuset_cpus or None,
        cpuset_mems=limits.cpuset_mems or None,
    )


@cache
def _most_processes() -> int | None:
    """A bound on the processes of a step, so that one that forks for ever leaves the machine usable.

    As much as systemd gives to a service (``DefaultTasksMax``): 15% of what the kernel allows all together.
    """
    if not cgroups.features().pids:
        return None
    bounds = [int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max")]
    return max(min(bounds) * 15 // 100, _FEWEST_PROCESSES)


def environment(step: Step, *, terminal: bool = False) -> tuple[str, ...]:
    """A step's environment: what it says itself, and a search path where it says none (as BuildKit).

    :param terminal: whether it has one; then it knows of which kind, as a container's process does.
    """
    defaults = {"PATH": DEFAULT_PATH, **({"TERM": "xterm"} if terminal else {})}
    named = {entry.partition("=")[0] for entry in step.env}
    return (*(f"{name}={value}" for name, value in defaults.items() if name not in named), *step.env)
