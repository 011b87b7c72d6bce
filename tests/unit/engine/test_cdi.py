"""Devices by name: specifications as vendors write them, names as callers say them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.docker.container_requests import Device, DeviceRequest, HostConfig
from wherry.engine.cdi.names import is_qualified
from wherry.engine.cdi.registry import load
from wherry.engine.cdi.requests import OF_A_BUILD, names_of
from wherry.engine.spec.devices import HostDevices, gather
from wherry.errors import InvalidInput, SystemFault, WherryError

GPU = """
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
annotations: null
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - {path: /dev/gpu0, hostPath: /dev/null}
- name: "1"
  containerEdits:
    deviceNodes:
    - {path: /dev/gpu1, hostPath: /dev/zero, permissions: r, fileMode: 438, uid: 5}
- name: all
  containerEdits:
    env: [WHICH=all]
containerEdits:
  env: [VISIBLE=void, WHICH=common]
  mounts:
  - {hostPath: /opt/driver, containerPath: /usr/lib/driver, options: [ro, nosuid, nodev, rbind, rprivate]}
  additionalGids: [44, 0]
"""


def spec(kind: str = "vendor.com/class", name: str = "one", version: str = "1.0.0", **edits: Any) -> str:
    device = {"name": name, "containerEdits": edits or {"env": ["A=b"]}}
    return json.dumps({"cdiVersion": version, "kind": kind, "devices": [device]})


def by_name(*names: str) -> HostConfig:
    return HostConfig(device_requests=[DeviceRequest(driver="cdi", device_ids=list(names))])


def gathered(directory: Path, host: HostConfig) -> HostDevices:
    return gather(host, [str(directory)])


@pytest.fixture
def gpus(tmp_path: Path) -> Path:
    (tmp_path / "nvidia.yaml").write_text(GPU)
    (tmp_path / "nvidia.yml").write_text("not looked at")
    return tmp_path


# --- what a container gets --------------------------------------------------------------------------


def test_devices_bring_nodes_rules_variables_mounts_and_groups(gpus: Path) -> None:
    found = gathered(gpus, by_name("nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=0"))
    assert [(node.path, node.type, node.major, node.minor, node.uid) for node in found.nodes] == [
        ("/dev/gpu0", "c", 1, 3, 0),
        ("/dev/gpu1", "c", 1, 5, 5),
    ]
    assert [(rule.minor, rule.access) for rule in found.rules] == [(3, "rwm"), (5, "r")]
    assert found.env == ("VISIBLE=void", "WHICH=common"), "what is for all of them comes once"
    assert [(mount.source, mount.destination) for mount in found.mounts] == [("/opt/driver", "/usr/lib/driver")]
    assert found.groups == (44,)


def test_a_device_takes_the_place_of_another_at_its_path(gpus: Path) -> None:
    host = HostConfig(
        devices=[Device("/dev/full", "/dev/gpu0")],
        device_requests=[DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=0"])],
    )
    assert [(node.path, node.minor) for node in gathered(gpus, host).nodes] == [("/dev/gpu0", 3)]


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (DeviceRequest(count=-1, capabilities=[["gpu"]]), ["nvidia.com/gpu=all"]),
        (DeviceRequest(driver="nvidia", count=2, capabilities=[["gpu"]]), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (DeviceRequest(device_ids=["1", "nvidia.com/gpu=0"], capabilities=[["gpu", "utility"]]),
         ["nvidia.com/gpu=1", "nvidia.com/gpu=0"]),
        (DeviceRequest(driver=OF_A_BUILD, device_ids=["nvidia.com/gpu", "other.com/x?", "nvidia.com/gpu=1"]),
         ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (DeviceRequest(driver=OF_A_BUILD, device_ids=["nvidia.com/gpu=*"]),
         ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=all"]),
    ],
)  # fmt: skip
def test_gpus_and_devices_of_builds_become_names(gpus: Path, request_: DeviceRequest, names: list[str]) -> None:
    assert names_of([request_], load([str(gpus)])) == names


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (DeviceRequest(driver="cdi", count=1), "unexpected count in CDI device request"),
        (DeviceRequest(driver="cdi", options={"a": "b"}), "unexpected options in CDI device request"),
        (DeviceRequest(count=-1, capabilities=[["tpu"]]), 'select device driver "" with capabilities: [[tpu]]'),
        (DeviceRequest(driver="amd", capabilities=[["gpu"]]), 'select device driver "amd" with capabilities: [[gpu]]'),
        (DeviceRequest(count=1 << 40, capabilities=[["gpu"]]), f"there are no {1 << 40} devices"),
        (DeviceRequest(driver=OF_A_BUILD, device_ids=["a.b/c"]), 'required device "a.b/c" is not registered'),
        (DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=7"]),
         "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=7"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_in_dockers_words(gpus: Path, request_: DeviceRequest, sentence: str) -> None:
    with pytest.raises(WherryError) as caught:
        gathered(gpus, HostConfig(device_requests=[request_]))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["../etc/passwd", "/dev/sda", "vendor.com/../x=y", "vendor.com/class=../x", "a/b=c\n", "a/b=", "", "a/b=c=d",
     "vendor.com/class=" + "x" * 100_000, "a/b/c=d", "-a/b=c", "a/b=-c", "ä/b=c"],
)  # fmt: skip
def test_names_of_callers_are_names_and_no_paths(gpus: Path, name: str) -> None:
    assert not is_qualified(name) or len(name) > 1000
    with pytest.raises(SystemFault, match="unresolvable") as caught:
        gathered(gpus, by_name(name))
    assert len(str(caught.value)) < 1000


def test_hooks_interfaces_and_shares_come_along(tmp_path: Path) -> None:
    hook = {"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "a"], "env": ["X=y"]}
    edits = {
        "hooks": [hook, {**hook, "timeout": 7}],
        "netDevices": [{"hostInterfaceName": "eth9", "name": "eth1"}],
        "intelRdt": {"closID": "x", "schemata": ["L3:0=f"], "enableMonitoring": True},
    }
    (tmp_path / "one.json").write_text(spec(**edits))
    found = gathered(tmp_path, by_name("vendor.com/class=one"))
    assert found.hooks is not None
    assert [(one.path, one.args, one.env, one.timeout) for one in found.hooks.create_container] == [
        ("/bin/hook", ("hook", "a"), ("X=y",), 120), ("/bin/hook", ("hook", "a"), ("X=y",), 7),
    ]  # fmt: skip
    assert [(name, device.name) for name, device in found.net_devices] == [("eth9", "eth1")]
    shares = found.intel_rdt
    assert shares is not None
    assert (shares.clos_id, shares.schemata, shares.enable_monitoring) == ("x", ("L3:0=f",), True)


def test_hooks_are_kept_by_the_points_at_which_they_are_run(tmp_path: Path) -> None:
    kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    (tmp_path / "one.json").write_text(spec(hooks=[{"hookName": kind, "path": f"/bin/{kind}"} for kind in kinds]))
    found = gathered(tmp_path, by_name("vendor.com/class=one")).hooks
    assert {kind: [one["path"] for one in some] for kind, some in msgspec.to_builtins(found).items() if some} == {
        kind: [f"/bin/{kind}"] for kind in kinds
    }


# --- the files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", "{", "it is not JSON"),
        ("a.yaml", "a: [", "it is not YAML"),
        ("a.yaml", "&a [*a, *a]", "nested too deep"),
        ("a.json", "[]", "Expected `object`"),
        ("a.json", spec(version="9.0.0"), 'unknown version "9.0.0"'),
        ("a.json", spec(kind="no-slash"), 'invalid kind "no-slash"'),
        ("a.json", spec(name="../x"), 'invalid device name "../x"'),
        ("a.json", spec(env=["novalue"]), 'invalid environment variable "novalue"'),
        ("a.json", spec(deviceNodes=[{"path": "dev/x"}]), 'invalid path "dev/x"'),
        ("a.json", spec(deviceNodes=[{"path": "/dev/x", "type": "q"}]), 'invalid type "q"'),
        ("a.json", spec(mounts=[{"hostPath": "/x", "containerPath": "/"}]), "a mount on / is none of a device"),
        ("a.json", spec(hooks=[{"hookName": "never", "path": "/x"}]), 'unknown hook "never"'),
        ("a.json", spec(hooks=[{"hookName": "poststop", "path": "x"}]), 'invalid path "x": it must be absolute'),
        ("a.json", '{"cdiVersion": "1.0.0", "kind": "a/b", "devices": []}', "it has no devices"),
    ],
)
def test_a_malformed_file_is_left_out_with_a_sentence(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "good.json").write_text(spec(kind="good.com/class"))
    found = load([str(tmp_path)])
    assert list(found.devices) == ["good.com/class=one"]
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{tmp_path / name}: ")
    assert problem in found.problems[0]


def test_a_later_directory_wins_and_two_files_of_one_make_a_conflict(tmp_path: Path) -> None:
    etc, run = tmp_path / "etc", tmp_path / "run"
    etc.mkdir()
    run.mkdir()
    (etc / "a.json").write_text(spec(env=["FROM=etc"]))
    (run / "a.json").write_text(spec(env=["FROM=run"]))
    found = load([str(etc), str(run), str(tmp_path / "missing")])
    assert found.edits(["vendor.com/class=one"])[-1].env == ("FROM=run",)
    (run / "b.json").write_text(spec(env=["FROM=b"]))
    again = load([str(etc), str(run)])
    assert not again.devices
    assert 'conflicting device "vendor.com/class=one"' in again.problems[0]


def test_a_device_that_the_host_does_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(spec(deviceNodes=[{"path": "/dev/x", "hostPath": "/dev/no-such-device"}]))
    with pytest.raises(SystemFault, match='failed to stat CDI host device "/dev/no-such-device"'):
        gathered(tmp_path, by_name("vendor.com/class=one"))
    (tmp_path / "a.json").write_text(spec(deviceNodes=[{"path": "/dev/x", "hostPath": "/dev/null", "type": "b"}]))
    with pytest.raises(SystemFault, match="is no device of type"):
        gathered(tmp_path, by_name("vendor.com/class=one"))


def test_both_counts_and_names_of_gpus_do_not_go_together(gpus: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot set both Count and DeviceIDs"):
        gathered(gpus, HostConfig(device_requests=[DeviceRequest(count=1, device_ids=["0"], capabilities=[["gpu"]])]))
