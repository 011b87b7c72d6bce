"""What the engine says about itself and its host: ``docker info`` and ``docker version``."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any, Final

from wherry import __version__
from wherry.engine import clock
from wherry.engine.images import Images
from wherry.engine.network_catalog import NetworkCatalog
from wherry.engine.registry import Registry
from wherry.engine.settings import RegistryOptions, Settings
from wherry.engine.state import Status
from wherry.runtime import cgroups

__all__ = ["API_VERSION", "MINIMUM_API_VERSION", "information", "missing_limits", "version"]

Json = dict[str, Any]

API_VERSION: Final = "1.51"
MINIMUM_API_VERSION: Final = "1.24"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def version() -> Json:
    """The body of SystemVersion."""
    kernel, arch = os.uname().release, _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    python = platform.python_version()
    return {
        "Platform": {"Name": "wherry"},
        "Components": [{"Name": "Engine", "Version": __version__, "Details": {
            "ApiVersion": API_VERSION, "MinAPIVersion": MINIMUM_API_VERSION, "Arch": arch, "Os": "linux",
            "KernelVersion": kernel, "PythonVersion": python, "Experimental": "false",
        }}],
        "Version": __version__, "ApiVersion": API_VERSION, "MinAPIVersion": MINIMUM_API_VERSION, "GitCommit": "",
        "GoVersion": f"none (Python {python})", "Os": "linux", "Arch": arch, "KernelVersion": kernel,
        "BuildTime": "",
    }  # fmt: skip


def information(settings: Settings, registry: Registry, images: Images, networks: NetworkCatalog) -> Json:
    """The body of SystemInfo."""
    by_status = [container.state.status for container in registry]
    limits = cgroups.features()
    return {
        "ID": _identity(settings.data_root),
        "Name": os.uname().nodename,
        "ServerVersion": __version__,
        "Containers": len(by_status),
        "ContainersRunning": by_status.count(Status.RUNNING),
        "ContainersPaused": by_status.count(Status.PAUSED),
        "ContainersStopped": sum(s not in (Status.RUNNING, Status.PAUSED) for s in by_status),
        "Images": images.count(),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", _file_system(settings.data_root)], ["Mounts on the host", "none"]],
        "Plugins": {
            "Volume": [], "Network": networks.drivers(), "Authorization": None, "Log": ["json-file", "local", "none"],
        },
        "MemoryLimit": limits.memory, "SwapLimit": limits.swap, "CpuCfsPeriod": limits.cpu_quota,
        "CpuCfsQuota": limits.cpu_quota, "CPUShares": limits.cpu_shares, "CPUSet": limits.cpuset,
        "PidsLimit": limits.pids, "OomKillDisable": limits.oom_kill_disable,
        "IPv4Forwarding": _flag("/proc/sys/net/ipv4/ip_forward"),
        "BridgeNfIptables": False, "BridgeNfIp6tables": False, "Debug": settings.debug,
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": 1, "SystemTime": clock.now(), "LoggingDriver": settings.log_driver,
        "CgroupDriver": "cgroupfs", "CgroupVersion": str(limits.version), "NEventsListener": 0,
        "KernelVersion": os.uname().release, "OperatingSystem": _distribution().get("PRETTY_NAME", "Linux"),
        "OSVersion": _distribution().get("VERSION_ID", ""), "OSType": "linux", "Architecture": os.uname().machine,
        "IndexServerAddress": "https://index.docker.io/v1/", "RegistryConfig": _registries(settings.registries),
        "NCPU": os.cpu_count() or 1, "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "GenericResources": None, "DockerRootDir": str(settings.data_root), "HttpProxy": "", "HttpsProxy": "",
        "NoProxy": "",
        "Labels": list(settings.labels), "ExperimentalBuild": False, "LiveRestoreEnabled": True,
        "Runtimes": {"wherry": {"path": "wherry"}}, "DefaultRuntime": "wherry", "InitBinary": "wherry",
        "Isolation": "", "ContainerdCommit": _no_commit(), "RuncCommit": _no_commit(), "InitCommit": _no_commit(),
        "SecurityOptions": [f"name=seccomp,profile={settings.seccomp_profile or 'builtin'}", "name=cgroupns"],
        "ProductLicense": "Apache-2.0", "Warnings": [*missing_limits(limits), *networks.warnings()] or None,
        "DefaultAddressPools": [{"Base": base, "Size": size} for base, size in settings.networks.pools],
        "CDISpecDirs": [],
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
                  "RemoteManagers": None},
    }  # fmt: skip


def missing_limits(limits: cgroups.Features) -> list[str]:
    """What cannot be limited on this machine, in the words that people know from ``docker info``."""
    found = (
        (limits.memory, "memory limit"), (limits.swap or not limits.memory, "swap limit"),
        (limits.oom_kill_disable or limits.version == 2, "oom kill disable"), (limits.cpu_quota, "cpu cfs quota"),
        (limits.cpu_quota, "cpu cfs period"), (limits.cpu_shares, "cpu shares"), (limits.cpuset, "cpuset"),
        (limits.pids, "pids limit"),
    )  # fmt: skip
    return [f"WARNING: No {what} support" for there, what in found if not there]


def _no_commit() -> Json:
    return {"ID": "", "Expected": ""}


def _registries(told: RegistryOptions) -> Json:
    mirrors = list(told.mirrors)
    indexes = {"docker.io": {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}}
    networks = [entry for entry in told.insecure if "/" in entry]
    for name in told.insecure:
        if "/" not in name:
            indexes[name] = {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
    return {"AllowNondistributableArtifactsCIDRs": [], "AllowNondistributableArtifactsHostnames": [],
            "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128", *networks], "IndexConfigs": indexes,
            "Mirrors": mirrors}  # fmt: skip


def _identity(data_root: Path) -> str:
    """The same for one data root on one machine, and different for every other."""
    try:
        machine = Path("/etc/machine-id").read_text()
    except OSError:
        machine = os.uname().nodename
    digest = hashlib.sha256(f"{machine}{data_root}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


@cache
def _distribution() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _file_system(path: Path) -> str:
    """The type of the file system that a path is on, from the mount that is nearest above it."""
    best, kind = "", "unknown"
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, point, fstype, *_ = line.split(" ")
            if len(point) >= len(best) and (str(path) + "/").startswith(point.rstrip("/") + "/"):
                best, kind = point, fstype
    return kind


def _flag(path: str) -> bool:
    try:
        return Path(path).read_text().strip() == "1"
    except OSError:
        return False
