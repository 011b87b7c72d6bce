"""What a container's limits become for the kernel, and what an update of them lifts."""

from __future__ import annotations

import pytest

from wherry.docker.container_requests import BlkioRate, BlkioWeightDevice, HostConfig
from wherry.engine.settings import Settings
from wherry.engine.spec import resources
from wherry.engine.spec.resources import changed_limits
from wherry.engine.spec.security import seccomp_of
from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import BlockIODevice


@pytest.fixture(autouse=True)
def disks(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(path: str) -> resources._Numbers:
        if path == "/dev/gone":
            raise InvalidInput("no such file")
        return resources._Numbers(8, int(path[-1]))

    monkeypatch.setattr(resources, "_numbers", numbers)


def test_a_limit_of_a_disk_that_is_no_longer_limited_becomes_zero() -> None:
    former = HostConfig(
        blkio_device_read_bps=[BlkioRate("/dev/sd1", 5), BlkioRate("/dev/sd2", 6), BlkioRate("/dev/gone", 7)],
        blkio_weight_device=[BlkioWeightDevice("/dev/sd1", 100)],
    )
    present = HostConfig(blkio_device_read_bps=[BlkioRate("/dev/sd2", 9)])
    found = changed_limits(former, present)
    assert found is not None
    assert found.throttle_read_bps_device == (
        BlockIODevice(major=8, minor=2, rate=9),
        BlockIODevice(major=8, minor=1, rate=0),
    )
    assert found.weight_device == (BlockIODevice(major=8, minor=1, weight=0),)
    assert found.throttle_write_bps_device == ()


def test_who_divides_its_control_group_does_so_within_bounds() -> None:
    """All that it makes is walked through at each exec, in the keeper."""
    chosen = ["writable-cgroups=true"]
    assert set(resources.resources(HostConfig(security_opt=chosen)).unified) == {
        "cgroup.max.depth", "cgroup.max.descendants",
    }  # fmt: skip
    assert resources.resources(HostConfig()).unified == {}


def test_without_limits_of_disks_there_is_nothing_to_change() -> None:
    assert changed_limits(HostConfig(), HostConfig()) is None


@pytest.mark.parametrize(
    "profile",
    [
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": 5}]}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "flags": 3}',
        '{"defaultAction": "SCMP_ACT_ALLOW"',
    ],
)
def test_a_seccomp_profile_with_values_of_wrong_types_is_the_caller_s_mistake(profile: str) -> None:
    with pytest.raises(InvalidInput, match="decoding seccomp profile failed"):
        seccomp_of(HostConfig(security_opt=[f"seccomp={profile}"]), Settings(), ())
