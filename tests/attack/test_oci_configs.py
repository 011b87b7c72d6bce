"""``config.json`` of somebody who means harm, or has made every mistake there is: a plan, or an error that says why."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from wherry.errors import WherryError
from wherry.oci.runtime_spec import decode, encode
from wherry.ociruntime.verbs.spec import template
from wherry.runtime.compile.hooks import hook_values
from wherry.runtime.compile.manner import Manner
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.plan import Plan

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
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        [
            "",
            "/",
            "..",
            "../..",
            "/\0",
            "a" * 5000,
            "\ud800",
            "rbind",
            "0-99999999",
            "%s",
            "lowerdir=/:/",
            "/proc/self/fd/3",
        ]
    ),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


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


def compiled(text: str | bytes) -> Plan:
    """What the command does before it touches anything."""
    spec = decode(text)
    encode(spec)
    for hooks in (spec.hooks.start_container, spec.hooks.poststop) if spec.hooks else ():
        list(hook_values("poststop", hooks))
    return compile_spec(spec, container_id="c", bundle="/bundle", manner=Manner(waits=True, apart=True, state=b"{}"))


def test_the_specification_that_is_spoilt_is_a_good_one() -> None:
    plan = compiled(json.dumps(whole()))
    assert Plan.decode(plan.encode()) == plan


@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
@example([(("mounts",), [{"destination": f"/m{number}", "type": "tmpfs"} for number in range(10000)])])
@example([(("linux", "namespaces", 0, "path"), "/proc/1/ns/pid\0")])
@example([(("process", "args"), [])])
@example([(("process", "args"), [""])])
@example([(("hooks", "prestart", 0, "timeout"), 2**62)])
def test_any_value_in_any_place_is_a_plan_or_an_error_of_ours(spoilt: list[tuple[tuple[Any, ...], Any]]) -> None:
    spec = json.loads(json.dumps(whole()))
    for (*above, last), value in spoilt:
        target: Any = spec
        try:
            for key in above:
                target = target[key]
            target[last] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier one has taken the place away
    with suppress(WherryError):
        compiled(json.dumps(spec)).encode()


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"\xff\xfe")
def test_any_bytes_are_an_error_of_ours(data: bytes) -> None:
    with suppress(WherryError):
        compiled(data)
