"""A specification in which each value in turn is wrong: it is refused with a sentence, and nothing else happens."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import quiet
from wherry.errors import InvalidInput, Unsupported
from wherry.oci import runtime_spec
from wherry.oci.runtime_spec import Process
from wherry.runtime.cgroups.resources import Resources
from wherry.runtime.cgroups.scope_properties import annotated, limiting
from wherry.runtime.compile.exec import ContainerState, compile_exec
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.plan import Plan

#: Each part of the specification 1.3 for Linux, once.
WHOLE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "hostname": "h",
    "domainname": "d",
    "root": {"path": "rootfs", "readonly": True},
    "annotations": {"a": "b", "org.wherry.groups": "x,y", "org.systemd.property.CollectMode": "'inactive'"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "rro"]},
        {"destination": "tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "tmpcopyup", "mode=755"]},
        {
            "destination": "/b", "type": "bind", "source": "data", "options": ["rbind", "idmap", "rslave"],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        },
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ],
    "process": {
        "cwd": "/w",
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin"],
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
        "capabilities": {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted", "inheritable")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        "noNewPrivileges": True,
        "apparmorProfile": "a",
        "selinuxLabel": "s",
        "oomScoreAdj": 5,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "priority": 0, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
        "execCPUAffinity": {"initial": "0-1", "final": "0"},
    },
    "linux": {
        "namespaces": [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network", "cgroup", "time")],
        "timeOffsets": {"boottime": {"secs": 5, "nanosecs": 7}},
        "devices": [
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0},
        ],
        "netDevices": {"wherry0": {"name": "eth%d"}},
        "cgroupsPath": "a/b",
        "resources": {
            "unified": {"memory.high": "1"},
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3}],
            "memory": {"limit": 1 << 26, "reservation": 1 << 25, "swap": 1 << 27, "swappiness": 5},
            "cpu": {"shares": 5, "quota": 50000, "period": 100000, "burst": 1, "cpus": "0", "mems": "0", "idle": 0},
            "pids": {"limit": 10},
            "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 5}],
            "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 2}]},
            "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}},
        },
        "intelRdt": {
            "closID": "c", "schemata": ["L2:0=f"], "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20",
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent",
            "listenerMetadata": "m",
            "syscalls": [
                {
                    "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY",
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}],
                },
                {"names": ["chown"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            ],
        },
        "rootfsPropagation": "slave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "personality": {"domain": "LINUX", "flags": []},
    },
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**32, 2**63, 2**64, 10**30, 1.5, "", "\0", "..", "/", "a\nb", "\ud800", "x" * 70_000,
    "0-65535", "0-99999999999999999999", [], [None], {}, {"x": None},
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value, however deep."""
    if at:
        yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list):
        for number in range(len(value)):
            yield from places(value[number], (*at, number))


def changed(at: tuple[Any, ...], odd: Any) -> dict[str, Any]:
    """The specification with another value there."""
    found = copy.deepcopy(WHOLE)
    inner: Any = found
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = odd
    return found


def used(document: dict[str, Any]) -> None:
    """Do all with a specification that is done before anything is made."""
    spec = runtime_spec.decode(json.dumps(document).encode("utf-8", "surrogatepass"))
    plan = compile_spec(spec, container_id="abc", bundle="/bundle")
    assert Plan.decode(plan.encode()) == plan
    assert all(plan.describe())
    if spec.linux is not None and spec.linux.resources is not None:
        limiting(Resources.from_oci(plan.resources), 1)
        limiting(Resources.from_oci(plan.resources), 2)
    annotated(spec.annotations)
    state = ContainerState("abc", 1, 1, spec)
    compile_exec(spec.process or Process(cwd="/"), state=state)


def test_the_whole_specification_is_taken() -> None:
    used(WHOLE)


PARTS = ["annotations", "mounts"]
PARTS += [f"linux.{key}" for key in ("namespaces", "netDevices", "intelRdt", "seccomp", "timeOffsets", "memoryPolicy")]
"""Those that tests of the command do not have."""


@pytest.mark.parametrize("part", PARTS)
def test_a_value_that_is_wrong_is_refused_in_words(part: str) -> None:
    prefix = tuple(part.split("."))
    for at in places(WHOLE):
        if at[: len(prefix)] != prefix:
            continue
        for odd in ODD:
            begun = time.monotonic()
            try:
                used(changed(at, odd))
            except (InvalidInput, Unsupported):
                pass
            except Exception as error:
                pytest.fail(f"{at} = {odd!r:.60}: {type(error).__name__}: {error}")
            assert time.monotonic() - begun < quiet.patience(5), (at, odd)
