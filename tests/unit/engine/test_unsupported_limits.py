"""What the kernel cannot limit is left out with a warning in Docker's words, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from support.fake_cgroups import FakeFiles
from wherry.docker.container_requests import BlkioRate, BlkioWeightDevice, HostConfig
from wherry.engine.create import unsupported_limits
from wherry.engine.create.unsupported_limits import drop
from wherry.engine.views.info import missing_limits
from wherry.errors import InvalidInput
from wherry.runtime.cgroups.features import Features, look

EVERYTHING = Features(**{"version": 1, **dict.fromkeys(Features._fields[1:], True)})
NOTHING = Features(**{"version": 2, **dict.fromkeys(Features._fields[1:], False)})
ON_VERSION_2 = EVERYTHING._replace(
    version=2, swappiness=False, kernel_memory=False, oom_kill_disable=False, realtime=False
)
_NO_SWAP = (
    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
)
RATE = [BlkioRate("/dev/null", 1)]


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("memory", 1, "support memory limit capabilities ~ Limitation discarded."),
        ("memory_swappiness", 0, "support memory swappiness capabilities ~ Memory swappiness discarded."),
        ("memory_reservation", 1, "support memory soft limit capabilities ~ Limitation discarded."),
        ("kernel_memory", 1, "support kernel memory limit capabilities ~ Limitation discarded."),
        ("oom_kill_disable", True, "support OomKillDisable. OomKillDisable discarded."),
        ("pids_limit", 1, "support PIDs limit capabilities ~ PIDs limit discarded."),
        ("cpu_shares", 2, "support CPU shares ~ Shares discarded."),
        ("cpu_period", 1, "support CPU CFS scheduler. CPU period/quota discarded."),
        ("cpu_quota", 1, "support CPU CFS scheduler. CPU period/quota discarded."),
        ("cpuset_mems", "0", "support cpuset ~ Cpuset discarded."),
        ("blkio_weight", 10, "support Block I/O weight ~ Weight discarded."),
        ("blkio_device_read_bps", RATE, "support BPS Block I/O read limit ~ Block I/O BPS read limit discarded."),
        ("blkio_device_write_bps", RATE, "support BPS Block I/O write limit ~ Block I/O BPS write limit discarded."),
        ("blkio_device_read_iops", RATE, "support IOPS Block read limit ~ Block I/O IOPS read limit discarded."),
        ("blkio_device_write_iops", RATE, "support IOPS Block write limit ~ Block I/O IOPS write limit discarded."),
    ],
)  # fmt: skip
def test_what_is_missing_is_left_out_and_said(name: str, value: Any, warning: str) -> None:
    host = HostConfig(**{name: value})
    without, warnings = drop(host, lambda: NOTHING)
    assert warnings == [f"Your kernel does not {warning}".replace("~", "or the cgroup is not mounted.")]
    assert getattr(without, name) is None
    same, warnings = drop(host, lambda: EVERYTHING)
    assert warnings == []
    assert getattr(same, name) == getattr(host, name) == value


@pytest.mark.parametrize("name", ["nano_cpus", "cpu_realtime_runtime", "cpu_realtime_period"])
def test_what_a_program_cannot_do_without_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="our kernel does not support CPU"):
        drop(HostConfig(**{name: 1000}), lambda: NOTHING)


def test_version_2_lacks_what_version_1_had_and_the_rest_stays() -> None:
    host = HostConfig(
        memory=64 << 20, memory_swappiness=7, kernel_memory=8 << 20, oom_kill_disable=True, pids_limit=9, cpu_shares=5
    )
    host, warnings = drop(host, lambda: ON_VERSION_2)
    assert [text.split(".")[0] for text in warnings] == [
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted",
        "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted",
        "Your kernel does not support OomKillDisable",
    ]
    assert (host.memory, host.pids_limit, host.cpu_shares) == (64 << 20, 9, 5)


def test_memory_is_limited_without_swap_where_swap_cannot_be() -> None:
    host = HostConfig(memory=64 << 20, memory_swap=128 << 20)
    host, warnings = drop(host, lambda: EVERYTHING._replace(swap=False))
    assert warnings == [_NO_SWAP]
    assert (host.memory, host.memory_swap) == (64 << 20, -1)


def test_who_asks_for_no_limit_costs_no_look() -> None:
    host = HostConfig(memory_swappiness=-1, memory_swap=0, pids_limit=0, blkio_weight_device=[], oom_kill_disable=False)
    host, warnings = drop(host, lambda: pytest.fail("looked"))
    assert warnings == []
    assert host.memory_swappiness is None


@pytest.mark.parametrize(("scheduler", "kept"), [("none [bfq]", 1), ("[none] bfq", 0)])
def test_a_disks_weight_is_kept_where_its_scheduler_has_weights(
    monkeypatch: pytest.MonkeyPatch, scheduler: str, kept: int
) -> None:
    monkeypatch.setattr(unsupported_limits, "_scheduler", lambda path: scheduler)
    host = HostConfig(blkio_weight_device=[BlkioWeightDevice("/dev/disk", 100)])
    host, warnings = drop(host, lambda: EVERYTHING)
    assert len(host.blkio_weight_device or []) == kept
    assert bool(warnings) is not bool(kept)
    assert all(text.endswith("Weight-device discarded.") for text in warnings)


def test_a_device_that_is_none_is_left_to_who_uses_it() -> None:
    entries = [BlkioWeightDevice("/no/such/device", 100), BlkioWeightDevice("/dev/null", 100)]
    host = HostConfig(blkio_weight_device=list(entries))
    host, warnings = drop(host, lambda: EVERYTHING)
    assert warnings == []
    assert host.blkio_weight_device == entries


def test_what_version_2_can_do_is_seen_in_the_directories_below() -> None:
    files = FakeFiles(2)
    assert look(files.hierarchies(), files).swap, "nobody is limited yet, so nothing speaks against it"
    files.write("/cg/v2/cgroup.subtree_control", ["+memory +io"])
    files.make("/cg/v2/other")
    features = look(files.hierarchies(), files)
    assert (features.memory, features.swap, features.io, features.io_weight) == (True, True, True, False)
    assert not any((features.swappiness, features.kernel_memory, features.oom_kill_disable, features.realtime))


def test_what_version_1_can_do_is_seen_in_the_topmost_directories() -> None:
    files = FakeFiles(1)
    features = look(files.hierarchies(), files)
    assert (features.swap, features.swappiness, features.reservation, features.io) == (True, True, True, True)
    assert (features.io_weight, features.realtime) == (False, False)


def test_what_is_missing_is_told_beforehand_as_well() -> None:
    assert missing_limits(EVERYTHING) == missing_limits(ON_VERSION_2) == []
    assert missing_limits(EVERYTHING._replace(swap=False, cpuset=False)) == [
        "WARNING: No swap limit support",
        "WARNING: No cpuset support",
    ]
    assert len(missing_limits(NOTHING._replace(version=1))) == 7
