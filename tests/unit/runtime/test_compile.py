"""Compiling a specification: what is decided, and what is refused with the offending value."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.errors import CorruptData, InvalidInput, Unsupported
from wherry.linux.mount import MOUNT_ATTR
from wherry.linux.process import CLONE
from wherry.linux.seccomp import SECCOMP_FILTER_FLAG
from wherry.oci.runtime_spec import (
    VERSION,
    BlockIO,
    Box,
    Capabilities,
    CPUAffinity,
    Device,
    DeviceCgroup,
    Hook,
    Hooks,
    IDMapping,
    IntelRdt,
    IOPriority,
    Linux,
    MemoryPolicy,
    Mount,
    Namespace,
    NetDevice,
    Personality,
    Process,
    Resources,
    Rlimit,
    Root,
    Scheduler,
    Seccomp,
    SeccompSyscall,
    Spec,
    TimeOffset,
    User,
)
from wherry.runtime.compile.exec import ContainerState, compile_exec
from wherry.runtime.compile.manner import Manner
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.plan import STEPS, Plan
from wherry.runtime.steps import birth, masks, mounts, namespaces, overlay, process, rootfs, sysctl

KINDS: tuple[Any, ...] = ("mount", "pid", "uts", "ipc", "network")
EVERYTHING = tuple(Namespace(type=kind) for kind in KINDS)
OVERLAY = Mount(
    destination="/", type="overlay", options=("lowerdir+=/l/1", "lowerdir+=/l/2", "upperdir=/c/u", "workdir=/c/w")
)


def spec(**changes: Any) -> Spec:
    """A small specification; ``process``, ``linux`` and others replace fields."""
    process_ = {"cwd": "/", "args": ("true",), **changes.pop("process", {})}
    linux = {"namespaces": EVERYTHING, **changes.pop("linux", {})}
    fields: dict[str, Any] = {"root": Root(path="/run/rootfs"), "mounts": (OVERLAY,), **changes}
    return Spec(process=Process(**process_), linux=Linux(**linux), **fields)


def plan(**changes: Any) -> Plan:
    return compile_spec(spec(**changes), container_id="abc")


def step(found: Plan, kind: type) -> Any:
    """The only step of a kind."""
    (one,) = [step for step in found.steps if isinstance(step, kind)]
    return one


def order(found: Plan) -> list[str]:
    return [type(one).__name__ for one in found.steps]


# ------------------------------------------------------------------------------------------------------------ the plan


def test_a_plan_survives_being_sent() -> None:
    found = plan(
        process={
            "terminal": True,
            "console_size": Box(height=2, width=3),
            "rlimits": (Rlimit(type="RLIMIT_CORE", soft=0, hard=2**64 - 1),),
        },
        linux={
            "devices": (Device(path="/dev/x", type="c", major=1, minor=3),),
            "seccomp": Seccomp(default_action="SCMP_ACT_ALLOW"),
        },
    )
    assert Plan.decode(found.encode()) == found
    assert list(Plan.decode(found.encode()).describe()) == list(found.describe())


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff" * 10])
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptData):
        Plan.decode(data)


def test_a_plan_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = plan().encode()
    monkeypatch.setattr("wherry.runtime.plan._HEADER", ("wherry plan", 99, (3, 11)))
    with pytest.raises(CorruptData, match="another version"):
        Plan.decode(data)


def test_every_step_can_be_described() -> None:
    found = plan(
        hostname="h",
        domainname="d",
        process={"cwd": "/w", "terminal": True, "no_new_privileges": True},
        linux={
            "masked_paths": ("/proc/kcore",),
            "readonly_paths": ("/proc/sys",),
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "personality": Personality(domain="LINUX32"),
        },
    )
    assert all(one.describe() for one in found.steps)
    assert {type(one).__name__ for one in found.steps} <= set(STEPS)


def test_the_order_of_the_steps_is_that_of_the_layers_of_isolation() -> None:
    names = order(plan(linux={"masked_paths": ("/proc/kcore",), "seccomp": Seccomp(default_action="SCMP_ACT_ALLOW")}))
    wanted = ["SeparateHost", "Overlay", "Devices", "ResolveUser", "MaskPaths", "AwaitParent", "PivotRoot"]
    wanted += ["NewSession", "ChangeDirectory", "SwitchUser", "FindProgram", "LoadFilter", "Capabilities", "Execute"]
    positions = [names.index(name) for name in wanted]
    assert positions == sorted(positions)
    assert names[-1] == "Execute"


def test_with_no_new_privileges_the_filter_comes_last() -> None:
    seccomp = Seccomp(default_action="SCMP_ACT_ALLOW")
    names = order(plan(process={"no_new_privileges": True}, linux={"seccomp": seccomp}))
    assert names[-4:] == ["Capabilities", "NoNewPrivileges", "LoadFilter", "Execute"]


# ---------------------------------------------------------------------------------------------------------- namespaces


def test_new_namespaces_are_cloned_but_the_cgroup_namespace_waits_for_the_group() -> None:
    found = plan(linux={"namespaces": (*EVERYTHING, Namespace(type="cgroup"))})
    assert found.namespaces == CLONE.NEWNS | CLONE.NEWPID | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNET
    names = order(found)
    begin = names.index("AwaitParent")
    assert names[begin : begin + 3] == ["AwaitParent", "EnterCgroup", "CgroupNamespace"]


def test_who_joins_which_namespace() -> None:
    joined = (
        Namespace(type="mount"),
        Namespace(type="pid", path="/proc/999999999/ns/pid"),
        Namespace(type="network", path="/run/netns/x"),
    )
    found = plan(linux={"namespaces": joined})
    assert found.parent_joins == ()
    assert [entry for entry in found.steps if isinstance(entry, namespaces.JoinNamespace)] == [
        ("pid", "/proc/999999999/ns/pid"),
        ("net", "/run/netns/x"),
    ]
    mapped = {"uid_mappings": MAPS, "gid_mappings": MAPS}
    with_user = plan(linux={"namespaces": (*joined[::2], Namespace(type="user")), **mapped})
    assert dict(with_user.parent_joins) == {"net": "/run/netns/x"}
    with pytest.raises(Unsupported, match="new user namespace"):
        plan(linux={"namespaces": (*joined, Namespace(type="user")), **mapped})


def test_what_comes_into_a_pid_namespace_of_others_executes_apart() -> None:
    joined = (Namespace(type="mount"), Namespace(type="pid", path="/proc/999999999/ns/pid"))
    last = plan(linux={"namespaces": joined}).steps[-1]
    assert isinstance(last, birth.ExecuteApart)
    assert (last.inside, last.init) == (True, False)
    executed = compile_exec(Process(cwd="/", args=("ls",)), state=state(spec())).steps[-1]
    assert isinstance(executed, birth.ExecuteApart)
    assert executed.inside
    own = (Namespace(type="mount"), Namespace(type="pid"))
    assert isinstance(plan(linux={"namespaces": own}).steps[-1], process.Execute)


MAPS = (IDMapping(container_id=0, host_id=1000, size=10), IDMapping(container_id=10, host_id=5000, size=1))


def test_id_maps_of_a_user_namespace() -> None:
    found = plan(
        linux={"namespaces": (*EVERYTHING, Namespace(type="user")), "uid_mappings": MAPS, "gid_mappings": MAPS}
    )
    assert found.uid_map == found.gid_map == "0 1000 10\n10 5000 1\n"
    assert found.namespaces & CLONE.NEWUSER
    assert order(found)[:2] == ["AwaitParent", "BecomeRoot"]
    assert [type(found.steps[index]).__name__ for index in found.prepared] == ["Overlay"]


@pytest.mark.parametrize(
    ("linux", "text"),
    [
        ({"namespaces": ()}, "needs a mount namespace"),
        ({"namespaces": (Namespace(type="mount"), Namespace(type="mount"))}, "'?mount'? namespace is given twice"),
        ({"namespaces": (Namespace(type="mount"), Namespace(type="planet"))}, "unknown namespace 'planet'"),  # type: ignore[arg-type]
        ({"namespaces": (Namespace(type="mount"), Namespace(type="pid", path="relative"))}, "'relative'"),
        ({"namespaces": (*EVERYTHING, Namespace(type="user"))}, "needs uidMappings"),
        ({"uid_mappings": MAPS}, "need a new user namespace"),
        ({"time_offsets": {"boottime": TimeOffset(secs=1)}}, "need a new time namespace"),
        (
            {"namespaces": (*EVERYTHING, Namespace(type="time")), "time_offsets": {"wall": TimeOffset(secs=1)}},
            "unknown clock 'wall'",
        ),
        ({"rootfs_propagation": "sideways"}, "'sideways'"),
        ({"cgroups_path": "/a/../../b"}, "cgroupsPath"),
        ({"cgroups_path": "../b"}, "cgroupsPath"),
        ({"cgroups_path": "//"}, "cgroupsPath"),
        ({"cgroups_path": "system.slice:docker:abc"}, "systemd's form"),
        ({"masked_paths": ("proc/kcore",)}, "'proc/kcore'"),
        ({"readonly_paths": ("/x\0y",)}, "NUL"),
        ({"devices": (Device(path="/dev/x", type="z"),)}, "unknown type 'z'"),
        ({"devices": (Device(path="dev/x", type="c"),)}, "'dev/x' must be absolute"),
        ({"devices": (Device(path="/dev/x", type="c", major=-1, minor=0),)}, "impossible number -1:0"),
        ({"personality": Personality(domain="BEOS")}, "'BEOS'"),
        ({"memory_policy": MemoryPolicy(mode="MPOL_WISH")}, "'MPOL_WISH'"),
        ({"memory_policy": MemoryPolicy(nodes="0")}, "no mode"),
        ({"namespaces": (Namespace(type="mount", path="/proc/self/ns/mnt"),)}, "is the host's"),
    ],
)
def test_impossible_parts_of_linux_are_refused(linux: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        plan(linux=linux)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hooks": Hooks(poststart=(Hook(path="/bin/true"),))}, "hooks"),
        ({"linux": {"namespaces": (Namespace(type="mount", path="/x"),)}}, "mounts would change the mounts of all"),
        ({"linux": {"mount_label": "system_u:object_r:container_file_t:s0"}}, "has no selinux"),
    ],
)
def test_what_we_do_not_do_is_said(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(Unsupported, match=text):
        plan(**changes)


# ------------------------------------------------------------------------------------------------------------ process


@pytest.mark.parametrize(
    ("process", "text"),
    [
        ({"args": ()}, "at least one argument"),
        ({"args": ("a\0b",)}, "NUL"),
        ({"cwd": "relative"}, "cwd must be an absolute path, not 'relative'"),
        ({"cwd": ""}, "absolute path"),
        ({"env": ("NOEQUALS",)}, "'NOEQUALS'"),
        ({"env": ("=x",)}, "'=x'"),
        ({"capabilities": Capabilities(bounding=("CAP_FLY",))}, "unknown capability 'CAP_FLY'"),
        ({"rlimits": (Rlimit(type="RLIMIT_FUN", soft=1, hard=1),)}, "unknown resource limit 'RLIMIT_FUN'"),
        ({"rlimits": (Rlimit(type="RLIMIT_CORE", soft=2, hard=1),)}, "soft limit 2 of RLIMIT_CORE is above"),
        ({"rlimits": (Rlimit(type="RLIMIT_CORE", soft=1, hard=1),) * 2}, "given twice"),
        ({"rlimits": (Rlimit(type="RLIMIT_CORE", soft=1, hard=2**63),)}, str(2**63)),
        ({"oom_score_adj": 1001}, "1001"),
        ({"user": User(uid=2**32 - 1)}, "out of range"),
        ({"io_priority": IOPriority(class_="IOPRIO_CLASS_BEST")}, "IOPRIO_CLASS_BEST"),
        ({"io_priority": IOPriority(class_="IOPRIO_CLASS_BE", priority=9)}, "9 is not between 0 and 7"),
        ({"scheduler": Scheduler(policy="SCHED_MAGIC")}, "SCHED_MAGIC"),
        ({"scheduler": Scheduler(policy="SCHED_OTHER", runtime=5)}, "SCHED_DEADLINE"),
    ],
)
def test_impossible_processes_are_refused(process: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        plan(process=process)


def test_a_specification_needs_a_root_and_a_process() -> None:
    for missing in ("root", "process"):
        with pytest.raises(InvalidInput, match=f"no {missing}"):
            compile_spec(msgspec.structs.replace(spec(), **{missing: None}), container_id="x")


def test_a_terminal_brings_term_unless_it_is_set() -> None:
    assert plan(process={"terminal": True}).environment == ("TERM=xterm",)
    assert plan(process={"terminal": True, "env": ("TERM=dumb",)}).environment == ("TERM=dumb",)
    assert plan().environment == ()


def test_unlimited_is_minus_one() -> None:
    found = step(plan(process={"rlimits": (Rlimit(type="RLIMIT_NOFILE", soft=5, hard=2**64 - 1),)}), process.Limits)
    assert found.limits == (("RLIMIT_NOFILE", 7, 5, -1),)


@pytest.mark.parametrize("name", ["org.wherry.init", "org.wherry.rlimits"])
def test_annotations_of_ours_are_checked(name: str) -> None:
    with pytest.raises(InvalidInput, match="perhaps"):
        plan(annotations={name: "perhaps"}, process={"rlimits": (Rlimit(type="RLIMIT_CORE", soft=1, hard=1),)})


# ------------------------------------------------------------------------------------------------------------- mounts


def test_the_root_is_the_overlay_of_the_first_mount() -> None:
    found = step(plan(), overlay.Overlay)
    assert found == ("/", "/run/rootfs", ("/l/1", "/l/2"), "/c/u", "/c/w", (), 0, False, "")


def test_lower_directories_may_stand_in_one_option() -> None:
    mount = Mount(destination="/", type="overlay", options=("lowerdir=/a\\:b:/c", "ro", "volatile"))
    found = step(plan(mounts=(mount,)), overlay.Overlay)
    assert found.lower == ("/a:b", "/c")
    assert found.options == (("volatile", None),)
    assert found.attributes == MOUNT_ATTR.RDONLY


def test_a_part_of_an_overlay_can_be_mounted_but_not_as_the_root() -> None:
    mount = Mount(destination="/x", type="overlay", options=("lowerdir=/a:/b", "org.wherry.selector=c/d"))
    found = [one for one in plan(mounts=(OVERLAY, mount)).steps if isinstance(one, overlay.Overlay)]
    assert found[-1].selector == "c/d"
    at_root = Mount(destination="/", type="overlay", options=("lowerdir=/a:/b", "org.wherry.selector=c"))
    with pytest.raises(InvalidInput, match="part of an overlay"):
        plan(mounts=(at_root,))


def test_without_a_mount_on_the_root_the_path_is_the_root() -> None:
    assert step(plan(mounts=()), rootfs.BindRoot) == ("/run/rootfs", "/run/rootfs", 0)


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        (Mount(destination="", type="tmpfs"), "no destination"),
        (Mount(destination="proc/self", type="tmpfs"), "inside /proc"),
        (Mount(destination="/x\0y", type="tmpfs"), "NUL"),
        (Mount(destination="/", type="tmpfs"), "first and the only"),
        (Mount(destination="/x"), "has no type"),
        (Mount(destination="/x", type="bind", source="relative"), "'relative'"),
        (Mount(destination="/x", type="bind", source="/y", options=("colour=blue",)), "unknown option 'colour'"),
        (Mount(destination="/x", type="bind", source="/y", options=("tmpcopyup",)), "unknown option 'tmpcopyup'"),
        (Mount(destination="/x", type="tmpfs", options=("remount",)), "'remount'"),
        (Mount(destination="/x", type="overlay", options=("lowerdir=/l", "remount")), "'remount'"),
        (Mount(destination="/x", type="tmpfs", options=("idmap",)), "only a bind can be id-mapped"),
        (Mount(destination="/x", type="proc", options=("tmpcopyup",)), "tmpcopyup is for tmpfs only"),
        (
            Mount(destination="/x", type="bind", source="/y", options=("idmap",)),
            "cannot be id-mapped without a mapping",
        ),
        (Mount(destination="/x", type="bind", source="/y", uid_mappings=MAPS), "uidMappings and gidMappings both"),
        (Mount(destination="/proc/self", type="tmpfs"), "inside /proc"),
        (Mount(destination="/proc/../proc/sys", type="bind", source="/tmp"), "inside /proc"),
        (Mount(destination="/proc", type="tmpfs"), "inside /proc"),
        (Mount(destination="/x", type="overlay", options=("upperdir=/u", "workdir=/w")), "at least one lowerdir"),
        (Mount(destination="/x", type="overlay", options=("lowerdir=/l", "upperdir=/u")), "both, or none"),
        (Mount(destination="/x", type="overlay", options=("lowerdir=l",)), "'l' must be an absolute path"),
    ],
)
def test_impossible_mounts_are_refused(mount: Mount, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        plan(mounts=(OVERLAY, mount))


def test_what_lxcfs_mounts_in_proc_is_allowed() -> None:
    found = plan(mounts=(OVERLAY, Mount(destination="/proc/meminfo", type="bind", source="/x", options=("bind",))))
    assert step(found, mounts.Bind).destination == "/proc/meminfo"


@pytest.mark.parametrize("text", ["//a/./b/../c/", "a/c", "../a/c", "///a/c"])
def test_destinations_are_made_simple_and_absolute(text: str) -> None:
    found = plan(mounts=(OVERLAY, Mount(destination=text, type="tmpfs")))
    assert step(found, mounts.FileSystem).destination == "/a/c"


def test_a_bundle_completes_the_paths_that_may_be_relative_to_it() -> None:
    binds = (
        Mount(destination="/x", type="bind", source="data"),
        Mount(destination="/y", source="/absolute", options=("rbind",)),
        Mount(destination="/z", type="tmpfs", source="tmpfs"),
    )
    found = compile_spec(spec(root=Root(path="rootfs"), mounts=binds), container_id="abc", bundle="/b")
    assert step(found, rootfs.BindRoot) == ("/b/rootfs", "/b/rootfs", 0)
    assert [one.source for one in found.steps if isinstance(one, mounts.Bind)] == ["/b/data", "/absolute"]
    assert step(found, mounts.FileSystem).source == "tmpfs"
    with pytest.raises(InvalidInput, match="'b'"):
        compile_spec(spec(), container_id="abc", bundle="b")


def test_a_bind_may_say_remount_as_mount_8_wants_it() -> None:
    mount = Mount(destination="/x", type="bind", source="/y", options=("bind", "remount", "ro"))
    assert step(plan(mounts=(OVERLAY, mount)), mounts.Bind).set == MOUNT_ATTR.RDONLY


def test_a_mount_label_is_an_option_of_new_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.runtime.compile.spec.has_selinux", lambda: True)
    new = (Mount(destination="/proc", type="proc"), Mount(destination="/x", type="tmpfs", options=("size=1m",)))
    found = plan(mounts=(OVERLAY, *new), linux={"mount_label": "a:b:c:s0,c1"})
    options = {one.kind: one.options for one in found.steps if isinstance(one, mounts.FileSystem)}
    assert options == {"proc": (), "tmpfs": (("size", "1m"), ("context", "a:b:c:s0,c1"))}


def test_a_relative_cgroup_path_counts_from_our_own() -> None:
    assert plan(linux={"cgroups_path": "some/group"}).cgroup == "/wherry/some/group"
    assert plan().cgroup == "/wherry/abc"


def test_network_devices_go_to_the_containers_namespace_under_another_name() -> None:
    devices = {"eth1": NetDevice(name="data"), "eth2": NetDevice(), "eth3": NetDevice(name="port%d")}
    found = plan(linux={"net_devices": devices})
    assert found.net_devices == ("", (("eth1", "data"), ("eth2", "eth2"), ("eth3", "port%d")))
    joined = (Namespace(type="mount"), Namespace(type="network", path="/run/netns/x"))
    assert plan(linux={"net_devices": devices, "namespaces": joined}).net_devices == (
        "/run/netns/x",
        found.net_devices[1],
    )
    assert Plan.decode(found.encode()) == found


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        ({"": NetDevice()}, "''"),
        ({"..": NetDevice()}, "'..'"),
        ({"a/b": NetDevice()}, "'a/b'"),
        ({"a b": NetDevice()}, "'a b'"),
        ({"x" * 16: NetDevice()}, "x" * 16),
        ({"\xe4" * 8: NetDevice()}, "no name"),
        ({"eth%d": NetDevice()}, "'eth%d'"),
        ({"eth0": NetDevice(name="%d%d")}, "'%d%d'"),
        ({"eth0": NetDevice(name="a%s")}, "'a%s'"),
        ({"a": NetDevice(name="x"), "b": NetDevice(name="x")}, "two of netDevices are to be called 'x'"),
    ],
)
def test_impossible_network_devices_are_refused(devices: dict[str, NetDevice], text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(text)):
        plan(linux={"net_devices": devices})


def test_network_devices_need_a_namespace() -> None:
    for names in ((Namespace(type="mount"),), (Namespace(type="mount"), Namespace(type="network", path=HOSTS_NET))):
        with pytest.raises(InvalidInput, match="not the host's"):
            plan(linux={"net_devices": {"eth0": NetDevice()}, "namespaces": names})


HOSTS_NET = "/proc/self/ns/net"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (IntelRdt(), ("abc", False, (), 0, "")),
        (IntelRdt(clos_id="gold"), ("gold", True, (), 0, "")),
        (
            IntelRdt(
                clos_id="gold",
                l3_cache_schema="L3:0=7f0;1=1f\nMB:0=1",
                mem_bw_schema="MB:0=20",
                schemata=("L2:0=f",),
                enable_monitoring=True,
            ),
            ("gold", True, ("L3:0=7f0;1=1f", "MB:0=20", "L2:0=f"), 2, "abc"),
        ),
    ],
)
def test_a_class_of_service_is_the_containers_own_or_named(wanted: IntelRdt, expected: tuple[Any, ...]) -> None:
    found = plan(linux={"intel_rdt": wanted})
    assert found.intel_rdt == expected
    assert Plan.decode(found.encode()) == found
    executed = compile_exec(Process(cwd="/", args=("ls",)), state=state(spec(linux={"intel_rdt": wanted})))
    assert executed.intel_rdt == expected


@pytest.mark.parametrize(
    "wanted",
    [
        IntelRdt(clos_id="../x"),
        IntelRdt(clos_id="info"),
        IntelRdt(clos_id="."),
        IntelRdt(mem_bw_schema="L3:0=1"),
        IntelRdt(schemata=("L3:0=1\nMB:0=1",)),
        IntelRdt(schemata=("",)),
    ],
)
def test_impossible_classes_of_service_are_refused(wanted: IntelRdt) -> None:
    with pytest.raises(InvalidInput):
        plan(linux={"intel_rdt": wanted})


def notifying(*names: str, **changes: Any) -> Seccomp:
    rule = SeccompSyscall(names=names or ("mkdir",), action="SCMP_ACT_NOTIFY")
    fields = {"default_action": "SCMP_ACT_ALLOW", "syscalls": (rule,), "listener_path": "/run/agent", **changes}
    return Seccomp(**fields)


def test_a_filter_that_notifies_has_a_listener_that_the_parent_hands_on() -> None:
    seccomp = notifying(listener_metadata="data", flags=("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",))
    found = plan(annotations={"a": "b"}, linux={"seccomp": seccomp})
    root = {"ociVersion": VERSION, "id": "abc", "bundle": "/run/rootfs", "annotations": {"a": "b"}}
    message = {"ociVersion": VERSION, "fds": ["seccompFd"], "metadata": "data"}
    assert found.listener == ("/run/agent", {**message, "state": {**root, "status": "creating"}})
    last = found.steps[-1]
    assert isinstance(last, birth.ExecuteApart)
    assert (last.listens, last.inside, last.filter_last) == (True, False, False)
    assert last.filter_flags == SECCOMP_FILTER_FLAG.NEW_LISTENER | SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV
    assert Plan.decode(found.encode()) == found
    first = spec(annotations={"a": "b"}, linux={"seccomp": seccomp})
    executed = compile_exec(Process(cwd="/", args=("ls",)), state=state(first)._replace(bundle="/b"))
    running = {**root, "status": "running", "pid": os.getpid(), "bundle": "/b"}
    assert executed.listener == ("/run/agent", {**message, "state": running})


def test_a_listener_of_a_filter_that_does_not_notify_is_ignored() -> None:
    found = plan(linux={"seccomp": Seccomp(default_action="SCMP_ACT_ALLOW", listener_path="/run/agent")})
    assert found.listener is None
    assert isinstance(found.steps[-1], process.Execute)


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (notifying(listener_path=""), "needs a listenerPath"),
        (notifying(listener_path="agent"), "'agent' must be absolute"),
        (notifying(listener_path="/" + "x" * 107), "at most 107 bytes"),
        (notifying(default_action="SCMP_ACT_NOTIFY"), "cannot be the default action"),
        (notifying("sendmsg"), "must allow sendmsg"),
        (Seccomp(default_action="SCMP_ACT_ALLOW", listener_metadata="x"), "needs a listenerPath"),
        (notifying(flags=("SECCOMP_FILTER_FLAG_NEW_LISTENER",)), "unknown seccomp flag"),
    ],
)
def test_impossible_listeners_are_refused(profile: Seccomp, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(text)):
        plan(linux={"seccomp": profile})


@pytest.mark.parametrize("name", ["clone", "execve", "setsid"])
def test_an_exec_whose_birth_would_wait_for_the_listener_is_refused(name: str) -> None:
    first = spec(linux={"seccomp": notifying(name)})
    assert compile_spec(first, container_id="x").listener is not None
    with pytest.raises(Unsupported, match="notifies of its birth"):
        compile_exec(Process(cwd="/", args=("ls",)), state=state(first))


def test_flags_that_mean_nothing_to_one_thread_are_left_out() -> None:
    flags = ("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
    found = plan(linux={"seccomp": Seccomp(default_action="SCMP_ACT_ALLOW", flags=flags)})
    assert step(found, process.LoadFilter).flags == SECCOMP_FILTER_FLAG.LOG


def test_in_a_joined_mount_namespace_no_program_is_run_as_a_hook() -> None:
    def compiled(kind: str) -> Plan:
        hooks = Hooks(**{kind: (Hook(path="/bin/hook"),)})
        joined = {"namespaces": (Namespace(type="mount", path="/x/mnt"),)}
        return compile_spec(spec(mounts=(), linux=joined, hooks=hooks), container_id="abc", manner=Manner(state=b"{}"))

    assert "AwaitHooks" in order(compiled("create_runtime"))
    with pytest.raises(Unsupported, match="createContainer hooks"):
        compiled("create_container")


def test_in_a_joined_mount_namespace_nothing_is_mounted() -> None:
    joined = (Namespace(type="mount", path="/x/mnt"), Namespace(type="network", path="/x/net"), Namespace(type="pid"))
    found = plan(mounts=(), linux={"namespaces": joined}, root=Root(path="/there"))
    names = order(found)
    assert names[:6] == ["JoinNamespace", "AwaitParent", "EnterCgroup", "JoinNamespace", "EnterRoot", "ResolveUser"]
    assert step(found, rootfs.EnterRoot).path == "/there"
    assert not {"SeparateHost", "PivotRoot", "Devices", "BindRoot"} & set(names)
    assert not found.namespaces & CLONE.NEWNS
    mapped = {"uid_mappings": MAPS, "gid_mappings": MAPS}
    with pytest.raises(Unsupported, match="a mount namespace cannot be joined"):
        plan(mounts=(), linux={"namespaces": (*joined, Namespace(type="user")), **mapped})


# ------------------------------------------------------------------------------------------------------------- sysctl


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.ip_forward", "1"),
        ("kernel.shmmax", "5"),
        ("fs.mqueue.msg_max", "10"),
        ("net/ipv4/conf/eth0.100/forwarding", "1"),
    ],
)
def test_sysctls_of_the_containers_namespaces_are_set(name: str, value: str) -> None:
    found = step(plan(linux={"sysctl": {name: value}}), sysctl.Sysctl)
    expected = name if "/" in name else name.replace(".", "/")
    assert found.settings == ((expected, value),)


@pytest.mark.parametrize(
    "name", ["kernel.core_pattern", "vm.swappiness", "kernel.hostname", "../x", "net..x", "", "net/../kernel/panic"]
)
def test_sysctls_of_the_machine_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="sysctl"):
        plan(linux={"sysctl": {name: "1"}})


@pytest.mark.parametrize(
    ("name", "kind"), [("net.core.somaxconn", "network"), ("kernel.sem", "ipc"), ("kernel.domainname", "uts")]
)
def test_sysctls_need_a_namespace_that_is_not_the_hosts(name: str, kind: str) -> None:
    without = tuple(one for one in EVERYTHING if one.type != kind)
    hosts = Namespace(type=kind, path=f"/proc/self/ns/{'net' if kind == 'network' else kind}")  # type: ignore[arg-type]
    for names in (without, (*without, hosts)):
        with pytest.raises(InvalidInput, match="shares the host's"):
            plan(linux={"sysctl": {name: "1"}, "namespaces": names})


def test_names_need_a_uts_namespace_and_have_a_longest() -> None:
    without = tuple(one for one in EVERYTHING if one.type != "uts")
    with pytest.raises(InvalidInput, match="without a UTS namespace"):
        plan(hostname="h", linux={"namespaces": without})
    with pytest.raises(InvalidInput, match="64 bytes"):
        plan(hostname="h" * 65)


# ---------------------------------------------------------------------------------------------------------- resources


def test_default_devices_are_allowed_after_the_specifications_rules() -> None:
    deny = DeviceCgroup(allow=False, access="rwm")
    rules = (plan(linux={"resources": Resources(devices=(deny,))}).resources or {})["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules
    everything = DeviceCgroup(allow=True, access="rwm")
    assert len((plan(linux={"resources": Resources(devices=(deny, everything))}).resources or {})["devices"]) == 2


def test_impossible_resources_are_refused_before_anything_is_done() -> None:
    with pytest.raises(InvalidInput, match="weight 5"):
        plan(linux={"resources": Resources(block_io=BlockIO(weight=5))})


def test_masked_paths_are_verified_to_be_on_procfs_unless_something_is_mounted_over_them() -> None:
    proc = Mount(destination="/proc", type="proc")
    lxcfs = Mount(destination="/proc/stat", type="bind", source="/x", options=("bind",))
    found = plan(mounts=(OVERLAY, proc, lxcfs), linux={"masked_paths": ("/proc/kcore", "/proc/stat", "/sys/firmware")})
    assert step(found, masks.MaskPaths).paths == (
        ("/proc/kcore", True),
        ("/proc/stat", False),
        ("/sys/firmware", False),
    )


# ---------------------------------------------------------------------------------------------------------------- exec


def state(first: Spec) -> ContainerState:
    return ContainerState("abc", os.getpid(), 5, first)


def test_an_exec_joins_and_makes_nothing() -> None:
    found = compile_exec(Process(cwd="/", args=("ls",)), state=state(spec(linux={"cgroups_path": "/own/group"})))
    assert (found.cgroup, found.resources, found.namespaces) == ("/own/group", None, 0)
    assert found.container == (os.getpid(), 5)
    assert order(found)[:4] == ["AwaitParent", "EnterCgroup", "JoinContainer", "ResolveUser"]
    assert "PivotRoot" not in order(found)


def test_an_exec_has_the_containers_rights_unless_it_says_otherwise() -> None:
    held = Capabilities(bounding=("CAP_CHOWN",), effective=("CAP_CHOWN",), permitted=("CAP_CHOWN",))
    first = spec(process={"capabilities": held, "no_new_privileges": True, "oom_score_adj": 7})
    plain = compile_exec(Process(cwd="/", args=("ls",)), state=state(first))
    assert step(plain, process.SwitchUser).bounding == 1
    assert plain.oom_score_adj == 7
    assert step(plain, birth.ExecuteApart).no_new_privileges
    own = compile_exec(Process(cwd="/", args=("ls",), capabilities=Capabilities()), state=state(first))
    assert step(own, process.SwitchUser).bounding == 0


def test_processors_are_for_execs_and_the_execs_own_come_first() -> None:
    first = spec(process={"exec_cpu_affinity": CPUAffinity(initial="0", final="0-1")})
    assert compile_spec(first, container_id="x").cpus == ()
    assert "Affinity" not in order(compile_spec(first, container_id="x"))
    plain = compile_exec(Process(cwd="/", args=("ls",)), state=state(first))
    assert (plain.cpus, step(plain, process.Affinity).cpus) == ((0,), (0, 1))
    own = Process(cwd="/", args=("ls",), exec_cpu_affinity=CPUAffinity(initial="1"))
    found = compile_exec(own, state=state(first))
    assert (found.cpus, "Affinity" in order(found)) == ((1,), False)


def test_an_exec_is_checked_like_a_container() -> None:
    with pytest.raises(InvalidInput, match="absolute"):
        compile_exec(Process(cwd="x", args=("ls",)), state=state(spec()))
    with pytest.raises(InvalidInput, match="process ID"):
        compile_exec(Process(cwd="/", args=("ls",)), state=state(spec())._replace(pid=0))


def test_steps_of_two_kinds_with_equal_fields_stay_what_they_are() -> None:
    plan = Plan(steps=(namespaces.HostName("same"), namespaces.DomainName("same"), namespaces.HostName("same")))
    assert [type(step) for step in Plan.decode(plan.encode()).steps] == list(map(type, plan.steps))


def test_security_md_names_the_default_devices() -> None:
    text = (Path(__file__).parents[3] / "SECURITY.md").read_text()
    named = re.search(r"\| devices \| `([a-z ]+)`, ptys", text)
    assert named
    numbers = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
    deny = DeviceCgroup(allow=False, access="rwm")
    rules = (plan(linux={"resources": Resources(devices=(deny,))}).resources or {})["devices"]
    opened = {(rule["major"], rule["minor"]) for rule in rules if rule["allow"] and rule["access"] != "m"}
    assert opened == {numbers[name] for name in named[1].split()} | {(5, 2), (136, -1)}, "and ptmx, pts"
