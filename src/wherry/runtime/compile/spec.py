"""Compile a runtime specification to a plan: all is decided and checked here, and nothing is done.

The order of the steps is that of the layers of isolation: namespaces, root, mounts, devices, what is hidden, the
pivot, and then the process (:mod:`~wherry.runtime.compile.process`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

from wherry.errors import InvalidInput, Unsupported
from wherry.linux import namespaces as kinds
from wherry.linux.lsm import has_selinux
from wherry.linux.mount import MS
from wherry.oci.runtime_spec import Linux, Process, Spec
from wherry.runtime.cgroups.resources import Resources
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.compile import devices_of_host, notifications, sysctls
from wherry.runtime.compile import mounts as compile_mounts
from wherry.runtime.compile import process as compile_process
from wherry.runtime.compile.hooks import hook_steps
from wherry.runtime.compile.manner import KEEPERS, Manner
from wherry.runtime.plan import Plan
from wherry.runtime.steps import init
from wherry.runtime.steps.cgroup_mounts import MountCgroups
from wherry.runtime.steps.devices import BindConsole, DeviceLinks
from wherry.runtime.steps.mounts import Bind
from wherry.runtime.steps.namespaces import (
    AwaitParent,
    BearInside,
    BecomeRoot,
    CgroupNamespace,
    DomainName,
    EnterCgroup,
    HostName,
    JoinNamespace,
    LoopbackUp,
)
from wherry.runtime.steps.overlay import Overlay
from wherry.runtime.steps.rootfs import (
    BindRoot,
    EnterRoot,
    HandOverRoot,
    MoveRoot,
    PivotRoot,
    ReadOnlyRoot,
    RootPropagation,
    SeparateHost,
)
from wherry.runtime.steps.step import Step
from wherry.runtime.steps.sysctl import Sysctl
from wherry.runtime.steps.working_directory import MakeDirectory

__all__ = ["cgroup_path", "compile_spec"]

#: The specification's word for a namespace to the kernel's.
_KINDS: Final = {"mount": "mnt", "network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts", "user": "user"} | {
    "cgroup": "cgroup",
    "time": "time",
}
_LONGEST_NAME: Final = 64  # __NEW_UTS_LEN


def compile_spec(
    spec: Spec, *, container_id: str, bundle: str = "", scope: Scope | None = None, manner: Manner = KEEPERS
) -> Plan:
    """Turn a specification into a plan.

    Extensions: a mount on ``/`` of type ``overlay`` is the root itself (its options ``lowerdir+=``, ``upperdir=``,
    ``workdir=``, and ``idmap`` in a user namespace); of any other overlay ``org.wherry.selector=`` mounts a part;
    ``process.user.username`` is looked up in the container; the annotations ``org.wherry.init``,
    ``org.wherry.rlimits`` and ``org.wherry.groups``.

    :param container_id: names the control group, unless the specification does, and the session keyring.
    :param bundle: the directory that ``root.path`` and sources of binds may be relative to; absolute.
    :param scope: the unit whose control group is the container's, where systemd manages them
        (:mod:`wherry.runtime.cgroups.systemd`).
    :param manner: what is asked for beside the specification.
    :raises InvalidInput: the specification asks for what cannot be.
    :raises Unsupported: it asks for what this version of wherry does not do.
    """
    linux = spec.linux or Linux()
    process = spec.process
    if spec.root is None or process is None:
        raise InvalidInput(f"the specification has no {'root' if spec.root is None else 'process'}")
    _refuse_unsupported(spec, linux, manner)
    if bundle:
        spec = compile_mounts.in_bundle(spec, bundle)
    compile_process.check(process)
    names = _Namespaces(linux)
    cgroup = scope.path if scope is not None else cgroup_path(linux, container_id) if manner.grouped else ""
    found = _resources(linux) if manner.grouped else None
    moved = devices_of_host.net_devices(linux, own="net" in names.own)
    listener = notifications.listener(spec, container_id=container_id, bundle=bundle)
    steps = tuple(_steps(spec, process, names, manner, cgroup=cgroup, container_id=container_id))
    return Plan(
        cgroup=cgroup,
        resources=found,
        namespaces=names.clone_flags,
        parent_joins=names.parent_joins,
        user_path=names.user_path,
        uid_map=names.uid_map,
        gid_map=names.gid_map,
        time_offsets=_time_offsets(linux, names),
        oom_score_adj=_oom_score(process),
        terminal=process.terminal,
        net_devices=(names.net_path, moved) if moved else None,
        intel_rdt=devices_of_host.intel_rdt(linux.intel_rdt, container_id),
        listener=listener,
        scope=scope,
        prepared=_prepared(steps, with_user=names.has_user),
        environment=compile_process.environment(process),
        steps=steps,
    )


def _steps(
    spec: Spec, process: Process, names: _Namespaces, manner: Manner, *, cgroup: str, container_id: str
) -> Iterator[Step]:
    linux = spec.linux or Linux()
    yield from compile_process.first_steps(process)
    if names.joins_mounts:
        yield from _steps_in_joined_mounts(spec, linux, process, names, manner, cgroup=cgroup)
    else:
        yield from _steps_in_own_mounts(spec, linux, process, names, manner, cgroup=cgroup)
    yield from _after_the_pivot(spec, linux, names)
    yield from compile_process.last_steps(
        process,
        container_id=container_id,
        filter_profile=linux.seccomp,
        annotations=spec.annotations,
        init=_wants_init(spec.annotations),
        inside="pid" in names.own - names.new,
        own_pids="pid" in names.own,
        manner=manner,
    )


def _steps_in_joined_mounts(
    spec: Spec, linux: Linux, process: Process, names: _Namespaces, manner: Manner, *, cgroup: str
) -> Iterator[Step]:
    """Others live in the mount namespace, so nothing is mounted, and the root is only changed into."""
    _refuse_mounts(spec, linux)
    if names.has_user:
        yield from (AwaitParent(), BecomeRoot(""))
    *others, mounts = names.child_joins
    yield from others
    yield from _entering_group(names, cgroup)
    yield mounts
    yield from hook_steps(spec.hooks, manner)
    yield EnterRoot(spec.root.path if spec.root else "/")
    yield from compile_process.user_steps(process, spec.annotations)
    if linux.sysctl:
        yield Sysctl(sysctls.settings(linux.sysctl, names.own))


def _refuse_mounts(spec: Spec, linux: Linux) -> None:
    asked = {
        "mounts": spec.mounts,
        "root.readonly": spec.root is not None and spec.root.readonly,
        "linux.devices": linux.devices,
        "linux.maskedPaths": linux.masked_paths,
        "linux.readonlyPaths": linux.readonly_paths,
        "linux.rootfsPropagation": linux.rootfs_propagation,
    }
    for name, present in asked.items():
        if present:
            hint = "leave it out, or the path of the mount namespace"
            raise Unsupported(f"{name} would change the mounts of all who are in the mount namespace", hint=hint)
    if spec.hooks is not None and spec.hooks.create_container:
        raise Unsupported(
            "createContainer hooks are run before anything is confined, and so are not taken from a mount namespace "
            "that is joined, where their paths may be a container's",
            hint="leave them out, or the path of the mount namespace",
        )


def _steps_in_own_mounts(
    spec: Spec, linux: Linux, process: Process, names: _Namespaces, manner: Manner, *, cgroup: str
) -> Iterator[Step]:
    mounting = tuple(_root_and_mounts(spec, linux, names, cgroup))
    if names.has_user:
        yield from (AwaitParent(), BecomeRoot(spec.root.path if spec.root else ""))
    elif any(isinstance(step, Bind) and step.id_map is not None for step in mounting):
        yield AwaitParent()
    yield from names.child_joins
    in_group = False
    for step in mounting:
        if isinstance(step, MountCgroups) and not in_group:
            yield from _entering_group(names, cgroup)
            in_group = True
        yield step
    yield from _inside_the_root(spec, linux, process, names, manner)
    if not in_group:
        yield from _entering_group(names, cgroup)
    yield PivotRoot() if manner.pivot else MoveRoot()
    if any(isinstance(step, Overlay) and step.destination == "/" and step.upper for step in mounting):
        yield HandOverRoot()


def _root_and_mounts(spec: Spec, linux: Linux, names: _Namespaces, cgroup: str) -> Iterator[Step]:
    if spec.root is None:
        return
    flags = compile_mounts.propagation(linux.rootfs_propagation)
    root = compile_mounts.root_step(spec.root, spec.mounts)
    yield SeparateHost(flags, root.path)
    yield root
    private = "cgroup" in names.own
    yield from compile_mounts.mount_steps(spec, cgroup=cgroup, private_cgroups=private, id_maps=names.has_user)


def _inside_the_root(spec: Spec, linux: Linux, process: Process, names: _Namespaces, manner: Manner) -> Iterator[Step]:
    """What is made by descriptor in the root, while the host's tree is still there."""
    if compile_mounts.sets_up_dev(spec):
        yield compile_mounts.device_nodes(linux.devices)
        yield DeviceLinks()
    yield from compile_process.user_steps(process, spec.annotations)
    if process.terminal:
        yield BindConsole()
    if process.cwd != "/":
        yield MakeDirectory(process.cwd)
    yield from hook_steps(spec.hooks, manner)
    if linux.sysctl:
        yield Sysctl(sysctls.settings(linux.sysctl, names.own))
    yield from compile_mounts.hiding(spec)
    yield from compile_mounts.closing(spec)
    if spec.root is not None and spec.root.readonly:
        yield ReadOnlyRoot()


