"""Cgroups of this machine, of whichever version: the common contract, and that limits really limit."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cgroup_conformance import MIB, Child, Conformance, child, limited  # noqa: F401  a fixture
from support.children import in_child, need, need_root
from support.fake_cgroups import V1_CORE, V1_FILES, V2_CORE, V2_FILES
from wherry.errors import NotFound
from wherry.linux import process
from wherry.runtime import cgroups
from wherry.runtime.cgroups import Cgroup, Resources
from wherry.runtime.cgroups.kept_files import KeptFiles


class MachineGround:
    """See :class:`cgroup_conformance.Ground`."""

    def __init__(self) -> None:
        self.top = cgroups.open(f"/wherry-test-{os.getpid()}")

    def group(self, name: str) -> Cgroup:
        return cgroups.open(f"{self.top.path}/{name}")

    def value(self, group: Cgroup, v1: tuple[str, str], v2: str) -> str:
        path = Path(group.paths()[v1[0]], v1[1]) if group.version == 1 else Path(group.paths()[""], v2)
        return path.read_text().strip()


@pytest.fixture
def ground() -> Iterator[MachineGround]:
    need_root()
    made = MachineGround()
    yield made
    made.top.kill_all()
    made.top.destroy()


def inside(group: Cgroup, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a program that is in the cgroup from its first instruction."""
    return subprocess.run(
        command, preexec_fn=lambda: group.add(os.getpid()), capture_output=True, check=False, timeout=60
    )


class TestContract(Conformance):
    """The common contract."""


