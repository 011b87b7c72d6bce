"""A specification with something in each place, to be spoilt."""

from __future__ import annotations

import copy
import json
from typing import Any

from wherry.ociruntime.verbs.spec import template

HOOK = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}
MORE: dict[str, Any] = {
    "hooks": {kind: [HOOK] for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststop")},
    "annotations": {"org.wherry.init": "false", "x": "y"},
    "domainname": "example",
}
MORE_PROCESS: dict[str, Any] = {
    "terminal": True,
    "consoleSize": {"height": 25, "width": 80},
    "scheduler": {"policy": "SCHED_OTHER", "nice": 5, "flags": []},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "execCPUAffinity": {"initial": "0", "final": "0"},
    "oomScoreAdj": 100,
    "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
}
MORE_LINUX: dict[str, Any] = {
    "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "resources": {
        "memory": {"limit": 1 << 30, "swap": 1 << 30, "swappiness": 10},
        "cpu": {"shares": 10, "quota": 10000, "period": 100000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 10},
        "blockIO": {"weight": 100, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
        "rdma": {"a": {"hcaHandles": 1, "hcaObjects": 1}},
        "unified": {"memory.high": "1"},
        "devices": [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
    },
    "seccomp": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
        ],
    },
    "rootfsPropagation": "private",
    "personality": {"domain": "LINUX"},
    "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": []},
}


def whole() -> dict[str, Any]:
    """A specification with something in each place."""
    spec = template(rootless=False)
    spec["process"] |= MORE_PROCESS
    spec["linux"] |= MORE_LINUX
    return {**spec, **copy.deepcopy(MORE)}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


PLACES = places(json.loads(json.dumps(whole())))[1:]
