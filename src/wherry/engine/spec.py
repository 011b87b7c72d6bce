"""A container's configuration becomes an OCI runtime specification.

Pure translation: what the words of Docker's API mean in the words of the specification. The result is plain data in
the specification's JSON names, which is all that `wherry.runtime` gets to see of a container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wherry.engine.container import Container
from wherry.engine.names import short
from wherry.engine.network_modes import joined_container
from wherry.engine.resources import resources
from wherry.engine.security import apparent_paths, capability_sets, seccomp_of
from wherry.engine.settings import Settings
from wherry.errors import InvalidInput
from wherry.runtime.compile_process import EXTRA_GROUPS, RLIMITS
from wherry.runtime.init import ANNOTATION as INIT

if TYPE_CHECKING:
    from wherry.layers.overlay import OverlayMount

__all__ = ["Surroundings", "build_spec", "cgroup_path", "default_path", "environment", "hostname_of"]

Json = dict[str, Any]

default_path: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Surroundings:
    """What the specification needs and the container's own configuration does not say.

    :param overlay: the overlay mounts that are its root, from its image.
    :param join: looks up another container for ``container:NAME`` modes, given the kind of namespace (``pid``, ``ipc``,
        ``network``) and the name; raises unless it runs.
    :param network: the network namespace that was prepared for it; None: a new, empty one.
    """

    settings: Settings
    overlay: list[OverlayMount]
    join: Callable[[str, str], Container]
    network: str | None = None


def cgroup_path(container: Container, settings: Settings) -> str:
    """Where in the cgroup hierarchies the container is: ``/<parent>/<id>``."""
    parent = container.host.cgroup_parent or settings.cgroup_parent or "/wherry"
    return f"/{parent.strip('/')}/{container.id}"


def build_spec(container: Container, around: Surroundings) -> Json:
    """The OCI runtime specification of a container that is about to start.

    :raises InvalidInput: a device does not exist, or the IPC of a container cannot be joined.
    :raises NotFound: there is no such container to join.
    :raises Conflict: a container to join does not run.
    """
    host = container.host
    linux: Json = {
        "namespaces": _namespaces(container, around),
        "cgroupsPath": cgroup_path(container, around.settings),
        "resources": resources(host),
        "devices": _devices(container),
        "rootfsPropagation": _root_propagation(container),
        **apparent_paths(host),
    }
    if host.sysctls:
        linux["sysctl"] = {name.replace("/", "."): value for name, value in host.sysctls.items()}
    process = _process(container, around.settings)
    seccomp = seccomp_of(host, around.settings, process["capabilities"]["bounding"])
    if seccomp is not None:
        linux["seccomp"] = seccomp
    spec: Json = {
        "ociVersion": "1.2.0",
        "hostname": hostname_of(container),
        "root": {"path": str(around.settings.exec_root / "rootfs"), "readonly": bool(host.readonly_rootfs)},
        "mounts": _mounts(container, around),
        "process": process,
        "linux": linux,
        "annotations": dict(host.annotations or {}),
    }
    if container.config.domainname:
        spec["domainname"] = container.config.domainname
    if host.group_add:
        spec["annotations"][EXTRA_GROUPS] = ",".join(host.group_add)
    if host.ulimits:
        spec["annotations"][RLIMITS] = "exact"  # what was asked for by name is not to be cut silently
    if host.init if host.init is not None else around.settings.init:
        spec["annotations"][INIT] = "true"
    if (host.uts_mode or "") == "host":
        del spec["hostname"]
        spec.pop("domainname", None)
    return spec


# --- the process ----------------------------------------------------------------------------------


def _process(container: Container, settings: Settings) -> Json:
    config, host = container.config, container.host
    process: Json = {
        "terminal": container.has_terminal,
        "user": {"uid": 0, "gid": 0, "username": config.user or "0"},
        "args": container.definition.argv,
        "env": environment(container),
        "cwd": config.working_dir or "/",
        "capabilities": capability_sets(host),
        "noNewPrivileges": _no_new_privileges(container, settings),
        "rlimits": _rlimits(container, settings),
    }
    if host.oom_score_adj:
        process["oomScoreAdj"] = host.oom_score_adj
    if container.has_terminal and host.console_size and any(host.console_size):
        process["consoleSize"] = {"height": host.console_size[0], "width": host.console_size[1]}
    return process


def environment(container: Container) -> list[str]:
    """The environment of the container's processes: Docker's defaults, overridden by the configuration."""
    values = {"PATH": default_path.removeprefix("PATH="), "HOSTNAME": hostname_of(container)}
    if container.has_terminal:
        values["TERM"] = "xterm"
    for entry in [*container.linked, *(container.config.env or [])]:
        name, equals, value = entry.partition("=")
        if equals:
            values[name] = value
        else:
            values.pop(name, None)
    return [f"{name}={value}" for name, value in values.items()]


def hostname_of(container: Container) -> str:
    """The name that the container has in its UTS namespace."""
    if container.config.hostname:
        return container.config.hostname
    if container.host.network_mode == "host" or container.host.uts_mode == "host":
        return os.uname().nodename
    return short(container.id)


def _no_new_privileges(container: Container, settings: Settings) -> bool:
    for option in container.host.security_opt or []:
        name, _, value = option.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges":
            return value.lower() != "false"
    return settings.no_new_privileges


def _rlimits(container: Container, settings: Settings) -> list[Json]:
    limits = {limit.name: (limit.soft, limit.hard) for limit in settings.ulimits}
    limits.update({limit.name: (limit.soft, limit.hard) for limit in container.host.ulimits or []})
    return [
        {"type": f"RLIMIT_{name.upper()}", "soft": soft % 2**64, "hard": hard % 2**64}
        for name, (soft, hard) in limits.items()
    ]


# --- namespaces -----------------------------------------------------------------------------------


def _namespaces(container: Container, around: Surroundings) -> list[Json]:
    host = container.host
    modes = {
        "pid": host.pid_mode, "ipc": host.ipc_mode, "uts": host.uts_mode,
        "cgroup": host.cgroupns_mode, "network": host.network_mode,
    }  # fmt: skip
    found: list[Json] = [{"type": "mount"}]
    for kind, mode in modes.items():
        if mode == "host":
            continue
        if mode and mode.startswith("container:"):
            other = around.join(kind, mode.partition(":")[2])
            found.append({"type": kind, "path": f"/proc/{other.state.pid}/ns/{_PROC_NAMES[kind]}"})
        elif kind == "network" and around.network is not None:
            found.append({"type": kind, "path": around.network})
        else:
            found.append({"type": kind})
    return found


_PROC_NAMES: Final = {"pid": "pid", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "network": "net"}


# --- devices --------------------------------------------------------------------------------------


def _devices(container: Container) -> list[Json]:
    found: list[Json] = []
    if container.host.privileged:
        found += _every_device()
    for device in container.host.devices or []:
        found += _device(device.path_on_host, device.path_in_container or device.path_on_host)
    return found


def _device(source: str, target: str) -> list[Json]:
    """A device node, or all nodes below a directory."""
    try:
        status = os.stat(source)
    except OSError as exc:
        text = (
            f'error gathering device information while adding custom device "{source}": {(exc.strerror or "").lower()}'
        )
        raise InvalidInput(text) from exc
    if stat.S_ISDIR(status.st_mode):
        return [
            entry
            for folder, _, names in os.walk(source)
            for name in sorted(names)
            if (entry := _node(os.path.join(folder, name), target + os.path.join(folder, name)[len(source) :]))
        ]
    entry = _node(source, target)
    if entry is None:
        raise InvalidInput(
            f'error gathering device information while adding custom device "{source}": not a device node'
        )
    return [entry]


def _node(source: str, target: str) -> Json | None:
    try:
        status = os.stat(source)
    except OSError:
        return None
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    return {
        "type": kind, "path": target, "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid,
    }  # fmt: skip


_OWN_IN_CONTAINER: Final = frozenset(
    {"pts", "shm", "fd", "mqueue", "console", "ptmx", "stdin", "stdout", "stderr", "core"}
)
_STANDARD: Final = frozenset({"null", "zero", "full", "random", "urandom", "tty"})


def _every_device() -> list[Json]:
    """All nodes of the host's /dev, but for those that every container has of its own."""
    found = []
    for folder, folders, names in os.walk("/dev"):
        if folder == "/dev":
            folders[:] = [name for name in folders if name not in _OWN_IN_CONTAINER]
            names[:] = [name for name in names if name not in _OWN_IN_CONTAINER | _STANDARD]
        for name in names:
            path = os.path.join(folder, name)
            entry = None if os.path.islink(path) else _node(path, path)
            if entry:
                found.append(entry)
    return found


