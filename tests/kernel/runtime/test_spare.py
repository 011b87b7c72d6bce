"""A process that becomes a container is the same whether it was cloned for it or was waiting."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.needs import need
from support.runtime_harness import DOCKER_CAPABILITIES, Box, finish
from wherry.linux.mount import MNT_DETACH, mount, umount2
from wherry.linux.process import CLONE, pidfd_open, pidfd_send_signal, set_child_subreaper
from wherry.oci.runtime_spec import Mount, Seccomp, User
from wherry.runtime import cgroups
from wherry.runtime.compile.seccomp import default_profile
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.launch.child import prepare_child
from wherry.runtime.launch.prefork import MOST_KINDS, Prefork
from wherry.runtime.launch.spare import Handed
from wherry.runtime.plan import Plan
from wherry.runtime.steps.namespaces import AwaitParent

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.usefixtures("patient")]


@pytest.fixture(autouse=True)
def version_1() -> None:
    if cgroups.open("/wherry").version != 1:
        pytest.skip("on cgroup version 2 a process is born in its group, so there are no spares")


@pytest.fixture(params=["vfork server", "zygote"])
def prefork(request: pytest.FixtureRequest) -> Iterator[Prefork]:
    prefork = Prefork(vfork=request.param == "vfork server")
    yield prefork
    prefork.drain()


def plan_of(box: Box, command: str | list[str], **changes: object) -> Plan:
    spec = box.spec(command, **changes)
    return Plan.decode(compile_spec(spec, container_id=f"spare{os.urandom(4).hex()}").encode())


def make_ready(box: Box, prefork: Prefork) -> int:
    """Start something, so that the next of its kind is prepared; returns the process that waits."""
    assert finish(plan_of(box, "true"), prefork).status == 0
    prefork.fill()
    (spare,) = prefork.spares
    return spare.pid


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def handed(fd: int) -> Handed:
    return Handed((fd, fd, fd), None, (), None)


def cloners(prefork: Prefork) -> tuple[int, ...]:
    """What clones the children."""
    assert prefork.source is not None
    return prefork.source.pids


def on_the_hosts_network(plan: Plan) -> Plan:
    """Another kind: what a start on a network is born into."""
    return plan._replace(namespaces=plan.namespaces & ~CLONE.NEWNET)


def test_a_waiting_process_becomes_the_container(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    result = finish(plan_of(box, "echo out; echo err >&2; echo $$; hostname; exit 3"), prefork)
    assert (result.out.splitlines()[:2], result.err, result.status) == (["out", "1"], "err\n", 3)
    assert not prefork.spares


@pytest.mark.parametrize("user", [User(), User(uid=1000, gid=100, additional_gids=(44,))], ids=["root", "ann"])
@pytest.mark.parametrize("no_new_privileges", [False, True], ids=["", "no new privileges"])
def test_it_is_what_a_process_that_was_cloned_for_the_plan_is(
    box: Box, prefork: Prefork, user: User, no_new_privileges: bool
) -> None:
    look = (
        "grep -E '^(Umask|Uid|Gid|Groups|Sig[PBIC]|Shd|Cap|NoNew|Seccomp|Cpus|PPid|NSpid|Threads)' /proc/self/status;"
        "cat /proc/self/limits /proc/self/oom_score_adj; env | sort; pwd; ls /proc/self/fd; ls /proc; ps;"
        "grep -c 10000000 /proc/self/maps; readlink /proc/self/fd/3; exit 5"
    )
    changes = {
        "process": {"user": user, "no_new_privileges": no_new_privileges},
        "linux": {"seccomp": msgspec.convert(default_profile(DOCKER_CAPABILITIES), Seccomp)},
    }
    make_ready(box, prefork)
    cold, warm = finish(plan_of(box, look, **changes)), finish(plan_of(box, look, **changes), prefork)
    assert not prefork.spares, "it was the spare"
    assert cold.status == 5
    assert "Seccomp:\t2" in cold.out
    assert warm == cold


def test_a_tmpfs_that_is_filled_counts_for_the_container(box: Box, prefork: Prefork) -> None:
    box.write("data/big", "x" * (4 << 20))
    mounts = [
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=("ro",)),
        Mount(destination="/data", type="tmpfs", source="tmpfs", options=("tmpcopyup",)),
    ]
    make_ready(box, prefork)
    found = finish(plan_of(box, "cat /sys/fs/cgroup/memory/memory.usage_in_bytes", mounts=mounts), prefork)
    assert int(found.out) > 4 << 20, found


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
    assert not prefork.spares, "it was the spare that failed"


def test_one_with_other_namespaces_is_cloned_for_itself(box: Box, prefork: Prefork) -> None:
    pid = make_ready(box, prefork)
    assert finish(on_the_hosts_network(plan_of(box, "ls /sys/class/net")), prefork).status == 0
    assert [spare.pid for spare in prefork.spares] == [pid]


def test_each_kind_of_start_has_a_spare_of_its_own(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    inside = "readlink /proc/self/ns/net"
    assert finish(on_the_hosts_network(plan_of(box, inside)), prefork).status == 0
    prefork.fill()
    of_two_kinds = {spare.pid for spare in prefork.spares}
    assert len(of_two_kinds) == 2
    hosts = os.readlink("/proc/self/ns/net")
    for _ in range(2):
        assert finish(plan_of(box, inside), prefork).out.strip() != hosts
        assert finish(on_the_hosts_network(plan_of(box, inside)), prefork).out.strip() == hosts
        assert not of_two_kinds & {spare.pid for spare in prefork.spares}, "both were taken"
        prefork.fill()


def test_only_so_many_kinds_are_kept_those_that_were_started_last(box: Box, prefork: Prefork) -> None:
    before = children()
    plan = plan_of(box, "true")
    kinds = (CLONE.NEWNET, CLONE.NEWIPC, CLONE.NEWUTS, CLONE.NEWIPC | CLONE.NEWUTS)
    for left_out in (CLONE(0), *kinds):
        kind = plan._replace(namespaces=plan.namespaces & ~left_out)
        prefork.note(kind, kind.encode())
        prefork.fill()
    last = prefork.spares
    assert len(last) == MOST_KINDS
    assert children() - before == {spare.pid for spare in last} | set(cloners(prefork))
    assert finish(plan_of(box, "echo no spare"), prefork).out == "no spare\n"
    assert prefork.spares == last[1:], "it is of a kind that was not among the last ones, and is now"


def test_a_spare_that_was_killed_is_replaced_by_a_clone(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    (spare,) = prefork.spares
    pidfd_send_signal(spare.pidfd, 9)
    assert select.select([spare.channel], [], [], 10)[0]  # what it had not taken yet goes with its server
    assert finish(plan_of(box, "echo fine"), prefork).out == "fine\n"


def test_a_child_that_was_killed_on_its_way_is_the_end_of_that_start_only(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    plan = plan_of(box, "true")
    stuck = plan._replace(steps=tuple(step for step in plan.steps if not isinstance(step, AwaitParent)))
    with open(os.devnull, "r+b") as null:
        spare = prefork.take(stuck, stuck._replace(steps=(AwaitParent(),)).encode(), handed(null.fileno()))
    assert spare is not None
    spare.end()
    for _ in range(2):
        prefork.fill()
        assert finish(plan_of(box, "echo fine"), prefork).out == "fine\n"


def test_what_clones_and_what_waits_end_with_the_keeper(box: Box) -> None:
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        try:
            prefork = Prefork()
            spare = make_ready(box, prefork)
            os.write(writing, " ".join(map(str, (spare, *cloners(prefork)))).encode())
            signal.pause()
        finally:
            os._exit(1)
    set_child_subreaper(True)
    try:
        pids = [int(pid) for pid in os.read(reading, 100).split()]
        assert len(pids) == 2
        pidfds = [pidfd_open(pid) for pid in pids]
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
        for pidfd in pidfds:
            assert select.select([pidfd], [], [], 10)[0]
            os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED)
    finally:
        set_child_subreaper(False)
        os.close(reading)
        os.close(writing)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_who_waits_is_a_child_of_the_keeper(box: Box, prefork: Prefork) -> None:
    pid = make_ready(box, prefork)
    assert {parent(each) for each in (pid, *cloners(prefork))} == {os.getpid()}


def test_one_process_clones_for_start_after_start(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    (first,) = cloners(prefork)
    for _ in range(3):
        make_ready(box, prefork)
    assert cloners(prefork)[0] == first, "there may be others: one that is still with its child is not asked"


def test_what_clones_is_replaced_when_it_was_killed(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    (killed,) = cloners(prefork)
    with pidfd_open(killed) as pidfd:
        pidfd_send_signal(pidfd, 9)
        select.select([pidfd], [], [], 10)
    assert finish(plan_of(box, "echo with the spare"), prefork).out == "with the spare\n"
    prefork.fill()
    assert finish(plan_of(box, "echo without"), prefork).out == "without\n"
    make_ready(box, prefork)
    assert killed not in cloners(prefork)


def test_a_container_with_a_long_passwd_file_leaves_no_large_server(box: Box) -> None:
    prefork = Prefork()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests have freed is resident, so that a server could use it
    try:
        make_ready(box, prefork)
        before = set(cloners(prefork))
        make_ready(box, prefork)
        assert before <= set(cloners(prefork))
        before = set(cloners(prefork))
        box.write("etc/passwd", "#" * (15 << 20))
        make_ready(box, prefork)
        assert before - set(cloners(prefork))
    finally:
        prefork.drain()


def test_a_process_on_its_way_into_a_container_imports_nothing_from_there() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            prepare_child((null, null, null, null), ())
            import antigravity  # noqa: F401, PLC0415 - nobody else imports it
        except ImportError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_start_without_a_spare_is_cloned_by_what_clones_spares(box: Box, prefork: Prefork) -> None:
    make_ready(box, prefork)
    one, other = plan_of(box, "echo $PPID"), plan_of(box, "true")
    assert finish(one, prefork).status == 0
    with open(os.devnull, "r+b") as null:
        spare = prefork.take(other, other.encode(), handed(null.fileno()))
    assert spare is not None, "it was not waited for the next filling"
    spare.end()


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