def _entering_group(names: _Namespaces, cgroup: str) -> Iterator[Step]:
    """By then the parent has made the control group, which becomes the root of a new namespace.

    In a user namespace, the process has no right to enter it, and the parent has put it there.
    """
    if not names.has_user:
        yield AwaitParent()
        if cgroup:
            yield EnterCgroup(cgroup)
    if "cgroup" in names.new:
        yield CgroupNamespace()


def _after_the_pivot(spec: Spec, linux: Linux, names: _Namespaces) -> Iterator[Step]:
    final = {"shared": MS.SHARED, "rshared": MS.SHARED, "unbindable": MS.UNBINDABLE, "runbindable": MS.UNBINDABLE}
    if linux.rootfs_propagation in final:
        recursive = MS.REC if linux.rootfs_propagation.startswith("r") else 0
        yield RootPropagation(int(final[linux.rootfs_propagation] | recursive))
    yield from (BearInside(join.path) for join in names.child_joins if join.kind == "pid")
    for name, what, step in (
        (spec.hostname, "hostname", HostName),
        (spec.domainname, "domainname", DomainName),
    ):
        if name:
            if "uts" not in names.own:
                raise InvalidInput(f"{what} {name!r} cannot be set without a UTS namespace")
            if len(name.encode()) > _LONGEST_NAME or "\0" in name:
                raise InvalidInput(f"{what} {name!r} is longer than {_LONGEST_NAME} bytes")
            yield step(name)
    if "net" in names.new:
        yield LoopbackUp()
    if linux.personality is not None:
        yield compile_process.personality(linux.personality)
    if linux.memory_policy is not None:
        yield compile_process.memory_policy(linux.memory_policy)


