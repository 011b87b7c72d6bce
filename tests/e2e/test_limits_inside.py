"""The rarer limits as the container itself sees them: in the files of its cgroup, version 1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.daemons import Daemon

_GROUP = "/sys/fs/cgroup"
_CASES = [
    (["-m", "64m", "--memory-swappiness", "7"], f"cat {_GROUP}/memory/memory.swappiness", "7"),
    (["-m", "64m", "--oom-kill-disable"], f"head -n1 {_GROUP}/memory/memory.oom_control", "oom_kill_disable 1"),
    (["-m", "64m"], f"cat {_GROUP}/memory/memory.memsw.limit_in_bytes", "134217728"),
    (["-m", "64m", "--memory-swap", "96m"], f"cat {_GROUP}/memory/memory.memsw.limit_in_bytes", "100663296"),
    (["-m", "64m", "--memory-swap", "-1"], f"cat {_GROUP}/memory/memory.memsw.limit_in_bytes", "9223372036854771712"),
    (["--memory-reservation", "32m"], f"cat {_GROUP}/memory/memory.soft_limit_in_bytes", "33554432"),
    (["--cpus", "0.25"], f"cd {_GROUP}/cpu; cat cpu.cfs_quota_us cpu.cfs_period_us", "25000\n100000"),
    (["--cpu-period", "50000", "--cpu-quota", "20000"], f"cd {_GROUP}/cpu; cat cpu.cfs_quota_us cpu.cfs_period_us",
     "20000\n50000"),
    (["--cpuset-cpus", "0"], f"cat {_GROUP}/cpuset/cpuset.cpus", "0"),
    (["--pids-limit", "77"], f"cat {_GROUP}/pids/pids.max", "77"),
    (["--pids-limit", "-1"], f"cat {_GROUP}/pids/pids.max", "max"),
    (["--cpuset-mems", "0"], f"cat {_GROUP}/cpuset/cpuset.mems", "0"),
    (["--device-cgroup-rule", "c 10:200 rw"], f"grep 10:200 {_GROUP}/devices/devices.list", "c 10:200 rw"),
    (["--device", "/dev/kmsg:/dev/log0:r"], f"grep 1:11 {_GROUP}/devices/devices.list", "c 1:11 r"),
    (["--device", "/dev/kmsg:/dev/log0:r"], "(echo x > /dev/log0) 2>/dev/null || echo refused", "refused"),
    (["--cpu-shares", "300"], f"cat {_GROUP}/cpu/cpu.shares", "300"),
    (["--ulimit", "nofile=10:20"], "ulimit -Sn; ulimit -Hn", "10\n20"),
    (["--tmpfs", "/t:size=1m,mode=700,exec"], "grep -c ' /t .*size=1024k,mode=700' /proc/mounts", "1"),
    (["--security-opt", "systempaths=unconfined"], "grep -c ' /proc/sys ' /proc/mounts", "0"),
    (["--security-opt", "apparmor=unconfined", "--security-opt", "label=disable"], "echo runs", "runs"),
]  # fmt: skip
_ON_VERSION_2 = {
    "memory.max": (["-m", "64m"], "67108864"),
    "memory.swap.max": (["--memory-swap", "96m"], "33554432"),
    "memory.low": (["--memory-reservation", "32m"], "33554432"),
    "cpu.max": (["--cpu-period", "50000", "--cpu-quota", "20000"], "20000 50000"),
    "cpu.weight": (["--cpu-shares", "1024"], "100"),
    "cpuset.cpus": (["--cpuset-cpus", "0"], "0"),
    "cpuset.mems": (["--cpuset-mems", "0"], "0"),
    "pids.max": (["--pids-limit", "77"], "77"),
}


@pytest.mark.need("cgroup1")
@pytest.mark.parametrize(("flags", "script", "shown"), _CASES)
def test_a_limit_is_in_force_inside(daemon: Daemon, busybox: str, flags: list[str], script: str, shown: str) -> None:
    done = daemon.docker("run", "--rm", "--network=none", *flags, busybox, "sh", "-c", script)
    assert done.stdout.strip() == shown, done.stderr


@pytest.mark.need("cgroup2")
def test_limits_of_version_2_are_in_force_inside(daemon: Daemon, busybox: str) -> None:
    flags = [word for words, _ in _ON_VERSION_2.values() for word in words]
    script = f"cd {_GROUP}; for f in {' '.join(_ON_VERSION_2)}; do echo $f $(cat $f); done"
    done = daemon.docker("run", "--rm", "--network=none", *flags, busybox, "sh", "-c", script)
    shown = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert shown == {name: value for name, (_, value) in _ON_VERSION_2.items()}, done.stderr


def _disks() -> list[str]:
    found = [f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if Path(f"/dev/{name}").is_block_device()]
    if not found:
        pytest.skip("this machine has no block device")
    return found


def _number(disk: str) -> str:
    number = os.stat(disk).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


@pytest.mark.need("cgroup1")
@pytest.mark.parametrize("kind", ["read-bps", "write-bps", "read-iops", "write-iops"])
def test_a_disks_throughput_is_limited_inside(daemon: Daemon, busybox: str, kind: str) -> None:
    disk = _disks()[0]
    script = f"cat {_GROUP}/blkio/blkio.throttle.{kind.replace('-', '_')}_device"
    flags = ["--network=none", f"--device-{kind}", f"{disk}:5000"]
    done = daemon.docker("run", "--rm", *flags, busybox, "sh", "-c", script)
    assert done.stdout.strip() == f"{_number(disk)} 5000", done.stderr


@pytest.mark.need("cgroup1")
def test_an_update_changes_the_limits_of_disks_that_it_names_and_lifts_the_others_of_their_kind(
    daemon: Daemon, busybox: str
) -> None:
    first, last = _disks()[0], _disks()[-1]
    kinds = {"BlkioDeviceReadBps": "read_bps", "BlkioDeviceWriteIOps": "write_iops"}
    before = {name: [{"Path": first, "Rate": 5000}] for name in kinds}
    body = {"Image": busybox, "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none", **before}}
    made = daemon.request("POST", "/containers/create", body).json["Id"]
    assert daemon.request("POST", f"/containers/{made}/start").status == 204

    def update(version: str, **wanted: object) -> None:
        answer = daemon.request("POST", f"/v{version}/containers/{made}/update", wanted)
        assert (answer.status, answer.json) == (200, {"Warnings": None}), answer.body

    def limits() -> dict[str, list[str]]:
        files = {kind: f"{_GROUP}/blkio/blkio.throttle.{kind}_device" for kind in kinds.values()}
        return {
            kind: daemon.docker("exec", made, "cat", file, check=True).stdout.splitlines()
            for kind, file in files.items()
        }

    def asked() -> dict[str, object]:
        shown = daemon.request("GET", f"/containers/{made}/json").json["HostConfig"]
        return {name: shown[name] for name in kinds}

    try:
        present = {kind: [f"{_number(first)} 5000"] for kind in kinds.values()}
        update("1.54", BlkioDeviceReadBps=[])  # was not read before 1.55
        update("1.55", BlkioDeviceReadBps=None, CpuShares=512)
        assert (limits(), asked()) == (present, before)
        update("1.55", BlkioDeviceReadBps=[{"Path": last, "Rate": 7000}])
        assert limits() == {**present, "read_bps": [f"{_number(last)} 7000"]}
        update("1.55", BlkioDeviceReadBps=[], BlkioDeviceWriteIOps=[])
        assert limits() == {kind: [] for kind in kinds.values()}
        assert asked() == {name: [] for name in kinds}
        answer = daemon.request("POST", f"/containers/{made}/update", {"BlkioDeviceReadBps": [{"Path": "/dev/null"}]})
        assert (answer.status, "not a block device" in answer.message) == (400, True)
        assert asked() == {name: [] for name in kinds}, "what was refused did not change anything"
    finally:
        daemon.request("DELETE", f"/containers/{made}", force=True)
