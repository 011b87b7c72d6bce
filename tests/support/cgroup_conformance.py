"""What every cgroup must do, whichever backend it is: on fakes and on the machine's own cgroups.

A module that imports these tests has a fixture ``ground``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from wherry.errors import Conflict, InvalidInput, NotFound, Unsupported
from wherry.runtime import cgroups
from wherry.runtime.cgroups import Cgroup, Resources

MIB = 1 << 20
Child = subprocess.Popen[bytes]


class Ground(Protocol):
    """Where the tests take place."""

    def group(self, name: str) -> Cgroup:
        """A cgroup of that name, not made yet."""

    def value(self, group: Cgroup, v1: tuple[str, str], v2: str) -> str:
        """The content of a file: version 1's controller and file, or version 2's file."""


def limited(**parts: dict[str, Any]) -> Resources:
    return Resources.from_oci(parts)


@pytest.fixture
def child() -> Iterator[Child]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


class Conformance:
    """The contract, one sentence per test."""

    def test_naming_one_makes_nothing(self, ground: Ground) -> None:
        assert not ground.group("a").exists()

    def test_one_that_was_created_is_there_until_it_is_destroyed(self, ground: Ground) -> None:
        group = ground.group("a")
        group.create(Resources())
        assert group.exists()
        assert group.pids() == []
        group.destroy()
        assert not group.exists()

    def test_creating_twice_and_destroying_twice_is_no_error(self, ground: Ground) -> None:
        group = ground.group("a")
        for _ in range(2):
            group.create(limited(pids={"limit": 7}))
        for _ in range(2):
            group.destroy()

    def test_limits_are_set_when_it_is_created(self, ground: Ground) -> None:
        group = ground.group("a")
        group.create(
            limited(
                memory={"limit": 64 * MIB, "swap": 64 * MIB},
                cpu={"shares": 1024, "quota": 50_000, "period": 100_000},
                pids={"limit": 33},
            )
        )
        assert ground.value(group, ("pids", "pids.max"), "pids.max") == "33"
        assert ground.value(group, ("memory", "memory.limit_in_bytes"), "memory.max") == str(64 * MIB)
        assert ground.value(group, ("cpu", "cpu.shares"), "cpu.weight") in ("1024", "100")
        quota = ground.value(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max")
        assert quota in ("50000", "50000 100000")

    @pytest.mark.parametrize("steps", [(64, 32), (32, 64), (64, 128, 16)])
    def test_memory_can_be_changed_up_and_down(self, ground: Ground, steps: tuple[int, ...]) -> None:
        group = ground.group("a")
        for size in steps:
            (group.apply if group.exists() else group.create)(limited(memory={"limit": size * MIB, "swap": size * MIB}))
            assert ground.value(group, ("memory", "memory.limit_in_bytes"), "memory.max") == str(size * MIB)

    def test_quota_and_period_can_be_changed_together_and_alone(self, ground: Ground) -> None:
        group = ground.group("a")
        group.create(limited(cpu={"quota": 50_000, "period": 100_000}))
        group.apply(limited(cpu={"quota": 2_000, "period": 1_000}))
        assert ground.value(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max") in ("2000", "2000 1000")
        group.apply(limited(cpu={"quota": 3_000}))
        assert ground.value(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max") in ("3000", "3000 1000")
        group.apply(limited(cpu={"quota": -1}))
        assert ground.value(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max") in ("-1", "max 1000")

    def test_what_is_not_mentioned_stays(self, ground: Ground) -> None:
        group = ground.group("a")
        group.create(limited(pids={"limit": 9}, memory={"limit": 64 * MIB}))
        group.apply(limited(memory={"limit": 32 * MIB}))
        assert ground.value(group, ("pids", "pids.max"), "pids.max") == "9"
        group.apply(limited(pids={"limit": -1}))
        assert ground.value(group, ("pids", "pids.max"), "pids.max") == "max"

    def test_a_value_that_the_kernel_rejects_leaves_nothing_behind(self, ground: Ground) -> None:
        group = ground.group("a")
        with pytest.raises(InvalidInput, match=r"cpuset\.cpus"):
            group.create(limited(cpu={"cpus": "700"}, pids={"limit": 3}))
        assert not group.exists()

    def test_a_limit_without_its_controller_is_unsupported(self, ground: Ground) -> None:
        group = ground.group("a")
        with pytest.raises((Unsupported, InvalidInput), match="hugetlb"):
            group.create(limited(hugepageLimits=[{"pageSize": "3MB", "limit": 0}]))  # type: ignore[arg-type]
        assert not group.exists()

    def test_a_limit_below_what_is_in_use_can_be_refused(self, ground: Ground) -> None:
        group = ground.group("a")
        group.create(Resources())
        group.apply(limited(memory={"limit": 64 * MIB, "checkBeforeUpdate": True}))

    def test_processes_are_added_and_listed(self, ground: Ground, child: Child) -> None:
        group = ground.group("a")
        group.create(Resources())
        group.add(child.pid)
        assert group.pids() == [child.pid]
        assert group.statistics().pids.current == 1

    def test_processes_below_are_listed_unless_unwanted(self, ground: Ground, child: Child) -> None:
        group, below = ground.group("a"), ground.group("a/b")
        below.create(Resources())
        below.add(child.pid)
        assert group.pids() == [child.pid]
        assert group.pids(recursive=False) == []

    def test_a_frozen_one_stands_still_until_it_is_thawed(self, ground: Ground, child: Child) -> None:
        group = ground.group("a")
        group.create(Resources())
        group.add(child.pid)
        group.freeze()
        assert group.is_frozen()
        group.freeze()
        group.thaw()
        assert not group.is_frozen()

    def test_killing_reaches_frozen_processes_and_those_below(self, ground: Ground) -> None:
        group, below = ground.group("a"), ground.group("a/b")
        below.create(Resources())
        children = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
        for process in children:
            below.add(process.pid)
        below.freeze()
        group.kill_all()
        assert [process.wait() for process in children] == [-signal.SIGKILL] * 3
        assert group.pids() == []

    def test_killing_what_is_frozen_itself(self, ground: Ground, child: Child) -> None:
        group = ground.group("a")
        group.create(Resources())
        group.add(child.pid)
        group.freeze()
        group.kill_all()
        assert child.wait() == -signal.SIGKILL
        group.destroy()

    def test_ending_all_leaves_no_limit_of_the_time_that_it_takes(self, ground: Ground, child: Child) -> None:
        group = ground.group("a")
        cgroups.end_all(group)
        group.create(limited(cpu={"quota": 1_000, "period": 1_000_000}))
        cgroups.end_all(group)  # nobody is there
        assert ground.value(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max") in ("1000", "1000 1000000")
        group.add(child.pid)
        cgroups.end_all(group)
        assert child.wait() == -signal.SIGKILL
        assert ground.value(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max") in ("-1", "max 1000000")

    def test_killing_nobody_is_no_error(self, ground: Ground) -> None:
        group = ground.group("a")
        group.kill_all()
        group.create(Resources())
        group.kill_all()

    def test_killing_what_somebody_else_removes_meanwhile_is_no_error(
        self, ground: Ground, child: Child, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        group, same = ground.group("a"), ground.group("a")
        group.create(Resources())
        group.add(child.pid)
        look = group.pids

        def late(*, recursive: bool = True) -> list[int]:
            found = look(recursive=recursive)
            same.kill_all()
            child.wait()
            same.destroy()
            return found

        monkeypatch.setattr(group, "pids", late)
        group.kill_all()
        group.destroy()
        assert not group.exists()

    def test_destroying_takes_those_below_along(self, ground: Ground) -> None:
        for name in ("a/b/c", "a/d"):
            ground.group(name).create(Resources())
        ground.group("a").destroy()
        assert not ground.group("a/b/c").exists()
        assert not ground.group("a").exists()

    def test_one_with_processes_is_not_destroyed(self, ground: Ground, child: Child) -> None:
        group = ground.group("a")
        group.create(Resources())
        group.add(child.pid)
        with pytest.raises(Conflict, match="processes are in it"):
            group.destroy(timeout=0.05)
        assert not group.destroy_if_empty()
        assert group.pids() == [child.pid]

    def test_only_an_empty_one_is_destroyed_by_the_way(self, ground: Ground) -> None:
        group, below = ground.group("a"), ground.group("a/b")
        below.create(Resources())
        assert not group.destroy_if_empty()
        assert group.pids() == []  # all of it is there: whoever looks for processes finds them
        assert below.destroy_if_empty()
        assert group.destroy_if_empty()
        assert group.destroy_if_empty()

    def test_one_that_is_not_there_is_not_found(self, ground: Ground) -> None:
        group = ground.group("a")
        for ask in (group.pids, group.statistics, group.freeze, group.thaw, group.is_frozen):
            with pytest.raises(NotFound):
                ask()
        with pytest.raises(NotFound):
            group.add(os.getpid())

    def test_statistics_know_the_limits(self, ground: Ground) -> None:
        group = ground.group("a")
        group.create(limited(memory={"limit": 64 * MIB}, pids={"limit": 5}))
        found = group.statistics()
        assert found.memory.limit == 64 * MIB
        assert found.pids.limit == 5
        assert found.oom_kills == group.oom_count() == 0
        group.apply(limited(memory={"limit": -1}, pids={"limit": -1}))
        assert group.statistics().memory.limit is None
        assert group.statistics().pids.limit is None

    def test_lack_of_memory_can_be_waited_for(self, ground: Ground) -> None:
        group = ground.group("a")
        group.create(Resources())
        watch = group.oom_events()
        with watch.fd:
            watch.acknowledge()

    def test_paths_are_directories_that_end_in_its_path(self, ground: Ground) -> None:
        group = ground.group("a")
        assert all(path.endswith(group.path) for path in group.paths().values())
        assert group.version in (1, 2)
