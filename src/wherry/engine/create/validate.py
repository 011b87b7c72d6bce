"""Validation of create and update requests, with Docker's error messages.

Only what can be known without the image and without acting; names of capabilities, limits and namespaces are checked
once more where they are used (`wherry.runtime`).
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from functools import cache
from typing import Final

from wherry.docker.container_requests import ContainerConfig, ExecConfig, Healthcheck, HostConfig
from wherry.docker.streams import DetachKeys
from wherry.engine.log_drivers.config import check_log_options
from wherry.engine.log_drivers.table import find_log_driver
from wherry.engine.network.memberships import check_modes
from wherry.engine.network.ports import check_ports
from wherry.engine.settings import DEFAULT_LOG_DRIVER
from wherry.errors import InvalidInput
from wherry.linux import capabilities

__all__ = ["check_exec", "check_restart_policy", "cpu_list", "parse_signal", "validate_create", "validate_resources"]

_MINIMUM_MEMORY: Final = 6 << 20
_RESTART_POLICIES: Final = frozenset({"", "no", "always", "unless-stopped", "on-failure"})
_HOSTNAME: Final = re.compile(r"[^\s\0/]{1,64}")  # what the kernel takes (sethostname(2)) and /etc/hosts can hold
_CGROUP: Final = re.compile(r"[^\0\n]{0,2048}")  # what the kernel takes for the names of cgroups
_MILLISECOND: Final = 1_000_000  # in nanoseconds


def validate_create(config: ContainerConfig, host: HostConfig, log_driver: str = DEFAULT_LOG_DRIVER) -> list[str]:
    """Check a whole request; return the warnings that Docker's clients print.

    :param log_driver: the daemon's, for a request that names none.
    :raises InvalidInput: with Docker's sentence.
    """
    _check_config(config)
    for check in (_check_modes, _check_security, check_restart_policy, _check_odds):
        check(host)
    if (host.uts_mode or "") == "host" and config.hostname:
        raise InvalidInput("conflicting options: hostname and the UTS mode")
    check_modes(config, host)
    check_ports(config, host)
    return [*_check_logging(host, log_driver), *validate_resources(host)]


def _check_config(config: ContainerConfig) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidInput(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    for entry in config.env or []:
        if not entry or entry.startswith("="):
            raise InvalidInput(f"invalid environment variable: {entry}")
        if "\0" in entry:
            raise InvalidInput("invalid environment variable: it contains a null byte")
    if config.hostname and not _HOSTNAME.fullmatch(config.hostname):
        raise InvalidInput(f"invalid hostname format: {config.hostname}")
    if config.stop_signal:
        parse_signal(config.stop_signal)
    for word in [*_words(config.cmd), *_words(config.entrypoint)]:
        if "\0" in word:
            raise InvalidInput("invalid argument: it contains a null byte")
    if config.healthcheck is not None:
        _check_health(config.healthcheck)


def _check_health(check: Healthcheck) -> None:
    durations = {
        "Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }  # fmt: skip
    for name, value in durations.items():
        if value and value < _MILLISECOND:
            raise InvalidInput(f"{name} in Healthcheck cannot be less than 1ms")
    if (check.retries or 0) < 0:
        raise InvalidInput("Retries in Healthcheck cannot be negative")


def _words(value: list[str] | str | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def check_exec(config: ExecConfig) -> list[str]:
    """Check what an exec asks for; returns its command.

    :raises InvalidInput: there is no command, or something in it makes no sense.
    """
    DetachKeys(config.detach_keys or "", name="escape")
    argv = _words(config.cmd)
    if not argv or not argv[0]:
        raise InvalidInput("No exec command specified")
    if any("\0" in word for word in [*argv, *(config.env or [])]):
        raise InvalidInput("invalid argument: it contains a null byte")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidInput("Cwd must be an absolute path")
    for entry in config.env or []:
        if not entry or entry.startswith("="):
            raise InvalidInput(f"invalid environment variable: {entry}")
    return argv


# --- namespaces -----------------------------------------------------------------------------------

_MODES: Final[tuple[tuple[str, str, Callable[[HostConfig], str | None], frozenset[str]], ...]] = (
    ("PID", "container", lambda h: h.pid_mode, frozenset({"", "host", "private"})),
    ("IPC", "container", lambda h: h.ipc_mode, frozenset({"", "host", "private", "shareable", "none"})),
    ("UTS", "", lambda h: h.uts_mode, frozenset({"", "host"})),
    ("cgroup namespace", "", lambda h: h.cgroupns_mode, frozenset({"", "host", "private"})),
    ("user namespace", "", lambda h: h.userns_mode, frozenset({"", "host"})),
)


def _check_modes(host: HostConfig) -> None:
    for label, joined, read, allowed in _MODES:
        mode = read(host) or ""
        kind, _, target = mode.partition(":")
        if mode not in allowed and not (joined and kind == joined and target):
            raise InvalidInput(f"invalid {label} mode: {mode}")


# --- security -------------------------------------------------------------------------------------


def _check_security(host: HostConfig) -> None:
    for label, asked in (("CapAdd", host.cap_add), ("CapDrop", host.cap_drop)):
        for name in _words(asked):
            if name.upper() != "ALL" and not _is_capability(name):
                raise InvalidInput(f'invalid {label}: unknown capability: "{_full_name(name)}"')
    for option in host.security_opt or []:
        _check_security_option(option)
    for name in host.sysctls or {}:
        if not re.fullmatch(r"[a-zA-Z0-9_./-]+", name) or ".." in name.split("/"):
            raise InvalidInput(f"invalid sysctl: '{name}'")


def _full_name(name: str) -> str:
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"


def _is_capability(name: str) -> bool:
    try:
        capabilities.parse(_full_name(name))
    except InvalidInput:
        return False
    return True


def _check_security_option(option: str) -> None:
    if option == "no-new-privileges":
        return
    name, equals, value = option.partition("=")
    if not equals:
        name, equals, value = option.partition(":")
    if not equals:
        raise InvalidInput(f'invalid --security-opt 1: "{option}"')
    if name == "no-new-privileges" and value.lower() not in ("true", "false"):
        raise InvalidInput(f'invalid --security-opt 2: "{option}"')
    known = ("no-new-privileges", "seccomp", "apparmor", "label", "systempaths", "writable-cgroups")
    if name not in known or (name == "systempaths" and value != "unconfined"):
        raise InvalidInput(f'invalid --security-opt 2: "{option}"')
    if name == "writable-cgroups" and value.lower() not in ("true", "false"):
        raise InvalidInput(f'invalid --security-opt 2: "{option}"')


# --- the rest -------------------------------------------------------------------------------------


def check_restart_policy(host: HostConfig) -> None:
    """Check a restart policy.

    :raises InvalidInput: there is no such policy, or it goes with nothing else that was asked for.
    """
    policy = host.restart_policy
    if policy is None:
        return
    if policy.name not in _RESTART_POLICIES:
        raise InvalidInput(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidInput("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retry_count < 0:
        raise InvalidInput("invalid restart policy: maximum retry count cannot be negative")
    if host.auto_remove and policy.name not in ("", "no"):
        raise InvalidInput("can't create 'AutoRemove' container with restart policy")


def _check_logging(host: HostConfig, driver: str) -> list[str]:
    log = host.log_config
    if log is None:
        return []
    return check_log_options(log.config or {}, find_log_driver(log.type or driver))


def _check_odds(host: HostConfig) -> None:
    _check_cgroup_parent(host.cgroup_parent or "")
    if host.shm_size is not None and host.shm_size < 0:
        raise InvalidInput("SHM size can not be less than 0")
    if not -1000 <= (host.oom_score_adj or 0) <= 1000:
        raise InvalidInput(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if (host.isolation or "") not in ("", "default"):
        raise InvalidInput(f'invalid isolation "{host.isolation}" on linux')
    for limit in host.ulimits or []:
        _check_ulimit(limit.name, limit.soft, limit.hard)


def _check_cgroup_parent(path: str) -> None:
    if path.endswith(".slice"):
        raise InvalidInput("cgroup-parent for the cgroupfs driver cannot be a systemd slice (such as xxx.slice)")
    parts = path.split("/")
    if ".." in parts or not _CGROUP.fullmatch(path) or any(len(os.fsencode(part)) > 255 for part in parts):
        raise InvalidInput(f'invalid cgroup parent: "{path}"')


def _check_ulimit(name: str, soft: int, hard: int) -> None:
    import resource  # noqa: PLC0415 - only here

    if not hasattr(resource, f"RLIMIT_{name.upper()}") and name not in ("locks", "rttime"):
        raise InvalidInput(f"invalid ulimit type: {name}")
    if hard != -1 and (soft > hard or soft == -1):
        raise InvalidInput(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")


# --- limits ---------------------------------------------------------------------------------------


def validate_resources(host: HostConfig) -> list[str]:
    """Check the limits, of a new container or of an update.

    :raises InvalidInput: with Docker's sentence.
    """
    _check_memory(host)
    _check_cpu(host)
    _check_block_io(host)
    for requested, what in ((host.io_maximum_bandwidth, "bandwidth"), (host.io_maximum_iops, "IOPs")):
        if requested:
            raise InvalidInput(f"Invalid QoS settings: linux does not support configuration of maximum {what}")
    warnings: list[str] = []
    if host.kernel_memory:
        warnings.append("Specifying a kernel memory limit is deprecated and will be removed in a future release.")
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    return warnings


def _check_memory(host: HostConfig) -> None:
    memory, swap, reservation = host.memory or 0, host.memory_swap or 0, host.memory_reservation or 0
    if memory and memory < _MINIMUM_MEMORY:
        raise InvalidInput("Minimum memory limit allowed is 6MB")
    if memory and swap > 0 and swap < memory:
        raise InvalidInput("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise InvalidInput("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swap < -1:
        raise InvalidInput(f"invalid memory swap limit: {swap}")
    if 0 < (host.kernel_memory or 0) < _MINIMUM_MEMORY:
        raise InvalidInput("Minimum kernel memory limit allowed is 6MB")
    if reservation and reservation < _MINIMUM_MEMORY:
        raise InvalidInput("Minimum memory reservation allowed is 6MB")
    if memory and reservation and memory < reservation:
        raise InvalidInput("Minimum memory limit can not be less than memory reservation limit, see usage")
    swappiness = host.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidInput(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")


def _check_cpu(host: HostConfig) -> None:
    nano, period, quota = host.nano_cpus or 0, host.cpu_period or 0, host.cpu_quota or 0
    if nano and period:
        raise InvalidInput("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano and quota:
        raise InvalidInput("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    count = (os.cpu_count() or 1) if nano else 0  # counting reads a file
    if not 0 <= nano <= count * 1_000_000_000:
        raise InvalidInput(f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if period and not 1_000 <= period <= 1_000_000:
        raise InvalidInput("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if quota > 0 and quota < 1_000:
        raise InvalidInput("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if 0 < (host.cpu_realtime_period or 0) < (host.cpu_realtime_runtime or 0):
        raise InvalidInput("cpu real-time runtime cannot be higher than cpu real-time period")
    if host.cpu_shares is not None and host.cpu_shares < 0:
        raise InvalidInput(f"shares cannot be negative: {host.cpu_shares}")
    _check_cpuset(host.cpuset_cpus or "", "cpus", "CPUs", _online("/sys/devices/system/cpu/online"))
    _check_cpuset(host.cpuset_mems or "", "mems", "memory nodes", _online("/sys/devices/system/node/online"))


def _check_cpuset(text: str, label: str, things: str, available: str) -> None:
    if not text:
        return
    try:
        asked = cpu_list(text)
    except ValueError as exc:
        raise InvalidInput(f"Invalid value {text} for cpuset {label}", cause=f"invalid format: {text}") from exc
    if not asked <= cpu_list(available):
        raise InvalidInput(f"Requested {things} are not available - requested {text}, available: {available}")


def cpu_list(text: str) -> frozenset[int]:
    """The numbers of a kernel CPU list, ``0-2,7``.

    :raises ValueError: it is no such list.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if not 0 <= low <= high <= 8192:
            raise ValueError(part)
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