# --- mounts ---------------------------------------------------------------------------------------

_NOEXEC: Final = ["nosuid", "noexec", "nodev"]


def _mounts(container: Container, around: Surroundings) -> list[Json]:
    taken = {point.target for point in container.definition.mounts}
    mounts = [_overlay(part) for part in around.overlay]
    mounts += [mount for mount in _system_mounts(container, around) if mount["destination"] not in taken]
    mounts += [mount for mount in _generated_files(container, around) if mount["destination"] not in taken]
    for point in container.definition.mounts:
        source = point.source or "tmpfs"
        mounts.append({"destination": point.target, "type": point.kind, "source": source, "options": point.options})
    return mounts


#: Said explicitly, since a kernel or a module parameter may have other defaults: `layers.merged` reads a container's
#: files by these rules, and an attribute that says "this file is elsewhere" is never followed. Linux 4.19 knows all.
_OVERLAY_OPTIONS: Final = ("redirect_dir=nofollow", "metacopy=off", "index=off")


def _overlay(part: OverlayMount) -> Json:
    options = [f"lowerdir+={lower}" for lower in part.lower]
    options += [f"upperdir={part.upper}", f"workdir={part.work}", *_OVERLAY_OPTIONS]
    return {"destination": part.target, "type": "overlay", "source": "overlay", "options": options}


