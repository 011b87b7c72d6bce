"""The rarer limits as the container itself sees them: in the files of its cgroup, version 1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from daemons import Daemon

_GROUP = "/sys/fs/cgroup"
_CASES = [
    (["-m", "64m", "--memory-swappiness", "7"], f"cat {_GROUP}/memory/memory.swappiness", "7"),
    (["-m", "64m", "--oom-kill-disable"], f"head -n1 {_GROUP}/memory/memory.oom_control", "oom_kill_disable 1"),
    (["--cpuset-mems", "0"], f"cat {_GROUP}/cpuset/cpuset.mems", "0"),
    (["--device-cgroup-rule", "c 10:200 rw"], f"grep 10:200 {_GROUP}/devices/devices.list", "c 10:200 rw"),
    (["--device", "/dev/kmsg:/dev/log0:r"], f"grep 1:11 {_GROUP}/devices/devices.list", "c 1:11 r"),
    (["--device", "/dev/kmsg:/dev/log0:r"], "(echo x > /dev/log0) 2>/dev/null || echo refused", "refused"),
    (["--cpu-shares", "300"], f"cat {_GROUP}/cpu/cpu.shares", "300"),
    (["--ulimit", "nofile=10:20"], "ulimit -Sn; ulimit -Hn", "10\n20"),
    (["--tmpfs", "/t:size=1m,mode=700,exec"], "grep -c ' /t .*size=1024k,mode=700' /proc/mounts", "1"),
    (["--security-opt", "systempaths=unconfined"], "grep -c ' /proc/sys ' /proc/mounts", "0"),
    (["--security-opt", "apparmor=unconfined", "--security-opt", "label=disable"], "echo runs", "runs"),
]


@pytest.mark.need("cgroup1")
@pytest.mark.parametrize(("flags", "script", "shown"), _CASES)
def test_a_limit_is_in_force_inside(daemon: Daemon, busybox: str, flags: list[str], script: str, shown: str) -> None:
    done = daemon.docker("run", "--rm", "--network=none", *flags, busybox, "sh", "-c", script)
    assert done.stdout.strip() == shown, done.stderr


@pytest.mark.need("cgroup1")
@pytest.mark.parametrize("kind", ["read-bps", "write-bps", "read-iops", "write-iops"])
def test_a_disks_throughput_is_limited_inside(daemon: Daemon, busybox: str, kind: str) -> None:
    disk = next(
        (f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if Path(f"/dev/{name}").is_block_device()), ""
    )
    if not disk:
        pytest.skip("this machine has no block device")
    number = os.stat(disk).st_rdev
    script = f"cat {_GROUP}/blkio/blkio.throttle.{kind.replace('-', '_')}_device"
    flags = ["--network=none", f"--device-{kind}", f"{disk}:5000"]
    done = daemon.docker("run", "--rm", *flags, busybox, "sh", "-c", script)
    assert done.stdout.strip() == f"{os.major(number)}:{os.minor(number)} 5000", done.stderr
