"""A process that becomes a container is the same whether it was cloned for it or was waiting."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_box import Box, finish

from needs import need
from wherry.linux.mount import MNT_DETACH, mount, umount2
from wherry.linux.process import pidfd_send_signal
from wherry.oci.runtime_spec import Mount
from wherry.runtime import cgroups, launch
from wherry.runtime.compile import compile_spec
from wherry.runtime.plan import Plan

pytestmark = need("root", "busybox", "overlay", "namespaces")


@pytest.fixture(autouse=True)
def version_1() -> None:
    if cgroups.open("/wherry").version != 1:
        pytest.skip("on cgroup version 2 a process is born in its group, so there are no spares")


@pytest.fixture
def warm() -> Iterator[launch.Warm]:
    warm = launch.Warm()
    yield warm
    warm.down()


def plan_of(box: Box, command: str | list[str], **changes: object) -> Plan:
    spec = box.spec(command, **changes)
    return Plan.decode(compile_spec(spec, container_id=f"spare{os.urandom(4).hex()}").encode())


def make_ready(box: Box, warm: launch.Warm) -> int:
    """Start something, so that the next of its kind is prepared; returns the process that waits."""
    assert finish(plan_of(box, "true"), warm).status == 0
    warm.up()
    assert warm.spare is not None
    return warm.spare.pid


def test_a_waiting_process_becomes_the_container(box: Box, warm: launch.Warm) -> None:
    make_ready(box, warm)
    result = finish(plan_of(box, "echo out; echo err >&2; echo $$; hostname; exit 3"), warm)
    assert (result.out.splitlines()[:2], result.err, result.status) == (["out", "1"], "err\n", 3)
    assert warm.spare is None


def test_it_sees_what_the_host_has_mounted_since_it_was_cloned(box: Box, warm: launch.Warm, tmp_path: Path) -> None:
    place = tmp_path / "late"
    place.mkdir()
    make_ready(box, warm)
    mount("tmpfs", place, "tmpfs", 0, "size=64k")
    try:
        (place / "late").write_text("here")
        bind = Mount(destination="/mnt", source=str(place), type="bind", options=("bind",))
        assert finish(plan_of(box, "cat /mnt/late", mounts=[bind]), warm).out == "here"
    finally:
        umount2(place, MNT_DETACH)


def test_what_fails_is_told_as_by_any_other(box: Box, warm: launch.Warm) -> None:
    make_ready(box, warm)
    missing = plan_of(box, ["/no/such/program"])
    cold, hot = finish(missing), finish(missing, warm)
    assert hot.failure is not None
    assert cold.failure == hot.failure
    assert warm.spare is None, "it was the spare that failed"


def test_one_with_other_namespaces_is_cloned_for_itself(box: Box, warm: launch.Warm) -> None:
    pid = make_ready(box, warm)
    plan = plan_of(box, "ls /sys/class/net")
    joined = plan._replace(namespaces=plan.namespaces & ~0x40000000)  # CLONE_NEWNET
    assert finish(joined, warm).status == 0
    assert warm.spare is not None
    assert warm.spare.pid == pid


def test_a_spare_that_was_killed_is_replaced_by_a_clone(box: Box, warm: launch.Warm) -> None:
    make_ready(box, warm)
    assert warm.spare is not None
    pidfd_send_signal(warm.spare.pidfd, 9)
    select.select([warm.spare.pidfd], [], [], 10)
    assert finish(plan_of(box, "echo fine"), warm).out == "fine\n"


def test_a_spare_ends_with_the_keeper(box: Box, warm: launch.Warm) -> None:
    make_ready(box, warm)
    spare = warm.spare
    assert spare is not None
    spare.channel.close()  # as the kernel does when the keeper is killed
    assert select.select([spare.pidfd], [], [], 10)[0]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_who_waits_is_a_child_of_the_keeper_and_not_of_the_zygote(box: Box, warm: launch.Warm) -> None:
    pid = make_ready(box, warm)
    assert warm.zygote is not None
    assert (parent(pid), parent(warm.zygote.pid)) == (os.getpid(), os.getpid())


def test_one_zygote_clones_for_start_after_start(box: Box, warm: launch.Warm) -> None:
    make_ready(box, warm)
    first = warm.zygote
    assert first is not None
    for _ in range(3):
        make_ready(box, warm)
    assert warm.zygote is first


def test_a_zygote_that_was_killed_is_replaced(box: Box, warm: launch.Warm) -> None:
    make_ready(box, warm)
    killed = warm.zygote
    assert killed is not None
    pidfd_send_signal(killed.pidfd, 9)
    select.select([killed.pidfd], [], [], 10)
    assert finish(plan_of(box, "echo with the spare"), warm).out == "with the spare\n"
    warm.up()
    assert finish(plan_of(box, "echo without"), warm).out == "without\n"
    make_ready(box, warm)
    assert warm.zygote is not killed


def test_a_zygote_ends_with_the_keeper(box: Box, warm: launch.Warm) -> None:
    make_ready(box, warm)
    zygote = warm.zygote
    assert zygote is not None
    zygote.channel.shutdown(socket.SHUT_RDWR)  # as the kernel does when the keeper is killed
    assert select.select([zygote.pidfd], [], [], 10)[0]


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_nothing_is_left_when_it_is_let_go(box: Box, warm: launch.Warm) -> None:
    before = children()
    make_ready(box, warm)
    assert len(children() - before) == 2
    warm.down()
    assert children() == before


def test_nothing_is_left_when_it_is_let_go_before_it_was_there(box: Box, warm: launch.Warm) -> None:
    before = children()
    assert finish(plan_of(box, "true"), warm).status == 0
    warm.up()
    warm.down()
    assert children() == before
