"""The keeper with what only root has: containers made by the runtime, and a disk that is really full."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from machine import static_busybox
from support.children import need, need_root
from support.keeper_conformance import CHECKS, Check, run
from support.plain_keeper import Daemon, RunningKeeper, text_of
from wherry.engine.keeper.connection import KeeperConnection
from wherry.engine.lifecycle.start import plan_memfd
from wherry.keeper.client import start_keeper
from wherry.keeper.log_reader import LogReader
from wherry.keeper.loop import UNEXPECTED
from wherry.keeper.records import NOTE
from wherry.linux.fd import Fd
from wherry.linux.mount import MNT_DETACH, mount, umount2
from wherry.linux.process import pidfd_open
from wherry.oci import runtime_spec
from wherry.runtime import cgroups
from wherry.runtime.compile.exec import ContainerState, compile_exec
from wherry.runtime.compile.spec import compile_spec


@pytest.fixture(autouse=True)
def root() -> None:
    need_root()


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("tmpfs", disk, "tmpfs", 0, "size=1m")
    yield disk
    umount2(disk, MNT_DETACH)


@pytest.fixture
def plain_keeper(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "run").mkdir()
    keeper = RunningKeeper(tmp_path / "run")
    keeper.start()
    daemon = Daemon(tmp_path / "run")
    yield daemon
    daemon.close()
    keeper.stop()


WANTED = b"".join(b"%d\n" % number for number in range(1, 400_001))


def test_a_container_waits_while_the_disk_is_full_and_nothing_is_lost(plain_keeper: Daemon, small_disk: Path) -> None:
    plain_keeper.launch("c", ["seq", "1", "400000"], small_disk / "log")
    wait_until_full(small_disk)
    before = text_of(small_disk / "log")
    assert WANTED.startswith(before)
    assert len(before) > 500_000
    assert not plain_keeper.client.receive(), "it has not ended: it waits in write(2)"
    mount(None, small_disk, None, 32, "size=16m")  # MS_REMOUNT
    assert plain_keeper.event("exited").fields["status"] == 0
    assert text_of(small_disk / "log") == WANTED


def test_a_container_that_must_not_block_goes_on_and_the_log_says_what_is_missing(
    plain_keeper: Daemon, small_disk: Path
) -> None:
    script = "seq 1 400000; touch {0}/said; while [ ! -e {0}/room ]; do sleep 0.01; done; echo end"
    argv = ["sh", "-c", script.format(small_disk.parent)]
    plain_keeper.launch("c", argv, small_disk / "log", limits={"blocking": False})
    wait_until((small_disk.parent / "said").exists)
    mount(None, small_disk, None, 32, "size=16m")
    (small_disk.parent / "room").touch()
    assert plain_keeper.event("exited").fields["status"] == 0
    chunks = list(LogReader(small_disk / "log").chunks())
    dropped = sum(chunk.dropped for chunk in chunks if chunk.stream == NOTE)
    stored = b"".join(bytes(chunk.data) for chunk in chunks)
    assert dropped > 0
    assert len(stored) + dropped == len(WANTED) + len(b"end\n")
    assert stored.endswith(b"end\n")


def test_a_full_disk_delays_the_report_of_an_exit_until_there_is_room(plain_keeper: Daemon, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(1024 * 1024 - 8192))
    plain_keeper.launch("c", ["sh", "-c", "seq 1 10000; exit 3"], small_disk / "log")
    time.sleep(0.3)
    assert not plain_keeper.client.receive()
    (small_disk / "filler").unlink()
    assert plain_keeper.event("exited").fields["status"] == 3
    assert text_of(small_disk / "log") == b"".join(b"%d\n" % number for number in range(1, 10_001))


def wait_until_full(disk: Path) -> None:
    wait_until(lambda: os.statvfs(disk).f_bavail <= 70)  # a block of the log is 64 pages; less does not fit
    time.sleep(0.1)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- containers -------------------------------------------------------------------------------------------------------


class Containers:
    """A keeper as the daemon starts it, and containers of busybox."""

    def __init__(self, root: Path) -> None:
        self.root = root
        busybox = static_busybox()
        need(busybox is not None, "a static busybox")
        (root / "rootfs/bin").mkdir(parents=True)
        for name in ("proc", "dev", "sys", "tmp"):
            (root / "rootfs" / name).mkdir()
        shutil.copy(str(busybox), root / "rootfs/bin/busybox")
        for name in ("sh", "cat", "echo", "sleep", "seq", "tty", "stty", "kill", "ls", "true", "dd"):
            (root / "rootfs/bin" / name).symlink_to("busybox")
        (root / "run").mkdir()
        start_keeper(root / "run")
        self.daemon = Daemon(root / "run")

    def spec(self, argv: list[str], **process: Any) -> dict[str, Any]:
        kinds = ("pid", "mount", "ipc", "uts", "network")
        return {
            "ociVersion": "1.2.0",
            "root": {"path": str(self.root / "rootfs")},
            "process": {"args": argv, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], **process},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in kinds],
                "cgroupsPath": f"/wherry-test-keeper-{os.getpid()}/c",
                "resources": {"memory": {"limit": 64 * 1024 * 1024, "swap": 64 * 1024 * 1024}},
            },
        }

    def start(self, argv: list[str], *, stdin: bool = False, **process: Any) -> Any:
        spec = runtime_spec.decode(json.dumps(self.spec(argv, **process)).encode())
        plan = compile_spec(spec, container_id="c").encode()
        return self.launch("c", plan, kind="container", stdin=stdin, terminal=process.get("terminal", False))

    def launch(self, key: str, plan: bytes, fds: list[int] | None = None, **more: Any) -> Any:
        log = {"dir": str(self.root / "log")} if more["kind"] == "container" else None
        memfd = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            os.write(memfd, plan)
            return self.daemon.ask("launch", {"key": key, "container": "c", "log": log, **more}, [memfd, *(fds or [])])
        finally:
            os.close(memfd)

    def close(self) -> None:
        for record in (self.root / "run/containers").glob("*/process.json"):
            pid = json.loads(record.read_text())["pid"]
            if Path(f"/proc/{pid}").exists() and not record.with_name("exit.json").exists():
                os.kill(pid, signal.SIGKILL)
                self.daemon.event("exited", "c")
        with pidfd_open(int((self.root / "run/keeper.pid").read_text())) as keeper:
            self.daemon.ask("shutdown")
            self.daemon.close()
            assert select.select([keeper], [], [], 20)[0], "the keeper does not end"
        group = cgroups.open(f"/wherry-test-keeper-{os.getpid()}/c")
        group.destroy()
        cgroups.open(f"/wherry-test-keeper-{os.getpid()}").destroy()


@pytest.fixture
def containers() -> Iterator[Containers]:
    directory = Path(tempfile.mkdtemp(prefix="wherry-keeper-", dir="/var/tmp"))
    containers = Containers(directory)
    yield containers
    containers.close()
    assert UNEXPECTED not in (directory / "run/keeper.log").read_text()
    shutil.rmtree(directory)


@pytest.fixture
def unanswering(tmp_path: Path) -> Iterator[Path]:
    """A file system that somebody serves who never answers."""
    need(os.path.exists("/dev/fuse"), "FUSE")
    place = tmp_path / "fuse"
    place.mkdir()
    with open("/dev/fuse", "r+b", buffering=0) as server:
        mount("fuse", place, "fuse", 0, f"fd={server.fileno()},rootmode=40000,user_id=0,group_id=0,allow_other")
        try:
            yield place
        finally:
            umount2(place, MNT_DETACH)


def test_a_container_runs_and_its_output_is_in_the_log(containers: Containers) -> None:
    answer = containers.start(["sh", "-c", "echo $$; echo err >&2; exit 7"])
    assert "error" not in answer.fields, answer.fields
    ended = containers.daemon.event("exited").fields
    assert ended["status"] == 7
    assert not ended.get("oom")
    assert text_of(containers.root / "log", 1) == b"1\n"
    assert text_of(containers.root / "log", 2) == b"err\n"


def test_a_command_that_is_not_in_the_container_is_an_error(containers: Containers) -> None:
    error = containers.start(["nothing"]).fields["error"]
    assert error["kind"] == "command-not-found"
    assert os.listdir(containers.root / "run/containers/c") == []


def test_standard_input_and_a_terminal_work(containers: Containers) -> None:
    answer = containers.start(["sh", "-c", "tty; stty size; read x; echo got $x"], terminal=True)
    assert "error" not in answer.fields, answer.fields
    os.write(answer.fds[1], b"hello\n")
    assert containers.daemon.event("exited").fields["status"] == 0
    assert b"got hello\r\n" in text_of(containers.root / "log")
    for fd in answer.fds:
        os.close(fd)


def test_an_exec_runs_in_the_container(containers: Containers) -> None:
    answer = containers.start(["cat"], stdin=True)
    assert "error" not in answer.fields, answer.fields
    spec = runtime_spec.decode(json.dumps(containers.spec(["ls", "/proc/self/fd"])).encode())
    state = ContainerState("c", answer.fields["pid"], answer.fields["birth"], spec)
    assert spec.process is not None
    null = os.open(os.devnull, os.O_RDWR)
    end, other = os.pipe()
    executed = containers.launch(
        "e", compile_exec(spec.process, state=state).encode(), [null, other, other], kind="exec"
    )
    os.close(other)
    assert "error" not in executed.fields, executed.fields
    with os.fdopen(end, "rb") as pipe:
        assert pipe.read().split() == [b"0", b"1", b"2", b"3"]
    assert containers.daemon.event("exited", "e").fields["status"] == 0
    containers.daemon.ask("close-stdin", {"key": "c"})
    assert containers.daemon.event("exited", "c").fields["status"] == 0
    os.close(null)
    for fd in answer.fds + executed.fds:
        os.close(fd)


def test_running_out_of_memory_is_told(containers: Containers) -> None:
    answer = containers.start(["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"])
    assert "error" not in answer.fields, answer.fields
    ended = containers.daemon.event("exited").fields
    assert (ended["status"], ended["oom"]) == (137, True)


def test_a_container_survives_the_keepers_replacement(containers: Containers) -> None:
    answer = containers.start(["sh", "-c", "read x; echo $x; exit 4"], stdin=True)
    assert containers.daemon.ask("upgrade").fields["event"] == "ready"
    with (containers.root / "run/containers/c/stdin").open("w") as fifo:
        fifo.write("after\n")
    assert select.select([answer.fds[0]], [], [], 10)[0]
    assert containers.daemon.event("exited").fields["status"] == 4
    assert text_of(containers.root / "log") == b"after\n"
    os.close(answer.fds[0])


def test_what_a_container_holds_up_does_not_hold_up_the_keepers_replacement(containers: Containers) -> None:
    """Here the container is frozen; it could as well stop, or trace, what comes into it."""
    answer = containers.start(["cat"], stdin=True)
    spec = runtime_spec.decode(json.dumps(containers.spec(["true"])).encode())
    state = ContainerState("c", answer.fields["pid"], answer.fields["birth"], spec)
    assert spec.process is not None
    group = cgroups.open(f"/wherry-test-keeper-{os.getpid()}/c")
    group.freeze()
    memfd, null = os.memfd_create("plan"), os.open(os.devnull, os.O_RDWR)
    try:
        os.write(memfd, compile_exec(spec.process, state=state).encode())
        fields = {"key": "e", "container": "c", "kind": "exec", "terminal": False, "stdin": False, "log": None}
        held_up = containers.daemon.client.request("launch", fields, [memfd, null, null, null])
        assert containers.daemon.ask("upgrade").fields["event"] == "ready"
        told = containers.daemon.until(lambda message: message.fields.get("re") == held_up).fields
        assert told["error"]["text"] == "the container holds the new process up"
    finally:
        group.thaw()
        os.close(memfd)
        os.close(null)
    containers.daemon.ask("close-stdin", {"key": "c"})
    assert containers.daemon.event("exited", "c").fields["status"] == 0
    os.close(answer.fds[0])


@pytest.mark.parametrize("remap", [False, True])
def test_a_file_system_that_does_not_answer_holds_up_its_container_only(
    containers: Containers, unanswering: Path, *, remap: bool
) -> None:
    spec = containers.spec(["true"])
    spec["mounts"].append(
        {"destination": "/tmp", "type": "bind", "source": str(unanswering / "x"), "options": ["rbind"]}
    )
    if remap:
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        spec["linux"] |= {"uidMappings": maps, "gidMappings": maps}
        spec["linux"]["namespaces"].append({"type": "user"})
    plan = compile_spec(runtime_spec.decode(json.dumps(spec).encode()), container_id="c").encode()
    memfd = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        os.write(memfd, plan)
        fields = {"key": "c", "container": "c", "kind": "container", "log": {"dir": str(containers.root / "log")}}
        held_up = containers.daemon.client.request("launch", fields, [memfd])
        assert "held" not in containers.daemon.ask("kept", {"name": "nothing"}).fields, "the keeper goes on"
        assert containers.daemon.ask("upgrade").fields["event"] == "ready"
        told = containers.daemon.until(lambda message: message.fields.get("re") == held_up).fields
        assert told["error"]["step"] == "prepare the container"
        assert "does not answer" in told["error"]["text"]
    finally:
        os.close(memfd)


# --- what the engine relies on ----------------------------------------------------------------------------------------


class Runtime:
    """The keeper that starts containers."""

    def __init__(self, containers: Containers) -> None:
        self._containers, self.exec_root = containers, containers.root / "run"

    def connection(self) -> KeeperConnection:
        return KeeperConnection(self.exec_root)

    def plan(self, argv: list[str]) -> Fd:
        spec = runtime_spec.decode(json.dumps(self._containers.spec(argv)).encode())
        return plan_memfd("c", compile_spec(spec, container_id="c"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_keeper_of_containers_does_what_the_engine_relies_on(containers: Containers, check: Check) -> None:
    run(check, Runtime(containers))
    containers.daemon.close()
    containers.daemon = Daemon(containers.root / "run")
