"""The engine and its host: ``docker info`` and ``docker version``."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Final

from wherry import __version__
from wherry.docker import times
from wherry.docker.system import (
    AddressPool,
    Component,
    DiscoveredDevice,
    FirewallBackend,
    Index,
    Plugins,
    ProductName,
    RegistryConfig,
    Runtime,
    SystemInfo,
    SystemVersion,
)
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.images.images import Images
from wherry.engine.log_drivers.config import effective
from wherry.engine.log_drivers.table import LOG_DRIVERS, find_log_driver
from wherry.engine.network.networks import Networks
from wherry.engine.settings import RegistryOptions, Settings
from wherry.engine.volumes.volumes import Volumes
from wherry.runtime import cgroups

__all__ = ["API_VERSION", "MINIMUM_API_VERSION", "devices_of", "information", "missing_limits", "version"]

API_VERSION: Final = "1.56"
MINIMUM_API_VERSION: Final = "1.24"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def version() -> SystemVersion:
    """The body of SystemVersion."""
    kernel, arch = os.uname().release, _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    python = platform.python_version()
    details = {
        "ApiVersion": API_VERSION, "MinAPIVersion": MINIMUM_API_VERSION, "Arch": arch, "Os": "linux",
        "KernelVersion": kernel, "PythonVersion": python, "Python": os.path.realpath(sys.executable),
        "Experimental": "true",
    }  # fmt: skip
    return SystemVersion(
        platform=ProductName("wherry"), components=[Component(name="Engine", version=__version__, details=details)],
        version=__version__, api_version=API_VERSION, min_api_version=MINIMUM_API_VERSION,
        go_version=f"none (Python {python})", arch=arch, kernel_version=kernel,
    )  # fmt: skip


def information(
    settings: Settings,
    containers: ContainerStore,
    images: Images,
    networks: Networks,
    volumes: Volumes,
    *,
    named: tuple[list[str], list[str]],
) -> SystemInfo:
    """The body of SystemInfo.

    :param named: of `devices_of`.
    """
    by_status = [container.state.status for container in containers]
    limits = cgroups.features()
    devices, problems = named
    return SystemInfo(
        id=_identity(settings.data_root), name=os.uname().nodename, server_version=__version__,
        containers=len(by_status), containers_running=by_status.count(Status.RUNNING),
        containers_paused=by_status.count(Status.PAUSED),
        containers_stopped=sum(s not in (Status.RUNNING, Status.PAUSED) for s in by_status),
        images=images.count(),
        driver_status=[
            ["Backing Filesystem", _file_system(settings.data_root)], ["Mounts on the host", "none"],
            ["Log of a container", _log_kept(settings)],
        ],
        plugins=Plugins(volume=volumes.driver_names(), network=networks.drivers(), log=list(LOG_DRIVERS)),
        memory_limit=limits.memory, swap_limit=limits.swap, cpu_cfs_period=limits.cpu_quota,
        cpu_cfs_quota=limits.cpu_quota, cpu_shares=limits.cpu_shares, cpu_set=limits.cpuset, pids_limit=limits.pids,
        oom_kill_disable=limits.oom_kill_disable, ipv4_forwarding=_flag("/proc/sys/net/ipv4/ip_forward"),
        debug=settings.debug, n_fd=len(os.listdir("/proc/self/fd")), system_time=times.now(),
        logging_driver=settings.log_driver, cgroup_version=str(limits.version), kernel_version=os.uname().release,
        operating_system=_distribution().get("PRETTY_NAME", "Linux"),
        os_version=_distribution().get("VERSION_ID", ""), architecture=os.uname().machine,
        registry_config=_registries(settings.registries), ncpu=os.cpu_count() or 1,
        mem_total=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), docker_root_dir=str(settings.data_root),
        labels=list(settings.labels),
        runtimes={"wherry": Runtime("wherry"), **{name: Runtime(one.path) for name, one in settings.runtimes.items()}},
        default_runtime=settings.default_runtime,
        init_binary="wherry",
        security_options=[f"name=seccomp,profile={settings.seccomp_profile or 'builtin'}", "name=cgroupns"],
        product_license="Apache-2.0", warnings=[
            *missing_limits(limits), *networks.warnings(), *(f"WARNING: {text}" for text in settings.warnings),
            *(f"WARNING: CDI: {text}" for text in problems),
        ] or None,
        cdi_spec_dirs=list(settings.cdi_spec_dirs),
        discovered_devices=[DiscoveredDevice(source="cdi", id=name) for name in devices],
        default_address_pools=[AddressPool(base=str(pool.base), size=pool.size) for pool in settings.networks.pools],
        firewall_backend=FirewallBackend("nftables"),
    )  # fmt: skip


def missing_limits(limits: cgroups.Features) -> list[str]:
    """Warnings about limits that this kernel does not have, in the words of ``docker info``."""
    found = (
        (limits.memory, "memory limit"), (limits.swap or not limits.memory, "swap limit"),
        (limits.oom_kill_disable or limits.version == 2, "oom kill disable"), (limits.cpu_quota, "cpu cfs quota"),
        (limits.cpu_quota, "cpu cfs period"), (limits.cpu_shares, "cpu shares"), (limits.cpuset, "cpuset"),
        (limits.pids, "pids limit"),
    )  # fmt: skip
    return [f"WARNING: No {what} support" for there, what in found if not there]


def devices_of(settings: Settings) -> tuple[list[str], list[str]]:
    """The names of devices, and what is wrong with their specifications. Reads them all: to be called in a thread."""
    if not any(map(os.path.isdir, settings.cdi_spec_dirs)):
        return [], []
    from wherry.engine.cdi.registry import load  # noqa: PLC0415 - most machines have none

    found = load(settings.cdi_spec_dirs)
    return list(found.devices), found.problems


def _log_kept(settings: Settings) -> str:
    """How much of its log a container keeps by default; ``docker info`` shows it here only."""
    driver = find_log_driver(settings.log_driver)
    return driver.retention(effective(driver, settings))


def _registries(options: RegistryOptions) -> RegistryConfig:
    mirrors = list(options.mirrors)
    indexes = {"docker.io": Index(name="docker.io", mirrors=mirrors, secure=True, official=True)}
    networks = [entry for entry in options.insecure if "/" in entry]
    for name in options.insecure:
        if "/" not in name:
            indexes[name] = Index(name=name, mirrors=[], secure=False, official=False)
    return RegistryConfig(
        insecure_registry_cidrs=["127.0.0.0/8", "::1/128", *networks], index_configs=indexes, mirrors=mirrors
    )


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
