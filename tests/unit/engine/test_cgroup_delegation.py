"""Control groups that a container may write are asked for again at each start."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.engine_harness import EngineHarness, create, harness
from wherry.docker.container_requests import HostConfig
from wherry.engine.spec import cgroup_delegation
from wherry.engine.spec.cgroup_delegation import check_delegation
from wherry.errors import InvalidInput

__all__ = ["harness"]

WRITABLE = ["writable-cgroups=true"]


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What lists the mounts of a machine with cgroup v2."""
    file = tmp_path / "mounts"
    file.write_text("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0\n")
    monkeypatch.setattr(cgroup_delegation, "_MOUNTS", file)
    monkeypatch.setattr(cgroup_delegation, "_CONTROLLERS", file)
    return file


def test_only_private_groups_of_a_host_that_delegates_may_be_written(mounts: Path) -> None:
    check_delegation(HostConfig(security_opt=WRITABLE))
    with pytest.raises(InvalidInput, match="private cgroup namespace"):
        check_delegation(HostConfig(security_opt=WRITABLE, cgroupns_mode="host"))
    mounts.write_text("proc /proc proc rw,nsdelegate 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
    with pytest.raises(InvalidInput, match="nsdelegate"):
        check_delegation(HostConfig(security_opt=WRITABLE))
    check_delegation(HostConfig())
    mounts.unlink()
    with pytest.raises(InvalidInput, match="this machine has v1"):
        check_delegation(HostConfig(security_opt=WRITABLE))


def test_who_was_made_while_the_host_delegated_does_not_start_when_it_does_no_more(
    harness: EngineHarness, mounts: Path
) -> None:
    def without_delegation() -> None:
        mounts.write_text("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")

    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, security_opt=WRITABLE)
            without_delegation()
            with pytest.raises(InvalidInput, match="nsdelegate"):
                await engine.containers.start(container.id)
            assert not container.state.is_alive

    harness.run(test)
