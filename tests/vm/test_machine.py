"""The virtual machine is what it is there for: cgroup v2 alone, and an older kernel than most."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.runtime import cgroups

pytestmark = pytest.mark.skipif("WHERRY_VM" not in os.environ, reason="runs in the virtual machine")


def test_only_cgroup_v2_is_mounted() -> None:
    kinds = {line.split(" - ")[1].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    assert "cgroup2" in kinds
    assert "cgroup" not in kinds


def test_the_backend_for_cgroup_v2_is_chosen() -> None:
    assert cgroups.hierarchies().version == 2
    assert type(cgroups.open("/wherry-test")).__name__ == "CgroupV2"


def test_the_controllers_that_limits_need_are_there() -> None:
    offered = set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= offered