# ---------------------------------------------------------------------------------------------------------- namespaces


class _Namespaces:
    """The namespaces of a specification, checked, and sorted by the process that enters them.

    :ivar new: kinds of which the process gets a new one; ``own``: these and those that it joins, unless it is the
        host's.
    """

    def __init__(self, linux: Linux) -> None:
        paths = self._paths(linux)
        self.new = frozenset(kind for kind, path in paths.items() if not path)
        self.own = self.new | frozenset(kind for kind, path in paths.items() if path and not _is_ours(path, kind))
        self.user_path = paths.get("user", "")
        self.net_path = paths.get("net", "")
        self.has_user = "user" in paths
        self.uid_map, self.gid_map = self._maps(linux)
        joined = [(kind, path) for kind, path in paths.items() if path and kind != "user"]
        joined = [(kind, path) for kind, path in joined if kind != "pid" or kind in self.own]
        # From inside a new user namespace one cannot enter the host's others. A PID namespace is entered by the child,
        # for *its* children: what is born in it must have nothing of the host's (wherry.runtime.steps.birth).
        # What a mount namespace is joined by is its last sight of the host's paths.
        by_parent = ({"time"} | (set(paths) if self.has_user else set())) - {"pid", "mnt"}
        self.joins_mounts = bool(paths["mnt"])
        for kind, name in (("pid", "PID"), ("mnt", "mount")):
            if self.has_user and not self.user_path and paths.get(kind):
                raise Unsupported(
                    f"a {name} namespace cannot be joined together with a new user namespace",
                    hint="join the user namespace that it belongs to",
                )
        joined.sort(key=lambda entry: entry[0] == "mnt")
        self.parent_joins = tuple((kind, path) for kind, path in joined if kind in by_parent)
        self.child_joins = tuple(JoinNamespace(kind, path) for kind, path in joined if kind not in by_parent)

    @property
    def clone_flags(self) -> int:
        """Flags for clone(2). The child makes the cgroup namespace once it is in its group; the parent makes time."""
        flags = 0
        for kind in self.new - {"cgroup", "time"}:
            flags |= int(kinds.KINDS[kind])
        return flags

    @staticmethod
    def _paths(linux: Linux) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in linux.namespaces:
            if one.type not in _KINDS:
                raise InvalidInput(f"unknown namespace {one.type!r}")
            if _KINDS[one.type] in found:
                raise InvalidInput(f"the {one.type} namespace is given twice")
            if one.path and (not one.path.startswith("/") or "\0" in one.path):
                raise InvalidInput(f"the path {one.path!r} of the {one.type} namespace must be absolute")
            found[_KINDS[one.type]] = one.path
        if "mnt" not in found:
            raise InvalidInput("a container needs a mount namespace")
        if found["mnt"] and _is_ours(found["mnt"], "mnt"):
            raise InvalidInput(f"the mount namespace {found['mnt']!r} is the host's")
        return found

    def _maps(self, linux: Linux) -> tuple[str, str]:
        uid_map = compile_mounts.id_map(linux.uid_mappings, "uidMappings")
        gid_map = compile_mounts.id_map(linux.gid_mappings, "gidMappings")
        if self.has_user and not self.user_path:
            for what, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
                if not any(one.container_id == 0 for one in mappings):
                    raise InvalidInput(f"a new user namespace needs {what} that begin at 0 in the container")
        elif uid_map or gid_map:
            raise InvalidInput("uidMappings and gidMappings need a new user namespace")
        return uid_map, gid_map