def test_the_fakes_files_are_the_kernels(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(Resources())
    if group.version == 1:
        for controller, path in group.paths().items():
            assert set(V1_FILES.get(controller, {})) | set(V1_CORE) <= set(os.listdir(path)) | {"cpuset.mems"}
    else:
        expected = set(V2_CORE).union(*V2_FILES.values())
        assert expected <= set(os.listdir(group.paths()[""]))


FORK_UNTIL_REFUSED = """
import os
reader, writer = os.pipe()
children = 0
try:
    while True:
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent ends
            os._exit(0)
        children += 1
except BlockingIOError:
    print(children)
"""


def test_more_processes_than_the_limit_are_refused(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(limited(pids={"limit": 3}))
    assert inside(group, [sys.executable, "-c", FORK_UNTIL_REFUSED]).stdout == b"2\n"
    group.kill_all()


def test_a_fork_bomb_is_killed_to_the_last_process(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(limited(pids={"limit": 60}))
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    with subprocess.Popen([sys.executable, "-c", bomb], preexec_fn=lambda: group.add(os.getpid())) as first:  # noqa: PLW1509
        deadline = time.monotonic() + 30
        while len(group.pids()) < 50:
            assert time.monotonic() < deadline
        group.kill_all()
        assert first.wait() == -9
    assert group.pids() == []


def test_lack_of_memory_kills_is_counted_and_announced(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(limited(memory={"limit": 32 * MIB, "swap": 32 * MIB}))
    watch = group.oom_events()
    poll = select.epoll()
    poll.register(watch.fd.fileno(), watch.events)
    with watch.fd, poll:
        assert poll.poll(0) == []
        assert inside(group, [sys.executable, "-c", "b = bytearray(200 << 20)"]).returncode == -9
        assert poll.poll(60)
        watch.acknowledge()
        for _ in range(10):  # version 2 says it once more, up to 10 ms later, when several things happen at once
            if not poll.poll(0.5):
                break
            watch.acknowledge()
        assert poll.poll(0) == []
    assert group.oom_count() == group.statistics().oom_kills == 1


def test_a_quota_throttles(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(limited(cpu={"quota": 10_000, "period": 100_000}))
    loop = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass"
    inside(group, [sys.executable, "-I", "-S", "-c", loop])
    found = group.statistics().cpu
    assert found.throttled_periods > 0
    assert found.usage > 0
    assert found.throttled_time > 0
    assert abs(found.user + found.system - found.usage) < 60_000_000


def test_frozen_processes_really_stand_still(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(Resources())
    loop = "while True: pass"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", loop], preexec_fn=lambda: group.add(os.getpid())) as busy:  # noqa: PLW1509
        group.freeze()
        before = used(busy.pid)
        time.sleep(0.1)
        assert used(busy.pid) == before
        group.thaw()
        deadline = time.monotonic() + 30
        while used(busy.pid) == before:
            assert time.monotonic() < deadline
        group.kill_all()


def used(pid: int) -> int:
    """Processor time of a process, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_devices_that_are_not_allowed_cannot_be_opened(ground: MachineGround) -> None:
    group = ground.group("a")
    null = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
    group.create(limited(devices=[{"allow": False, "access": "rwm"}, null]))  # type: ignore[arg-type]
    assert inside(group, ["sh", "-c", "exec 3</dev/null"]).returncode == 0
    assert inside(group, ["sh", "-c", "exec 3</dev/zero"]).returncode != 0
    zero = {**null, "minor": 5, "access": "r"}
    group.apply(limited(devices=[{"allow": False, "access": "rwm"}, null, zero]))  # type: ignore[arg-type]
    assert inside(group, ["sh", "-c", "exec 3</dev/zero"]).returncode == 0
    assert inside(group, ["sh", "-c", "exec 3<>/dev/zero"]).returncode != 0


def test_a_process_is_born_in_it(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(Resources())
    directory = group.open_dir_fd()
    if directory is None:
        assert group.version == 1
        return
    with directory:
        text = in_child(Path("/proc/self/cgroup").read_text, fork=lambda: process.clone(0, cgroup_fd=directory)[0])
    assert text.strip().endswith(group.path)


def test_a_cgroup_of_version_1_gets_its_parents_processors(ground: MachineGround, child: Child) -> None:  # noqa: F811
    group = ground.group("a/b")
    need(group.version == 1 and "cpuset" in group.paths(), "cpuset of cgroup version 1")
    group.create(Resources())
    group.add(child.pid)
    path = Path(group.paths()["cpuset"])
    top = Path(str(path)[: -len(group.path)] or "/")
    assert (path / "cpuset.cpus").read_text() == (top / "cpuset.cpus").read_text()


def test_a_process_enters_by_itself(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(Resources())
    report, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        group.enter()
        os.write(told, b"in" if group.pids() == [os.getpid()] else b"out")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(report, 10) == b"in"
    os.close(report)
    os.close(told)


def test_one_that_vanishes_meanwhile_is_not_found(ground: MachineGround) -> None:
    group = ground.group("a")
    group.create(Resources())
    group.destroy()
    with pytest.raises(NotFound):
        group.apply(limited(pids={"limit": 3}))


def test_what_the_machine_offers_can_be_used(ground: MachineGround) -> None:
    found = cgroups.features()
    assert found.version == ground.top.version
    group = ground.group("a")
    group.create(Resources())
    if found.swap:
        group.apply(limited(memory={"limit": 64 * MIB, "swap": 65 * MIB}))
    if found.cpuset:
        group.apply(limited(cpu={"cpus": "0"}))
    if found.freezer:
        group.freeze()
        group.thaw()


def test_files_that_stay_open_are_those_of_the_group_that_is_there(ground: MachineGround) -> None:
    before = os.listdir("/proc/self/fd")
    files = KeptFiles()
    group = ground.group("a")
    kept = cgroups.open(group.path, files)
    for time_of_its_life in ("first", "second, of another group with the same name"):
        group.create(Resources())
        assert kept.statistics().pids.current == 0, time_of_its_life
        opened = os.listdir("/proc/self/fd")
        with subprocess.Popen(["sleep", "600"]) as sleeping:
            group.add(sleeping.pid)
            assert kept.statistics().pids.current == 1, time_of_its_life
            sleeping.kill()
        assert os.listdir("/proc/self/fd") == opened
        group.destroy()
        with pytest.raises(NotFound):
            kept.statistics()
    files.close()
    assert os.listdir("/proc/self/fd") == before