def _system_mounts(container: Container, around: Surroundings) -> list[Json]:
    host = container.host
    access = [] if host.privileged else ["ro"]
    shared_network = host.network_mode == "host"
    sys: Json = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_NOEXEC, *access]}
    if shared_network:
        sys["options"].append("relatime")
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": _NOEXEC},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        sys,
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*_NOEXEC, *access]},
        *([] if host.ipc_mode == "host" else [
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _NOEXEC}]),
        *_shm(container, around),
    ]  # fmt: skip


def _shm(container: Container, around: Surroundings) -> list[Json]:
    """/dev/shm belongs to the IPC namespace: shared, where that is shared."""
    mode = container.host.ipc_mode or ""
    if mode == "none":
        return []
    if mode == "host":
        return [_bound("/dev/shm", "/dev/shm")]
    if mode == "shareable":
        return [_bound(str(_shm_directory(container)), "/dev/shm")]
    if mode.startswith("container:"):
        other = around.join("ipc", mode.partition(":")[2])
        if other.host.ipc_mode != "shareable":
            raise InvalidInput(
                f"can't join IPC of container {other.id}: non-shareable IPC "
                "(hint: use IpcMode:shareable for the donor container)"
            )
        return [_bound(str(_shm_directory(other)), "/dev/shm")]
    size = container.host.shm_size or around.settings.shm_size
    options = [*_NOEXEC, "mode=1777", f"size={size}"]
    return [{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": options}]


def _shm_directory(container: Container) -> Path:
    """Made by `wherry.engine.files`; the exec-root is a tmpfs."""
    return container.run_directory / "shm"


def _bound(source: str, target: str, *options: str) -> Json:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", *options]}


def _generated_files(container: Container, around: Surroundings) -> list[Json]:
    """Its own, or those of the container whose network it shares: they are about the network."""
    shared = joined_container(container.host.network_mode)
    owner = container if shared is None else around.join("network", shared)
    names = ("hostname", "hosts", "resolv.conf")
    return [_bound(str(owner.run_directory / name), f"/etc/{name}") for name in names]


def _root_propagation(container: Container) -> str:
    kinds = {point.propagation.removeprefix("r") for point in container.definition.mounts}
    if "shared" in kinds:
        return "shared"
    return "rslave" if "slave" in kinds else "rprivate"
