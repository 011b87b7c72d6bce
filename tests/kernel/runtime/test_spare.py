"""A process that becomes a container is the same whether it was cloned for it or was waiting."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.runtime_harness import Box, finish
from wherry.linux.mount import MNT_DETACH, mount, umount2
from wherry.linux.process import pidfd_send_signal
from wherry.oci.runtime_spec import Mount
from wherry.runtime import cgroups
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.launch.prefork import Prefork
from wherry.runtime.plan import Plan

pytestmark = need("root", "busybox", "overlay", "namespaces")


@pytest.fixture(autouse=True)
def version_1() -> None:
    if cgroups.open("/wherry").version != 1:
        pytest.skip("on cgroup version 2 a process is born in its group, so there are no spares")


@pytest.fixture
def prefork() -> Iterator[Prefork]:
    prefork = Prefork()
    yield prefork
    prefork.drain()


def plan_of(box: Box, command: str | list[str], **changes: object) -> Plan:
    spec = box.spec(command, **changes)
    return Plan.decode(compile_spec(spec, container_id=f"spare{os.urandom(4).hex()}").encode())


def make_ready(box: Box, prefork: Prefork) -> int:
    """Start something, so that the next of its kind is prepared; returns the process that waits."""
    assert finish(plan_of(box, "true"), prefork).status == 0
    prefork.fill()
    assert prefork.spare is not None
    return prefork.spare.pid


def test_a_waiting_process_becomes_the_container(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    result = finish(plan_of(box, "echo out; echo err >&2; echo $$; hostname; exit 3"), prefork)
    assert (result.out.splitlines()[:2], result.err, result.status) == (["out", "1"], "err\n", 3)
    assert prefork.spare is None


def test_it_sees_what_the_host_has_mounted_since_it_was_cloned(box: Box, prefork: Prefork, tmp_path: Path) -> None:
    place = tmp_path / "late"
    place.mkdir()
    make_ready(box, prefork)
    mount("tmpfs", place, "tmpfs", 0, "size=64k")
    try:
        (place / "late").write_text("here")
        bind = Mount(destination="/mnt", source=str(place), type="bind", options=("bind",))
        assert finish(plan_of(box, "cat /mnt/late", mounts=[bind]), prefork).out == "here"
    finally:
        umount2(place, MNT_DETACH)


def test_what_fails_is_told_as_by_any_other(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    missing = plan_of(box, ["/no/such/program"])
    cold, hot = finish(missing), finish(missing, prefork)
    assert hot.failure is not None
    assert cold.failure == hot.failure
    assert prefork.spare is None, "it was the spare that failed"


def test_one_with_other_namespaces_is_cloned_for_itself(box: Box, prefork: Prefork) -> None:
    pid = make_ready(box, prefork)
    plan = plan_of(box, "ls /sys/class/net")
    joined = plan._replace(namespaces=plan.namespaces & ~0x40000000)  # CLONE_NEWNET
    assert finish(joined, prefork).status == 0
    assert prefork.spare is not None
    assert prefork.spare.pid == pid


def test_a_spare_that_was_killed_is_replaced_by_a_clone(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    assert prefork.spare is not None
    pidfd_send_signal(prefork.spare.pidfd, 9)
    select.select([prefork.spare.pidfd], [], [], 10)
    assert finish(plan_of(box, "echo fine"), prefork).out == "fine\n"


def test_a_spare_ends_with_the_keeper(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    spare = prefork.spare
    assert spare is not None
    spare.channel.close()  # as the kernel does when the keeper is killed
    assert select.select([spare.pidfd], [], [], 10)[0]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_who_waits_is_a_child_of_the_keeper_and_not_of_the_zygote(box: Box, prefork: Prefork) -> None:
    pid = make_ready(box, prefork)
    assert prefork.zygote is not None
    assert (parent(pid), parent(prefork.zygote.pid)) == (os.getpid(), os.getpid())


def test_one_zygote_clones_for_start_after_start(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    first = prefork.zygote
    assert first is not None
    for _ in range(3):
        make_ready(box, prefork)
    assert prefork.zygote is first


def test_a_zygote_that_was_killed_is_replaced(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    killed = prefork.zygote
    assert killed is not None
    pidfd_send_signal(killed.pidfd, 9)
    select.select([killed.pidfd], [], [], 10)
    assert finish(plan_of(box, "echo with the spare"), prefork).out == "with the spare\n"
    prefork.fill()
    assert finish(plan_of(box, "echo without"), prefork).out == "without\n"
    make_ready(box, prefork)
    assert prefork.zygote is not killed


def test_a_zygote_ends_with_the_keeper(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    zygote = prefork.zygote
    assert zygote is not None
    zygote.channel.shutdown(socket.SHUT_RDWR)  # as the kernel does when the keeper is killed
    assert select.select([zygote.pidfd], [], [], 10)[0]


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_nothing_is_left_when_it_is_let_go(box: Box, prefork: Prefork) -> None:
    before = children()
    make_ready(box, prefork)
    assert len(children() - before) == 2
    prefork.drain()
    assert children() == before


def test_nothing_is_left_when_it_is_let_go_before_it_was_there(box: Box, prefork: Prefork) -> None:
    before = children()
    assert finish(plan_of(box, "true"), prefork).status == 0
    prefork.fill()
    prefork.drain()
    assert children() == before
