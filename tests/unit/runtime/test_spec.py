"""The runtime specification's types: what is read is what is written, and it holds to the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import needs
from support.needs import need
from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import Process, Spec, decode, encode

FULL: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "/run/rootfs", "readonly": True},
    "hostname": "h",
    "domainname": "d",
    "annotations": {"a": "b"},
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "cwd": "/",
        "args": ["sh"],
        "env": ["A=b"],
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3], "username": "ann"},
        "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}],
        "noNewPrivileges": True,
        "apparmorProfile": "p",
        "selinuxLabel": "l",
        "oomScoreAdj": -5,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    },
    "mounts": [
        {
            "destination": "/x",
            "type": "bind",
            "source": "/y",
            "options": ["rbind"],
            "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
            "gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        }
    ],
    "hooks": {"poststart": [{"path": "/bin/true", "args": ["true"], "timeout": 5}]},
    "linux": {
        "namespaces": [{"type": "mount"}, {"type": "network", "path": "/run/netns/x"}],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 5}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 5}],
        "timeOffsets": {"boottime": {"secs": 5, "nanosecs": 6}},
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 1, "gid": 2}],
        "netDevices": {"eth0": {"name": "e"}},
        "cgroupsPath": "/a/b",
        "resources": {
            "unified": {"memory.high": "1"},
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3}],
            "memory": {"limit": 1, "swap": -1, "kernelTCP": 2, "disableOOMKiller": True, "useHierarchy": True},
            "cpu": {"shares": 2, "quota": -1, "period": 3, "cpus": "0-1", "mems": "0", "idle": 1, "burst": 0},
            "pids": {"limit": 5},
            "blockIO": {
                "weight": 10,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 5, "leafWeight": 6}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 5}]},
            "rdma": {"mlx": {"hcaHandles": 3}},
        },
        "intelRdt": {"closID": "c", "l3CacheSchema": "L3:0=f", "enableMonitoring": True},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ALLOW",
                    "errnoRet": 2,
                    "args": [{"index": 0, "value": 2**63, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        },
        "rootfsPropagation": "slave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "m",
        "personality": {"domain": "LINUX32"},
    },
}


def test_what_is_read_is_written_again_complete() -> None:
    assert json.loads(encode(decode(json.dumps(FULL)))) == FULL


def test_the_version_is_written_always() -> None:
    assert json.loads(encode(Spec(process=Process(cwd="/")))) == {
        "ociVersion": "1.3.0",
        "process": {"cwd": "/", "user": {}},
    }


def test_unknown_properties_are_ignored_as_the_specification_asks() -> None:
    assert decode('{"ociVersion": "1.0.0", "process": {"cwd": "/", "novelty": 1}, "vm": {}}').process == Process(
        cwd="/"
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "truncated"),
        ('{"process": {"cwd": 5}}', r"\$\.process\.cwd"),
        ('{"linux": {"namespaces": [{"type": "planet"}]}}', r"planet"),
        ('{"mounts": [{}]}', "destination"),
    ],
)
def test_a_wrong_type_is_told_with_its_place(text: str, where: str) -> None:
    with pytest.raises(InvalidInput, match=where):
        decode(text)


@need("shared")
def test_everything_holds_to_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    folder = needs.shared() / "specs/oci-runtime"

    def retrieve(uri: str) -> Any:
        path = folder / Path(uri).name
        content = json.loads(path.read_text()) if path.exists() else {}
        return referencing.Resource.from_contents(content, default_specification=referencing.jsonschema.DRAFT4)

    schema = json.loads((folder / "config-schema.json").read_text())
    registry = referencing.Registry(retrieve=retrieve)
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    assert [error.message for error in validator.iter_errors(json.loads(encode(decode(json.dumps(FULL)))))] == []