@cache
def _online(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except FileNotFoundError:
        return "0"


def _check_block_io(host: HostConfig) -> None:
    weight = host.blkio_weight or 0
    if weight and not 10 <= weight <= 1000:
        raise InvalidInput("Range of blkio weight is from 10 to 1000")
    for entry in host.blkio_weight_device or []:
        if entry.weight and not 10 <= entry.weight <= 1000:
            raise InvalidInput(f"Range of blkio weight is from 10 to 1000, but {entry.path} has {entry.weight}")


# --- signals --------------------------------------------------------------------------------------


def parse_signal(text: str) -> int:
    """The number of ``"TERM"``, ``"SIGTERM"``, ``"sigterm"``, ``"15"``, ``"RTMIN+3"``.

    :raises InvalidInput: there is no such signal, in Docker's words.
    """
    if re.fullmatch(r"[+-]?[0-9]+", text):
        digits = text.lstrip("+0")
        number = int(digits) if digits.isdecimal() and len(digits) < 3 else 0
        if not digits or 0 < number < signal.NSIG:
            return number or _no_signal(text)
        raise InvalidInput(f"the linux daemon does not support signal {text}")
    return _signals().get(text.upper().removeprefix("SIG")) or _no_signal(text)


def _no_signal(text: str) -> int:
    raise InvalidInput(f"invalid signal: {text}")


@cache
def _signals() -> dict[str, int]:
    """Docker's names: the real-time signals are named from the nearer end of their range."""
    lowest, highest = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
    named = {name.removeprefix("SIG"): int(one) for name, one in signal.Signals.__members__.items()}  # aliases, too
    named |= {f"RTMIN+{number}": lowest + number for number in range(1, 16)}
    return named | {f"RTMAX-{number}": highest - number for number in range(1, 15)}
