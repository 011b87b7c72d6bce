"""A container's configuration becomes an OCI runtime specification.

Pure translation: what the words of Docker's API mean in the words of the specification, which is all that
`wherry.runtime` gets to see of a container.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.docker.network_mode import joined_container
from wherry.engine.container.hostname import hostname_of
from wherry.engine.spec.context import cgroup_path
from wherry.engine.spec.mounts import mounts, root_propagation
from wherry.engine.spec.process import process
from wherry.engine.spec.resources import resources
from wherry.engine.spec.security import masked_paths, readonly_paths, seccomp_of
from wherry.oci.runtime_spec import Linux, Namespace, Root, Spec
from wherry.runtime.compile.process import EXTRA_GROUPS, RLIMITS
from wherry.runtime.steps.init import ANNOTATION as INIT

if TYPE_CHECKING:
    from wherry.docker.container_requests import HostConfig
    from wherry.engine.container.container import Container
    from wherry.engine.spec.context import SpecContext
    from wherry.engine.spec.devices import HostDevices
    from wherry.oci.runtime_spec import NamespaceType, Process

__all__ = ["build_spec"]


def build_spec(container: Container, context: SpecContext) -> Spec:
    """The OCI runtime specification of a container that is about to start.

    :raises NotFound: there is no such container to join.
    :raises Conflict: a container to join does not run.
    :raises InvalidInput: a seccomp profile, or a device, is not what it is taken for.
    """
    host, first = container.host, _with_devices(process(container, context.settings), context.devices)
    own_names = host.uts_mode != "host"
    return Spec(
        root=Root(path=str(context.settings.exec_root / "rootfs"), readonly=bool(host.readonly_rootfs)),
        mounts=mounts(container, context),
        process=first,
        hostname=hostname_of(container) if own_names else "",
        domainname=(container.config.domainname or "") if own_names else "",
        annotations=_annotations(host, context),
        linux=_linux(container, context, first),
        hooks=context.devices.hooks,
    )


def _linux(container: Container, context: SpecContext, first: Process) -> Linux:
    host = container.host
    kept = first.capabilities.bounding if first.capabilities else ()
    return Linux(
        namespaces=_namespaces(container, context),
        devices=context.devices.nodes,
        net_devices=dict(context.devices.net_devices),
        intel_rdt=context.devices.intel_rdt,
        cgroups_path=cgroup_path(container, context.settings),
        resources=resources(host, context.devices.rules),
        sysctl=_sysctls(host),
        seccomp=seccomp_of(host, context.settings, kept, keeps_projects=context.has_limited_volumes),
        rootfs_propagation=root_propagation(container),
        masked_paths=masked_paths(host),
        readonly_paths=readonly_paths(host),
    )


def _with_devices(first: Process, devices: HostDevices) -> Process:
    if not devices.env:
        return first
    from wherry.engine.cdi.edits import with_variables  # noqa: PLC0415 - few containers have such devices

    return replace(first, env=with_variables(first.env, devices.env))


def _annotations(host: HostConfig, context: SpecContext) -> dict[str, str]:
    found, settings = dict(host.annotations or {}), context.settings
    if groups := [*(host.group_add or []), *map(str, context.devices.groups)]:
        found[EXTRA_GROUPS] = ",".join(groups)
    if host.ulimits:
        found[RLIMITS] = "exact"  # what was asked for by name is not to be cut silently
    if host.init if host.init is not None else settings.init:
        found[INIT] = "true"
    return found


#: What anybody may do in a network of the container's own, as in Docker: listen on every port, and ask for echoes.
_OPEN_NETWORK: Final = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


def _sysctls(host: HostConfig) -> dict[str, str]:
    wanted = {name.replace("/", "."): value for name, value in (host.sysctls or {}).items()}
    if host.network_mode == "host" or joined_container(host.network_mode) is not None:
        return wanted
    return {**{name: value for name, value in _OPEN_NETWORK.items() if _has_sysctl(name)}, **wanted}


@cache
def _has_sysctl(name: str) -> bool:
    return os.path.exists(f"/proc/sys/{name.replace('.', '/')}")


def _namespaces(container: Container, context: SpecContext) -> tuple[Namespace, ...]:
    host = container.host
    modes: dict[NamespaceType, str | None] = {
        "pid": host.pid_mode, "ipc": host.ipc_mode, "uts": host.uts_mode,
        "cgroup": host.cgroupns_mode, "network": host.network_mode,
    }  # fmt: skip
    found = [Namespace(type="mount")]
    for kind, mode in modes.items():
        if mode == "host":
            continue
        if mode and mode.startswith("container:"):
            other = context.join(kind, mode.partition(":")[2])
            found.append(Namespace(type=kind, path=f"/proc/{other.state.pid}/ns/{_PROC_NAMES.get(kind, kind)}"))
        elif kind == "network":
            found.append(Namespace(type=kind, path=context.network or ""))
        else:
            found.append(Namespace(type=kind))
    return tuple(found)


_PROC_NAMES: Final = {"network": "net"}  #: of /proc/<pid>/ns, where they are others than the specification's