def _is_ours(path: str, kind: str) -> bool:
    """Whether a namespace to be joined is the one that this process is in, the host's."""
    try:
        return os.path.samefile(path, f"/proc/self/ns/{kind}")
    except OSError:
        return False  # it may be there when the plan is carried out


# ---------------------------------------------------------------------------------------------------------- the others


def cgroup_path(linux: Linux, container_id: str) -> str:
    """Return the path of the container's control group, from the hierarchies' roots.

    A relative one counts from ``/wherry``.

    :raises InvalidInput: it leads upwards, or nowhere.
    """
    path = linux.cgroups_path or container_id
    if not path.startswith("/"):
        if path.count(":") == 2 and "/" not in path:
            hint = "it takes the manager of control groups that is systemd"
            raise InvalidInput(f"cgroupsPath {path!r} is of systemd's form (slice:prefix:name)", hint=hint)
        path = f"/wherry/{path}"
    if ".." in path.split("/") or "\0" in path or not path.strip("/"):
        raise InvalidInput(f"cgroupsPath {path!r} must be below the root and without '..'")
    return path


def _resources(linux: Linux) -> dict[str, Any]:
    if linux.resources is None:
        return {}
    return _checked(msgspec.json.encode(linux.resources))


@lru_cache(maxsize=64)
def _checked(resources: bytes) -> dict[str, Any]:
    """The limits as plain values; equal limits share one object, which must not be changed."""
    plain: dict[str, Any] = msgspec.json.decode(resources)
    rules = plain.get("devices")
    if rules and not (rules[-1].get("allow") and rules[-1].get("type", "a") == "a"):
        plain["devices"] = [*rules, *_default_rules()]
    Resources.from_oci(plain)  # refuses what no kernel would take
    return plain


