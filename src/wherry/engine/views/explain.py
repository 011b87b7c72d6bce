"""The facts behind ``wherry explain``: namespaces, mounts, layers, limits. The sentences are the client's."""

from __future__ import annotations

import heapq
import os
import stat
from pathlib import Path
from typing import Any, Final

from wherry.docker.network_mode import is_user_defined, joined_container
from wherry.engine.container.container import Container
from wherry.engine.container.store import ContainerStore
from wherry.engine.disk.usage import bytes_below
from wherry.engine.images.images import Images
from wherry.engine.network.views import dns_names, port_summaries
from wherry.engine.settings import Settings
from wherry.engine.spec.security import kept_capabilities, seccomp_of, seccomp_option
from wherry.errors import SystemFault
from wherry.linux import capabilities
from wherry.linux.capabilities import CAP
from wherry.linux.namespaces import namespace_inode
from wherry.linux.trees import Files
from wherry.runtime import cgroups

__all__ = ["ExplainService"]

Json = dict[str, Any]

_KINDS: Final = ("pid", "mnt", "net", "ipc", "uts", "cgroup", "user", "time")
_MOST_FILES: Final = 50


class ExplainService:
    """Gathers the facts about a container from the engine, the kernel and the disk."""

    def __init__(self, containers: ContainerStore, images: Images, settings: Settings) -> None:
        self._containers = containers
        self._images = images
        self._settings = settings

    def explain(self, container: Container, cgroup: str) -> Json:
        """All facts; those that only a running container has are empty for others.

        Reads the disk: to be called in a thread.

        :param cgroup: the container's path in the cgroup hierarchies.
        """
        state = container.state
        kept = kept_capabilities(container.host)
        return {
            "Id": container.id,
            "Name": container.name,
            "State": str(state.status),
            "Pid": state.pid,
            "Namespaces": self._namespaces(container),
            "Mounts": _mounts(container),
            "Layers": self._layers(container),
            "Writable": self._writable(container),
            "Network": {"Mode": self._network_mode(container), **_network(container)},
            "Limits": _limits(container, cgroup),
            "Capabilities": {"Kept": kept, "Dropped": sorted({capabilities.text(cap) for cap in CAP} - {*kept})},
            "Seccomp": self._seccomp(container, kept),
            "NoNewPrivileges": _status_field(state.pid, "NoNewPrivs") == "1",
            "Exit": self._exit(container),
        }

    def _network_mode(self, container: Container) -> str:
        """The network mode, with the name in place of the ID of a container whose network is shared."""
        mode = container.host.network_mode or "none"
        other = self._containers.find(joined_container(mode) or "")
        return mode if other is None else f"container:{other.name}"

    def _namespaces(self, container: Container) -> list[Json]:
        if not container.state.is_alive:
            return []
        others = {c.name: c.state.pid for c in self._containers if c.state.is_alive and c is not container}
        found = []
        for kind in _KINDS:
            inode = _inode(container.state.pid, kind)
            if inode is None:
                continue
            shared = ["host"] if inode == _inode(os.getpid(), kind) else []
            shared += [name for name, pid in others.items() if inode == _inode(pid, kind)]
            found.append({"Kind": kind, "Inode": inode, "SharedWith": shared})
        return found

    def _layers(self, container: Container) -> list[Json]:
        """The read-only layers, the lowest last, and the other containers that use each."""
        sharing: dict[str, list[str]] = {}
        for other in self._containers:
            if other is not container:
                for layer in self._images.layers_of(other):
                    sharing.setdefault(layer["ChainID"], []).append(other.name)
        return [
            {**layer, "SharedWith": sharing.get(layer["ChainID"], [])} for layer in self._images.layers_of(container)
        ]

    def _writable(self, container: Container) -> Json:
        uppers = self._images.uppers(container)
        counted = [bytes_below(path) for path in uppers]
        copied = [entry for path in uppers for entry in _largest_files(path)]
        copied.sort(key=lambda entry: -int(entry["Bytes"]))
        return {
            "Path": str(uppers[0]) if uppers else "",
            "Bytes": sum(size for size, _ in counted),
            "Files": sum(number for _, number in counted),
            "CopiedUp": copied[:_MOST_FILES],
        }

    def _seccomp(self, container: Container, kept: list[str]) -> Json:
        profile = seccomp_of(container.host, self._settings, kept)
        if profile is None:
            return {"Mode": "off", "Profile": "unconfined", "Allowed": None}
        allowed = {name for rule in profile.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}
        chosen = seccomp_option(container.host) or self._settings.seccomp_profile
        return {"Mode": "filter", "Profile": "custom" if chosen else "default", "Allowed": len(allowed)}

    @staticmethod
    def _exit(container: Container) -> Json | None:
        state = container.state
        if state.is_alive or not (state.error or state.exit_code or state.finished_at[:4] != "0001"):
            return None
        return {"Code": state.exit_code, "OOMKilled": state.oom_killed, "Error": state.error, "At": state.finished_at}


