"""Capabilities, masked paths and the seccomp profile that a container gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from wherry.docker.container_requests import HostConfig
from wherry.engine.settings import Settings
from wherry.errors import InvalidInput
from wherry.linux import capabilities
from wherry.oci.runtime_spec import Capabilities, Seccomp
from wherry.runtime.compile.seccomp import custom_profile, default_profile

__all__ = [
    "capability_sets",
    "kept_capabilities",
    "masked_paths",
    "readonly_paths",
    "seccomp_of",
    "seccomp_option",
    "writable_cgroups",
]

DEFAULT_CAPABILITIES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
"""What root in a container may do unless the caller says otherwise: Docker's list."""

MASKED_PATHS: Final = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def kept_capabilities(host: HostConfig) -> list[str]:
    """The names of the capabilities that a container keeps, in the kernel's order."""
    own = _own_capabilities()
    added, dropped = _names(host.cap_add), _names(host.cap_drop)
    if host.privileged or "ALL" in added:
        kept = set(own)
    else:
        kept = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES)
        kept |= added
    if not host.privileged:
        kept -= dropped - added if "ALL" in dropped else dropped
    return [name for name in own if name in kept]


def _names(asked: list[str] | str | None) -> set[str]:
    words = [asked] if isinstance(asked, str) else asked or []
    upper = [word.upper() for word in words]
    return {word if word == "ALL" or word.startswith("CAP_") else f"CAP_{word}" for word in upper}


@cache
def _own_capabilities() -> tuple[str, ...]:
    """What this daemon may give away: its own permitted set. Some hosts lack a few."""
    return tuple(capabilities.text(number) for number in sorted(capabilities.capget().permitted))


def capability_sets(host: HostConfig) -> Capabilities:
    """The OCI ``process.capabilities``: bounding, effective and permitted; nothing inheritable or ambient."""
    kept = tuple(kept_capabilities(host))
    return Capabilities(bounding=kept, effective=kept, permitted=kept)


def masked_paths(host: HostConfig) -> tuple[str, ...]:
    """Which paths cannot be seen; none in a privileged container."""
    default = () if host.privileged or _unmasked(host) else MASKED_PATHS
    return default if host.masked_paths is None else tuple(host.masked_paths)


def readonly_paths(host: HostConfig) -> tuple[str, ...]:
    """Which paths cannot be written; none in a privileged container."""
    default = () if host.privileged or _unmasked(host) else READONLY_PATHS
    return default if host.readonly_paths is None else tuple(host.readonly_paths)


def writable_cgroups(host: HostConfig) -> bool:
    """Whether a container may divide its own control group: only version 2 keeps it to that."""
    chosen = [option.replace(":", "=", 1).lower() for option in host.security_opt or []]
    last = next((option for option in reversed(chosen) if option.startswith("writable-cgroups=")), "")
    return last == "writable-cgroups=true"


def _unmasked(host: HostConfig) -> bool:
    return any(option.replace(":", "=", 1) == "systempaths=unconfined" for option in host.security_opt or [])


# --- seccomp --------------------------------------------------------------------------------------


def seccomp_option(host: HostConfig) -> str:
    """What the caller said about seccomp: ``unconfined``, a profile as JSON, or nothing."""
    for option in host.security_opt or []:
        name, _, value = option.partition("=")
        if not _ and ":" in option:
            name, _, value = option.partition(":")
        if name == "seccomp" and value not in ("builtin", "default"):
            return value
    return ""


def seccomp_of(
    host: HostConfig, settings: Settings, kept: Sequence[str], *, keeps_projects: bool = False
) -> Seccomp | None:
    """The OCI ``linux.seccomp``, or nothing for an unconfined container; who has a quota cannot leave it.

    :param kept: the capabilities in its bounding set.
    :param keeps_projects: one of its volumes has a quota.
    :raises InvalidInput: the profile is no valid JSON, or not a profile.
    """
    found = _profile_of(host, settings, kept)
    return replace(found, keeps_projects=True) if found is not None and (keeps_projects or host.storage_opt) else found


def _profile_of(host: HostConfig, settings: Settings, kept: Sequence[str]) -> Seccomp | None:
    """The OCI ``linux.seccomp``, or nothing for an unconfined container.

    :param kept: the capabilities in its bounding set.
    :raises InvalidInput: the profile is no valid JSON, or not a profile.
    """
    choice = seccomp_option(host)
    if host.privileged and not choice:
        return None
    choice = choice or settings.seccomp_profile
    if choice == "unconfined":
        return None
    if not choice:
        return _default_profile(tuple(kept))
    if not choice.lstrip().startswith("{"):
        choice = _read_profile(choice)
    try:
        profile = json.loads(choice)
    except ValueError as exc:
        raise InvalidInput("decoding seccomp profile failed: it is not valid JSON", cause=str(exc)) from exc
    try:
        return msgspec.convert(custom_profile(profile, tuple(kept)), Seccomp)
    except msgspec.ValidationError as exc:
        raise InvalidInput("decoding seccomp profile failed", cause=str(exc)) from exc


@lru_cache(maxsize=32)
def _default_profile(kept: tuple[str, ...]) -> Seccomp:
    return msgspec.convert(default_profile(kept), Seccomp)


def _read_profile(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"opening seccomp profile ({path}) failed", cause=str(exc)) from exc