def _default_rules() -> Iterator[dict[str, Any]]:
    """What every container may use: its default devices, terminals, and making nodes, which alone opens nothing.

    null, zero, full, random, urandom; tty, which is whoever opens it's own; ptmx and pts, which open nothing outside a
    devpts. Not 5:1, the host's console, which Docker allows: a container's /dev/console is its terminal, a pts.
    """
    for kind in ("c", "b"):
        yield {"allow": True, "type": kind, "access": "m"}
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1)):
        yield {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}


def _oom_score(process: Process) -> int | None:
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        raise InvalidInput(f"oomScoreAdj {process.oom_score_adj} is not between -1000 and 1000")
    return process.oom_score_adj


def _time_offsets(linux: Linux, names: _Namespaces) -> str:
    """Write the offsets as /proc/<pid>/timens_offsets takes them; see time_namespaces(7)."""
    if linux.time_offsets and "time" not in names.new:
        raise InvalidInput("timeOffsets need a new time namespace")
    lines = []
    for clock, offset in linux.time_offsets.items():
        if clock not in ("monotonic", "boottime"):
            raise InvalidInput(f"unknown clock {clock!r} in timeOffsets")
        if not 0 <= offset.nanosecs < 10**9:
            raise InvalidInput(f"{offset.nanosecs} nanoseconds are no part of a second")
        lines.append(f"{clock} {offset.secs} {offset.nanosecs}\n")
    return "".join(lines) or ("monotonic 0 0\n" if "time" in names.new else "")


def _prepared(steps: tuple[Step, ...], *, with_user: bool) -> tuple[int, ...]:
    """Return the numbers of the steps whose mounts the parent makes (:mod:`wherry.runtime.launch.idmapped_mounts`)."""
    return tuple(
        index
        for index, step in enumerate(steps)
        if (isinstance(step, Bind) and (with_user or step.id_map is not None))
        or (with_user and isinstance(step, Overlay | BindRoot))
    )


def _wants_init(annotations: dict[str, str]) -> bool:
    value = annotations.get(init.ANNOTATION, "false")
    if value not in ("true", "false"):
        raise InvalidInput(f"the annotation {init.ANNOTATION} must be 'true' or 'false', not {value!r}")
    return value == "true"


def _refuse_unsupported(spec: Spec, linux: Linux, manner: Manner) -> None:
    """Refuse parts of the specification that would silently have no effect."""
    hooks = spec.hooks
    asked = {
        "hooks": manner.state is None and hooks is not None and any(msgspec.to_builtins(hooks).values()),
    }
    for name, present in asked.items():
        if present:
            raise Unsupported(f"{name} is not supported")
    if linux.mount_label and not has_selinux():
        raise Unsupported(f"this kernel has no selinux, so the mountLabel {linux.mount_label!r} cannot be set")