def _limits(container: Container, cgroup: str) -> list[Json]:
    if not container.state.is_alive:
        return []
    found = cgroups.open(cgroup).statistics()
    host = container.host
    cpus = host.nano_cpus / 1e9 if host.nano_cpus else None
    return [
        {"Name": "memory", "Limit": found.memory.limit, "Used": found.memory.usage, "Unit": "bytes"},
        {"Name": "processes", "Limit": found.pids.limit, "Used": found.pids.current},
        {"Name": "processors", "Limit": cpus, "Used": found.cpu.usage / 1e9, "Unit": "seconds used so far"},
        {
            "Name": "processor shares",
            "Limit": None,
            "Used": host.cpu_shares or 1024,
            "Limited": False,
            "Explanation": "its weight when they are short; 1024 is usual",
        },
        {"Name": "killed for lack of memory", "Limit": None, "Used": found.oom_kills, "Limited": False},
    ]


def _network(container: Container) -> Json:
    """Its networks, and its endpoints on them while it runs."""
    return {
        "Networks": list(container.definition.networks),
        "Places": [
            {
                "Network": name, "Interface": endpoint.interface, "HostInterface": endpoint.host_interface,
                "Addresses": [str(address) for address in endpoint.addresses],
                "Gateways": [str(way) for way in (endpoint.gateway4, endpoint.gateway6) if way],
                "Names": dns_names(container, settings) if is_user_defined(name) else [],
            }
            for name, settings in container.definition.networks.items()
            if (endpoint := container.endpoints.get(name)) is not None
        ],
        "Ports": port_summaries(container.config, container.host, container.endpoints.values()),
    }  # fmt: skip


def _inode(pid: int, kind: str) -> int | None:
    try:
        return namespace_inode(pid, kind)
    except (SystemFault, OSError):
        return None  # the process is gone, or this kernel has no such namespace


def _status_field(pid: int, name: str) -> str:
    """A field of /proc/<pid>/status."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def _mounts(container: Container) -> list[Json]:
    """The mounts in a container's namespace, from proc(5), /proc/<pid>/mountinfo, in plain words."""
    asked = {point.target: point for point in container.definition.mounts}
    try:
        lines = Path(f"/proc/{container.state.pid}/mountinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = []
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, (kind, source, *_) = left.split(" "), right.split(" ")
        target = fields[4].encode("latin-1", "backslashreplace").decode("unicode_escape")
        point = asked.get(target)
        found.append({
            "Destination": target, "Source": point.source if point else source, "Type": kind,
            "Options": fields[5].split(","), "Why": _why(target, asked=point is not None),
        })  # fmt: skip
    return found


_REASONS: Final = {
    "/": "its own view of the image's layers, with a writable layer on top",
    "/usr": "the host's own /usr, with a writable layer on top",
    "/proc": "shows its own processes",
    "/dev": "a few harmless devices of its own",
    "/dev/pts": "its own terminals",
    "/dev/shm": "memory that its processes share",
    "/dev/mqueue": "its own message queues",
    "/dev/console": "the terminal it was started on",
    "/sys": "what the kernel tells about the machine",
    "/sys/fs/cgroup": "its own limits",
    "/etc/hostname": "made by the engine",
    "/etc/hosts": "made by the engine",
    "/etc/resolv.conf": "made by the engine",
}


def _why(target: str, *, asked: bool) -> str:
    if asked:
        return "you asked for it"
    if target in _REASONS:
        return _REASONS[target]
    if target.startswith("/sys/fs/cgroup/"):
        return _REASONS["/sys/fs/cgroup"]
    if target.startswith(("/proc/", "/sys/")):
        return "hidden or read-only, because it is about the host"
    return ""


def _largest_files(upper: Path) -> list[Json]:
    """The largest files in a writable layer, with their paths in the container."""
    largest: list[tuple[int, str]] = []
    files = Files(upper)
    for name, status in files:
        if stat.S_ISDIR(status.st_mode) or (len(largest) == _MOST_FILES and status.st_size <= largest[0][0]):
            continue
        act = heapq.heappushpop if len(largest) == _MOST_FILES else heapq.heappush
        act(largest, (status.st_size, "/" + files.path(name)))
    return [{"Path": path, "Bytes": size} for size, path in sorted(largest, reverse=True)]
