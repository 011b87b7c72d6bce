"""Resources, device lists, units, mount tables and counters of cgroups: what needs no file system."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_cgroups import FakeFiles
from wherry.errors import InvalidInput, Unsupported
from wherry.runtime.cgroups import Resources, v1_limits, v1_statistics, v2_limits, v2_statistics
from wherry.runtime.cgroups.contract import IoCount
from wherry.runtime.cgroups.convert import cpu_weight, io_weight, swap_limit
from wherry.runtime.cgroups.devices import DeviceList
from wherry.runtime.cgroups.directory import Directory
from wherry.runtime.cgroups.hierarchies import find
from wherry.runtime.cgroups.resources import DeviceAccess

V2_MOUNT = "30 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot"


def written(resources: dict[str, Any], version: int) -> dict[str, str]:
    translate = v1_limits.limits if version == 1 else v2_limits.limits
    return {limit.name: limit.value for limit in translate(Resources.from_oci(resources))}


class TestReading:
    def test_nothing_limits_nothing(self) -> None:
        assert Resources.from_oci(None) == Resources.from_oci({}) == Resources()
        assert written({}, 1) == written({}, 2) == {}

    def test_zero_means_not_given(self) -> None:
        zeros = {"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0}, "pids": {"limit": 0}}
        assert Resources.from_oci(zeros) == Resources()

    def test_null_means_not_given(self) -> None:
        assert Resources.from_oci({"memory": None, "devices": None, "cpu": {"shares": None}}) == Resources()

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"memory": {"limit": "64m"}}, "'64m'"),
            ({"memory": {"swappiness": 101}}, "101"),
            ({"memory": {"limit": 200, "swap": 100}}, "below that of memory alone"),
            ({"memory": []}, "object"),
            ({"cpu": {"cpus": "0\n1"}}, "cpus"),
            ({"cpu": {"idle": 2}}, "idle 2"),
            ({"blockIO": {"weight": 5}}, "weight 5"),
            ({"devices": [{"type": "x"}]}, "'x'"),
            ({"devices": [{"access": "rx"}]}, "'rx'"),
            ({"devices": [{"type": "c", "major": 1 << 40}]}, "out of range"),
            ({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}, "huge pages"),
            ({"pids": {"limit": True}}, "True"),
        ],
    )
    def test_a_wrong_value_is_quoted(self, wrong: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            Resources.from_oci(wrong)


class TestTranslating:
    RESOURCES = {  # noqa: RUF012
        "memory": {"limit": 100, "swap": 150, "reservation": 50, "swappiness": 10, "disableOOMKiller": True},
        "cpu": {"shares": 512, "quota": 1000, "period": 2000, "burst": 10, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 7},
        "blockIO": {
            "weight": 500,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 100}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 4096}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
    }

    def test_into_version_1(self) -> None:
        assert written(self.RESOURCES, 1) == {
            "memory.limit_in_bytes": "100",
            "memory.memsw.limit_in_bytes": "150",
            "memory.soft_limit_in_bytes": "50",
            "memory.swappiness": "10",
            "memory.oom_control": "1",
            "cpu.shares": "512",
            "cpu.cfs_quota_us": "1000",
            "cpu.cfs_period_us": "2000",
            "cpu.cfs_burst_us": "10",
            "cpuset.cpus": "0-1",
            "cpuset.mems": "0",
            "pids.max": "7",
            "blkio.bfq.weight": "500",
            "blkio.bfq.weight_device": "8:0 100",
            "blkio.throttle.read_bps_device": "8:0 4096",
            "blkio.throttle.write_iops_device": "8:16 0",
            "hugetlb.2MB.limit_in_bytes": "4096",
            "hugetlb.2MB.rsvd.limit_in_bytes": "4096",
            "rdma.max": "mlx5_1 hca_handle=3 hca_object=10000",
        }

    def test_into_version_2(self) -> None:
        found = v2_limits.limits(Resources.from_oci(self.RESOURCES))
        assert [(limit.name, limit.value) for limit in found] == [
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
            ("memory.swap.max", "50"),
            ("memory.max", "100"),
            ("memory.low", "50"),
            ("cpu.weight", str(cpu_weight(512))),
            ("cpu.max", "1000 2000"),
            ("cpu.max.burst", "10"),
            ("pids.max", "7"),
            ("io.weight", f"default {io_weight(500)}"),
            ("io.weight", f"8:0 {io_weight(100)}"),
            ("io.max", "8:0 rbps=4096"),
            ("io.max", "8:16 wiops=max"),
            ("hugetlb.2MB.max", "4096"),
            ("hugetlb.2MB.rsvd.max", "4096"),
            ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
        ]

    def test_bfq_takes_weights_as_they_are(self) -> None:
        found = v2_limits.limits(Resources.from_oci({"blockIO": {"weight": 500}}), bfq=True)
        assert [(limit.name, limit.value) for limit in found] == [("io.bfq.weight", "500")]

    @pytest.mark.parametrize("bfq", [False, True])
    def test_a_disks_weight_of_zero_is_the_default_again(self, bfq: bool) -> None:
        wanted = {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 0}]}}
        [limit] = v2_limits.limits(Resources.from_oci(wanted), bfq=bfq)
        assert limit.value == "8:0 default"
        assert written(wanted, 1) == {"blkio.bfq.weight_device": "8:0 0"}

    def test_unlimited(self) -> None:
        assert written({"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}, 1) == {
            "memory.limit_in_bytes": "-1",
            "memory.memsw.limit_in_bytes": "-1",
            "pids.max": "max",
            "cpu.cfs_quota_us": "-1",
        }
        assert written({"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}, 2) == {
            "memory.max": "max",
            "memory.swap.max": "max",
            "pids.max": "max",
            "cpu.max": "max 100000",
        }

    def test_an_idle_cgroup_has_no_shares(self) -> None:
        assert written({"cpu": {"idle": 1, "shares": 2}}, 1) == {"cpu.idle": "1"}
        assert written({"cpu": {"idle": 1, "shares": 2}}, 2) == {"cpu.idle": "1"}


class TestUnits:
    @pytest.mark.parametrize(("shares", "weight"), [(1, 1), (2, 1), (1024, 100), (262144, 10000), (1 << 40, 10000)])
    def test_shares_meet_weights_at_the_ends_and_the_default(self, shares: int, weight: int) -> None:
        assert cpu_weight(shares) == weight

    @given(st.integers(2, 262143))
    def test_more_shares_never_weigh_less(self, shares: int) -> None:
        assert 1 <= cpu_weight(shares) <= cpu_weight(shares + 1) <= 10000

    @pytest.mark.parametrize(("weight", "io"), [(10, 1), (1000, 10000), (100, 910)])
    def test_block_io_weights(self, weight: int, io: int) -> None:
        assert io_weight(weight) == io

    @pytest.mark.parametrize(
        ("limit", "swap", "expected"),
        [(100, 150, 50), (100, 100, 0), (100, -1, -1), (-1, -1, -1), (-1, None, -1), (100, None, None), (None, -1, -1)],
    )
    def test_swap_alone(self, limit: int | None, swap: int | None, expected: int | None) -> None:
        assert swap_limit(limit, swap) == expected

    def test_swap_without_memory_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="needs a limit of memory"):
            swap_limit(None, 100)


ENTRIES = st.lists(
    st.builds(
        DeviceAccess,
        st.booleans(),
        st.sampled_from("abc"),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, 1, 2]),
        st.sets(st.sampled_from("rwm"), min_size=1).map("".join),
    ),
    max_size=6,
)


def decides(devices: DeviceList, kind: str, major: int, minor: int, letter: str) -> bool:
    """What a list answers for one kind of access to one device."""
    for rule in devices.exceptions:
        if rule.kind == kind and rule.major in (None, major) and rule.minor in (None, minor) and letter in rule.access:
            return not devices.allow_by_default
    return devices.allow_by_default


def last_match(entries: list[DeviceAccess], kind: str, major: int, minor: int, letter: str) -> bool:
    """What whoever wrote the entries meant: the last one that fits decides, and nothing is allowed without."""
    fitting = [
        entry.allow
        for entry in entries
        if entry.kind in ("a", kind) and entry.major in (None, major) and entry.minor in (None, minor)
        if letter in entry.access
    ]
    return fitting[-1] if fitting else False


class TestDevices:
    @given(
        ENTRIES, st.sampled_from("bc"), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 3]), st.sampled_from("rwm")
    )
    def test_a_list_is_refused_or_its_last_fitting_entry_decides(
        self, entries: list[DeviceAccess], kind: str, major: int, minor: int, letter: str
    ) -> None:
        try:
            devices = DeviceList.of(entries)
        except InvalidInput:
            return
        assert decides(devices, kind, major, minor, letter) == last_match(entries, kind, major, minor, letter)

    def test_dockers_default_list_denies_all_but_the_harmless(self) -> None:
        entries = [DeviceAccess(False), DeviceAccess(True, "c", None, None, "m"), DeviceAccess(True, "c", 1, 3)]
        devices = DeviceList.of(entries)
        assert not devices.allow_by_default
        assert decides(devices, "c", 1, 3, "w")
        assert not decides(devices, "c", 1, 1, "r")
        assert decides(devices, "c", 1, 1, "m")

    def test_access_to_one_device_adds_up_and_is_taken_away(self) -> None:
        entries = [
            DeviceAccess(True, "c", 1, 3, "r"),
            DeviceAccess(True, "c", 1, 3, "wm"),
            DeviceAccess(False, "c", 1, 3, "w"),
        ]
        assert [rule.access for rule in DeviceList.of(entries).exceptions] == ["rm"]

    def test_a_hole_in_a_wider_exception_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="'c 1:3 w' would make a hole in the wider"):
            DeviceList.of([DeviceAccess(True, "c", 1, None), DeviceAccess(False, "c", 1, 3, "w")])


class TestMounts:
    def test_version_2_alone(self) -> None:
        files = FakeFiles(2)
        files._values["/sys/fs/cgroup/cgroup.controllers"] = "cpu memory"
        assert find(V2_MOUNT, files) == (2, {}, "/sys/fs/cgroup")

    def test_hybrid_has_its_controllers_in_version_1(self) -> None:
        files = FakeFiles(2)
        files._values["/sys/fs/cgroup/unified/cgroup.controllers"] = ""
        text = "\n".join(
            [
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
                "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct",
                "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
                r"34 31 0:31 / /sys/fs/cgroup/a\040b rw - cgroup systemd rw,xattr,name=systemd",
                "35 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
            ]
        )
        found = find(text, files)
        assert found.version == 1
        assert found.v1 == {
            "cpu": "/sys/fs/cgroup/cpu,cpuacct",
            "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
            "memory": "/sys/fs/cgroup/memory",
            "name=systemd": "/sys/fs/cgroup/a b",
        }

    def test_a_lone_version_1_controller_beside_version_2_changes_nothing(self) -> None:
        files = FakeFiles(2)
        files._values["/sys/fs/cgroup/cgroup.controllers"] = "cpu memory pids"
        text = V2_MOUNT + "\n40 23 0:44 / /opt/vpn/net_cls rw - cgroup net_cls rw,net_cls"
        assert find(text, files).version == 2

    def test_no_mount_at_all_says_what_to_do(self) -> None:
        with pytest.raises(Unsupported, match="mount -t cgroup2"):
            find("22 27 0:21 / /proc rw,relatime - proc proc rw", FakeFiles(2))


class TestCounters:
    def directory(self, version: int, **files: str) -> Directory:
        fake = FakeFiles(version)
        fake._directories.add("/x")
        fake._values |= {f"/x/{name.replace('__', '.')}": text for name, text in files.items()}
        return Directory(fake, "/x")

    def test_of_version_1(self) -> None:
        directory = self.directory(
            1,
            cpuacct__usage_percpu="500 400 ",
            cpuacct__usage_all="cpu user system\n0 350 150\n1 250 150",
            cpu__stat="nr_periods 5\nnr_throttled 2\nthrottled_time 77",
            memory__usage_in_bytes="100",
            memory__max_usage_in_bytes="120",
            memory__limit_in_bytes=str((1 << 63) - 4096),
            memory__memsw__usage_in_bytes="130",
            memory__failcnt="3",
            memory__stat="cache 60\nrss 40\nhierarchical_memory_limit 9223372036854771712",
            memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 4",
            pids__current="6",
            pids__max="max",
            blkio__throttle__io_service_bytes_recursive="8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30",
            blkio__throttle__io_serviced_recursive="8:0 Read 1",
            blkio__bfq__io_service_bytes_recursive="Total 0",
        )
        found = v1_statistics.read(lambda _: directory)
        assert found.cpu == (900, 600, 300, (500, 400), 5, 2, 77)
        assert found.memory[:5] == (100, 120, None, 3, 30)
        assert found.memory.details["cache"] == 60
        assert found.pids == (6, None)
        assert found.oom_kills == 4
        assert found.io_bytes[:2] == (IoCount(8, 0, "read", 10), IoCount(8, 0, "write", 20))
        assert found.io_operations == (IoCount(8, 0, "read", 1),)

    def test_of_version_2(self) -> None:
        directory = self.directory(
            2,
            cpu__stat="usage_usec 9\nuser_usec 6\nsystem_usec 3\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7",
            memory__current="100",
            memory__peak="120",
            memory__max="4096",
            memory__swap__current="30",
            memory__events="low 0\nhigh 0\nmax 3\noom 1\noom_kill 4",
            memory__stat="anon 40\nfile 60",
            pids__current="6",
            pids__max="9",
            io__stat="8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:0 ",
        )
        found = v2_statistics.read(directory)
        assert found.cpu == (9000, 6000, 3000, (), 5, 2, 7000)
        assert found.memory[:5] == (100, 120, 4096, 3, 30)
        assert found.pids == (6, 9)
        assert found.oom_kills == 4
        assert IoCount(8, 0, "write", 20) in found.io_bytes
        assert IoCount(8, 0, "read", 1) in found.io_operations

    def test_of_missing_controllers_are_zero(self) -> None:
        assert v1_statistics.read(lambda _: None).memory.usage == 0
        assert v2_statistics.read(self.directory(2)).pids == (0, None)
