"""The facts behind ``wherry explain``: namespaces, mounts, layers, limits. The sentences are the client's."""

from __future__ import annotations

import heapq
import os
import stat
from pathlib import Path
from typing import Final

from msgspec import structs

from wherry.docker.explain_answers import (
    CapabilitySets,
    CopiedFile,
    ExitView,
    Explanation,
    LimitView,
    MountExplained,
    NamespaceView,
    NetworkExplained,
    PlaceOnNetwork,
    RootLayer,
    SeccompView,
    WritableLayer,
)
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

_KINDS: Final = ("pid", "mnt", "net", "ipc", "uts", "cgroup", "user", "time")
_MOST_FILES: Final = 50


class ExplainService:
    """Gathers the facts about a container from the engine, the kernel and the disk."""

    def __init__(self, containers: ContainerStore, images: Images, settings: Settings) -> None:
        self._containers = containers
        self._images = images
        self._settings = settings

    def explain(self, container: Container, cgroup: str) -> Explanation:
        """All facts; those that only a running container has are empty for others.

        Reads the disk: to be called in a thread.

        :param cgroup: the container's path in the cgroup hierarchies.
        """
        state = container.state
        kept = kept_capabilities(container.host)
        return Explanation(
            id=container.id,
            name=container.name,
            state=str(state.status),
            pid=state.pid,
            namespaces=self._namespaces(container),
            mounts=_mounts(container),
            layers=self._layers(container),
            writable=self._writable(container),
            network=_network(container, self._network_mode(container)),
            limits=_limits(container, cgroup),
            capabilities=CapabilitySets(kept, sorted({capabilities.text(cap) for cap in CAP} - {*kept})),
            seccomp=self._seccomp(container, kept),
            no_new_privileges=_status_field(state.pid, "NoNewPrivs") == "1",
            exit=self._exit(container),
        )

    def _network_mode(self, container: Container) -> str:
        """The network mode, with the name in place of the ID of a container whose network is shared."""
        mode = container.host.network_mode or "none"
        other = self._containers.find(joined_container(mode) or "")
        return mode if other is None else f"container:{other.name}"

    def _namespaces(self, container: Container) -> list[NamespaceView]:
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
            found.append(NamespaceView(kind, inode, shared))
        return found

    def _layers(self, container: Container) -> list[RootLayer]:
        """The read-only layers, the lowest last, and the other containers that use each."""
        sharing: dict[str, list[str]] = {}
        for other in self._containers:
            if other is not container:
                for layer in self._images.layers_of(other):
                    sharing.setdefault(layer.chain_id, []).append(other.name)
        layers = self._images.layers_of(container)
        return [structs.replace(layer, shared_with=sharing.get(layer.chain_id, [])) for layer in layers]

    def _writable(self, container: Container) -> WritableLayer:
        uppers = self._images.uppers(container)
        counted = [bytes_below(path) for path in uppers]
        copied = [entry for path in uppers for entry in _largest_files(path)]
        copied.sort(key=lambda entry: -entry.bytes)
        return WritableLayer(
            path=str(uppers[0]) if uppers else "",
            bytes=sum(size for size, _ in counted),
            files=sum(number for _, number in counted),
            copied_up=copied[:_MOST_FILES],
        )

    def _seccomp(self, container: Container, kept: list[str]) -> SeccompView:
        profile = seccomp_of(container.host, self._settings, kept)
        if profile is None:
            return SeccompView("off", "unconfined", None)
        allowed = {name for rule in profile.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}
        chosen = seccomp_option(container.host) or self._settings.seccomp_profile
        return SeccompView("filter", "custom" if chosen else "default", len(allowed))

    @staticmethod
    def _exit(container: Container) -> ExitView | None:
        state = container.state
        if state.is_alive or not (state.error or state.exit_code or state.finished_at[:4] != "0001"):
            return None
        return ExitView(code=state.exit_code, oom_killed=state.oom_killed, error=state.error, at=state.finished_at)


def _limits(container: Container, cgroup: str) -> list[LimitView]:
    if not container.state.is_alive:
        return []
    found = cgroups.open(cgroup).statistics()
    host = container.host
    cpus = host.nano_cpus / 1e9 if host.nano_cpus else None
    return [
        LimitView(name="memory", limit=found.memory.limit, used=found.memory.usage, unit="bytes"),
        LimitView(name="processes", limit=found.pids.limit, used=found.pids.current),
        LimitView(name="processors", limit=cpus, used=found.cpu.usage / 1e9, unit="seconds used so far"),
        LimitView(
            name="processor shares",
            limit=None,
            used=host.cpu_shares or 1024,
            limited=False,
            explanation="its weight when they are short; 1024 is usual",
        ),
        LimitView(name="killed for lack of memory", limit=None, used=found.oom_kills, limited=False),
    ]


def _network(container: Container, mode: str) -> NetworkExplained:
    """Its networks, and its endpoints on them while it runs."""
    places = [
        PlaceOnNetwork(
            network=name, interface=endpoint.interface, host_interface=endpoint.host_interface,
            addresses=[str(address) for address in endpoint.addresses],
            gateways=[str(way) for way in (endpoint.gateway4, endpoint.gateway6) if way],
            names=dns_names(container, settings) if is_user_defined(name) else [],
        )
        for name, settings in container.definition.networks.items()
        if (endpoint := container.endpoints.get(name)) is not None
    ]  # fmt: skip
    ports = port_summaries(container.config, container.host, container.endpoints.values())
    return NetworkExplained(mode=mode, networks=list(container.definition.networks), places=places, ports=ports)


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


def _mounts(container: Container) -> list[MountExplained]:
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
        found.append(MountExplained(
            destination=target, source=os.fspath(point.source) if point else source, type=kind,
            options=fields[5].split(","), why=_why(target, asked=point is not None),
        ))  # fmt: skip
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


def _largest_files(upper: Path) -> list[CopiedFile]:
    """The largest files in a writable layer, with their paths in the container."""
    largest: list[tuple[int, str]] = []
    files = Files(upper)
    for name, status in files:
        if stat.S_ISDIR(status.st_mode) or (len(largest) == _MOST_FILES and status.st_size <= largest[0][0]):
            continue
        act = heapq.heappushpop if len(largest) == _MOST_FILES else heapq.heappush
        act(largest, (status.st_size, "/" + files.path(name)))
    return [CopiedFile(path, size) for size, path in sorted(largest, reverse=True)]
