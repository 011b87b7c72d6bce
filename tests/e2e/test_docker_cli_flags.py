"""The rarer flags of ``docker run``: what each promises is seen from inside, or felt."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiet import in_time
from support.daemons import Daemon, docker_environment
from support.needs import need, program

pytestmark = [need("root", "busybox", "docker"), pytest.mark.usefixtures("clean", "busybox")]

NONE = ("--network", "none")


def run(daemon: Daemon, *words: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return daemon.docker("run", "--rm", *NONE, *words, input=input)


def inside(daemon: Daemon, script: str, *flags: str) -> str:
    """What a script prints in a container that has these flags."""
    done = run(daemon, *flags, "busybox", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def started(daemon: Daemon, name: str, *words: str) -> str:
    daemon.docker("run", "-d", "--name", name, *NONE, *words, check=True)
    return name


# --- devices ------------------------------------------------------------------------------------------------

_KMSG = "mknod /k c 1 11 && { (: < /k) 2>/dev/null || echo no reading; (: >> /k) 2>/dev/null || echo no writing; }"


@pytest.mark.parametrize(
    ("rules", "shut"), [([], "no reading\nno writing"), (["c 1:11 w"], "no reading"), (["c *:* rwm"], "")]
)
def test_a_device_rule_opens_what_it_names_and_no_more(daemon: Daemon, rules: list[str], shut: str) -> None:
    flags = [word for rule in rules for word in ("--device-cgroup-rule", rule)]
    assert inside(daemon, _KMSG, *flags, "--cap-add", "SYSLOG") == shut


@pytest.fixture
def loop() -> Iterator[str]:
    """A loop device that nobody uses, with BFQ as its scheduler."""
    for number in range(7, -1, -1):
        queue = Path(f"/sys/block/loop{number}/queue/scheduler")
        device = f"/dev/loop{number}"
        if queue.exists() and not Path(f"/sys/block/loop{number}/loop").exists() and Path(device).is_block_device():
            break
    else:
        pytest.skip("this machine has no loop device that is free")
    if "bfq" not in queue.read_text():
        pytest.skip("this kernel has no BFQ scheduler, which has the weights of block I/O")
    before = queue.read_text().split("[")[1].split("]")[0]
    queue.write_text("bfq")
    yield device
    queue.write_text(before)


@pytest.mark.need("cgroup1")
def test_weights_of_block_io_are_set_in_general_and_for_a_disk(daemon: Daemon, loop: str) -> None:
    number = os.stat(loop).st_rdev
    files = "cat /sys/fs/cgroup/blkio/blkio.bfq.weight /sys/fs/cgroup/blkio/blkio.bfq.weight_device"
    shown = inside(daemon, files, "--blkio-weight", "321", "--blkio-weight-device", f"{loop}:654")
    assert shown.split() == ["321", "default", "321", f"{os.major(number)}:{os.minor(number)}", "654"]


def test_a_disk_without_weights_is_warned_of(daemon: Daemon, loop: str) -> None:
    Path(f"/sys/block/{Path(loop).name}/queue/scheduler").write_text("none")
    done = run(daemon, "--blkio-weight-device", f"{loop}:654", "busybox", "echo", "runs")
    assert (done.stdout, "Weight-device discarded." in done.stderr) == ("runs\n", True)


def _disk_of(path: Path) -> str:
    """The whole disk that a file is on."""
    number = os.stat(path).st_dev
    block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not block.exists():
        pytest.skip("the temporary directory is on no block device")
    block = block.resolve()
    disk = Path("/dev") / (block.parent.name if (block / "partition").exists() else block.name)
    if not disk.is_block_device():
        pytest.skip(f"there is no {disk}")
    return str(disk)


@pytest.mark.parametrize(("flag", "limit"), [("--device-write-bps", "2mb"), ("--device-write-iops", "32")])
def test_writing_to_a_disk_is_slowed_down(daemon: Daemon, tmp_path: Path, flag: str, limit: str) -> None:
    disk = _disk_of(tmp_path)
    writing = "dd if=/dev/zero of=/mnt/x bs=64k count=32 oflag=direct"
    if run(daemon, "-v", f"{tmp_path}:/mnt", "busybox", *writing.split()).returncode:
        pytest.skip("this file system has no direct I/O")
    began = time.monotonic()
    done = run(daemon, flag, f"{disk}:{limit}", "-v", f"{tmp_path}:/mnt", "busybox", *writing.split())
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began > 0.6  # a second by the limit, and milliseconds without


# --- processors ---------------------------------------------------------------------------------------------


@pytest.fixture
def realtime(daemon: Daemon) -> Iterator[None]:
    """The daemon's containers may have real-time processes, for 100 of each 1000 ms."""
    budget = Path(f"/sys/fs/cgroup/cpu/{daemon.cgroup}/cpu.rt_runtime_us")
    started(daemon, "first", "busybox", "true")  # makes the directory
    if not budget.exists():
        pytest.skip("this kernel gives cgroups no real-time budgets (CONFIG_RT_GROUP_SCHED)")
    try:
        budget.write_text("100000")
    except OSError as error:
        pytest.skip(f"this machine's real-time budget is spent: {error}")
    yield
    _give_back(budget)


def _give_back(budget: Path) -> None:
    """Take a budget away. The kernel refuses that (EINVAL) until it has released the groups removed a moment ago.

    A removed directory's group keeps its share until a work queue of the kernel has come to it
    (cpu_cgroup_css_released).
    """
    deadline = time.monotonic() + 30
    while True:
        try:
            budget.write_text("0")
        except OSError as error:
            if error.errno != errno.EINVAL or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.mark.need("cgroup1")
@pytest.mark.usefixtures("realtime")
def test_a_container_gets_a_budget_for_real_time(daemon: Daemon) -> None:
    script = "cd /sys/fs/cgroup/cpu; cat cpu.rt_period_us cpu.rt_runtime_us; chrt -r 1 echo runs in time"
    flags = ["--cpu-rt-period", "500000", "--cpu-rt-runtime", "20000", "--cap-add", "SYS_NICE"]
    done = run(daemon, *flags, "host", "sh", "-c", script)
    assert done.stdout.split() == ["500000", "20000", "runs", "in", "time"], done.stderr
    done = run(daemon, "--cap-add", "SYS_NICE", "host", "chrt", "-r", "1", "true")
    assert "not permitted" in done.stderr


def test_processors_are_shared_out(daemon: Daemon) -> None:
    told = daemon.docker("run", "--name", "slow", *NONE, "--cpus", "0.2", "busybox", "sh", "-c", _BUSY, check=True)
    minutes, seconds = told.stdout.splitlines()[1].split()[0].rstrip("s").split("m")
    assert (60 * int(minutes) + float(seconds)) / _seconds(daemon, "slow") < 0.3  # busy ones give less


_BUSY = "sh -c 'while :; do :; done' & sleep 5; kill $!; wait $!; times"
"""Ends with a line of the seconds that its child had of a processor, as ``0m1.23s 0m0.00s``."""


def _seconds(daemon: Daemon, name: str) -> float:
    (told,) = json.loads(daemon.docker("inspect", name).stdout)
    times = [told["State"][which].rstrip("Z").split(":") for which in ("StartedAt", "FinishedAt")]
    began, ended = (int(hours[-2:]) * 3600 + int(minutes) * 60 + float(seconds) for hours, minutes, seconds in times)
    return (ended - began) % 86400


# --- memory -------------------------------------------------------------------------------------------------


@pytest.mark.need("cgroup1")
def test_without_the_oom_killer_a_container_waits_for_memory(daemon: Daemon) -> None:
    hog = "x=a; while :; do x=$x$x; done"
    started(daemon, "hog", "-m", "8m", "--memory-swap", "8m", "--oom-kill-disable", "busybox", "sh", "-c", hog)
    (told,) = json.loads(daemon.docker("inspect", "hog").stdout)
    control = Path(f"/sys/fs/cgroup/memory/{daemon.cgroup}/{told['Id']}/memory.oom_control")
    deadline = time.monotonic() + 60
    while "under_oom 1" not in control.read_text():
        assert time.monotonic() < deadline, control.read_text()
        time.sleep(0.02)
    assert daemon.docker("inspect", "-f", "{{.State.Running}} {{.State.OOMKilled}}", "hog").stdout == "true false\n"
    daemon.docker("kill", "hog", check=True)
    assert daemon.docker("wait", "hog").stdout == "137\n"


# --- namespaces ---------------------------------------------------------------------------------------------


def test_memory_is_shared_with_those_who_join_and_with_nobody_else(daemon: Daemon) -> None:
    started(daemon, "donor", "--ipc", "shareable", "busybox", "sh", "-c", "echo given > /dev/shm/x; sleep 600")
    script = "cat /dev/shm/x; readlink /proc/self/ns/ipc"
    shown = inside(daemon, script, "--ipc", "container:donor").split()
    assert shown == ["given", daemon.docker("exec", "donor", "readlink", "/proc/self/ns/ipc").stdout.strip()]
    assert inside(daemon, "ls /dev/shm", "--ipc", "private") == ""
    started(daemon, "miser", "--ipc", "private", "busybox", "sleep", "600")
    done = run(daemon, "--ipc", "container:miser", "busybox", "true")
    assert (done.returncode, "non-shareable IPC" in done.stderr) == (125, True)


def test_without_ipc_there_is_no_shared_memory_to_mount(daemon: Daemon) -> None:
    assert inside(daemon, "grep -c ' /dev/shm ' /proc/mounts || true", "--ipc", "none") == "0"
    mine = os.readlink("/proc/self/ns/ipc")
    assert inside(daemon, "readlink /proc/self/ns/ipc", "--ipc", "none") != mine


def test_the_hosts_names_are_seen_and_the_hosts_processes(daemon: Daemon) -> None:
    assert inside(daemon, "hostname", "--uts", "host") == os.uname().nodename
    assert inside(daemon, f"test -d /proc/{os.getpid()} && echo seen", "--pid", "host") == "seen"
    assert Path("/dev/shm").stat().st_ino == int(inside(daemon, "stat -c %i /dev/shm", "--ipc", "host"))


def test_who_joins_a_container_sees_its_processes_and_may_signal_them(daemon: Daemon) -> None:
    started(daemon, "seen", "busybox", "sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.05; done")
    inside(daemon, "kill -USR1 1", "--pid", "container:seen")
    assert daemon.docker("wait", "seen").stdout == "9\n"


@pytest.mark.parametrize(("mode", "own"), [("private", True), ("host", False)])
def test_a_cgroup_namespace_hides_where_the_container_is(daemon: Daemon, mode: str, own: bool) -> None:
    paths = {line.split(":")[2] for line in inside(daemon, "cat /proc/self/cgroup", "--cgroupns", mode).splitlines()}
    assert (daemon.cgroup in " ".join(paths)) is not own
    assert ("/" in paths) or not own


# --- security -----------------------------------------------------------------------------------------------


def test_a_profile_of_ones_own_decides_about_system_calls(daemon: Daemon, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    calls = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 93}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}))
    script = "mkdir /new 2>&1 || true; unshare -U true && echo unshared"
    shown = inside(daemon, script, "--security-opt", f"seccomp={profile}")
    assert shown.splitlines() == ["mkdir: can't create directory '/new': Protocol not supported", "unshared"]
    assert inside(daemon, "unshare -U true 2>/dev/null || echo refused") == "refused"
    assert inside(daemon, "unshare -U echo unshared", "--security-opt", "seccomp=unconfined") == "unshared"


def test_a_setuid_program_gives_nothing_where_that_was_forbidden(daemon: Daemon) -> None:
    script = "cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id && setpriv --reuid 1000 --clear-groups /tmp/id -u"
    for flags, identity in (((), "0"), (("no-new-privileges",), "1000"), (("no-new-privileges=false",), "0")):
        options = [f"--security-opt={flag}" for flag in flags]
        assert run(daemon, *options, "host", "sh", "-c", script).stdout.strip() == identity, flags


def test_system_paths_can_be_shown_and_written(daemon: Daemon) -> None:
    look = "head -c 1 /proc/timer_list | wc -c; (: >> /proc/sys/kernel/core_pattern) 2>/dev/null && echo writable"
    assert inside(daemon, f"{look}; true") == "0"
    assert inside(daemon, look, "--security-opt", "systempaths=unconfined") == "1\nwritable"


# --- files of variables -------------------------------------------------------------------------------------


def test_odd_lines_of_a_file_of_variables_are_read_as_docker_does(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "taken over")
    monkeypatch.delenv("NOT_SET", raising=False)
    file = tmp_path / "variables"
    file.write_bytes(
        b"\xef\xbb\xbfFIRST=after the mark\n# comment\n   # indented\n\n  INDENTED=yes\nQUOTED='as it is'\n"
        b"EMPTY=\nFROM_OUTSIDE\nNOT_SET\nSPACES=  kept  \nEQUALS=a=b=c\nHASH=a # b\nLAST=carriage return\r\n"
    )
    expected = {
        "FIRST": "after the mark", "INDENTED": "yes", "QUOTED": "'as it is'", "EMPTY": "", "EQUALS": "a=b=c",
        "FROM_OUTSIDE": "taken over", "SPACES": "  kept  ", "HASH": "a # b", "LAST": "carriage return",
    }  # fmt: skip
    for client in (daemon.docker, daemon.cli):
        done = client("run", "--rm", *NONE, "--env-file", str(file), "busybox", "env")
        shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
        assert {name: shown.get(name) for name in expected} == expected, client
        assert "NOT_SET" not in shown


# --- the command's own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", [True, False])
def test_signals_to_the_command_go_to_the_container_unless_told_otherwise(daemon: Daemon, proxy: bool) -> None:
    script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    words = ["run", "--name", "told", f"--sig-proxy={str(proxy).lower()}", *NONE, "busybox", "sh", "-c", script]
    process = subprocess.Popen(
        [program("docker") or "docker", *words],
        env=docker_environment(daemon.host, daemon.root), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    with process, process.stdout as output:
        assert output.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        if not proxy:  # newer clients wait for the container's end nevertheless
            daemon.docker("kill", "told", check=True)
        assert output.read() == ("got it\n" if proxy else "")
        assert (process.wait(60) == 9) is proxy
    assert daemon.docker("wait", "told").stdout == ("9\n" if proxy else "137\n")


# --- the end ------------------------------------------------------------------------------------------------


def test_the_signal_and_the_patience_of_a_stop_are_the_containers_own(daemon: Daemon) -> None:
    obedient = "trap 'exit 7' USR1; trap 'exit 1' TERM; echo ready; while :; do sleep 0.05; done"
    started(daemon, "obedient", "--stop-signal", "USR1", "busybox", "sh", "-c", obedient)
    _wait_for_line(daemon, "obedient")
    daemon.docker("stop", "obedient", check=True)
    assert daemon.docker("inspect", "-f", "{{.State.ExitCode}}", "obedient").stdout == "7\n"
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    started(daemon, "deaf", "--stop-timeout", "1", "busybox", "sh", "-c", deaf)
    _wait_for_line(daemon, "deaf")
    began = time.monotonic()
    daemon.docker("stop", "deaf", check=True)
    took = time.monotonic() - began
    assert daemon.docker("inspect", "-f", "{{.State.ExitCode}}", "deaf").stdout == "137\n"
    assert took > 0.9
    in_time(took < 9.5, f"a stop with a patience of one second took {took:.1f}")  # ten are usual


def _wait_for_line(daemon: Daemon, name: str) -> None:
    deadline = time.monotonic() + 60
    while "ready" not in daemon.docker("logs", name).stdout:
        assert time.monotonic() < deadline


def test_no_patience_at_all_is_a_wish_too(daemon: Daemon) -> None:
    started(daemon, "hasty", "--stop-timeout", "0", "busybox", "sleep", "600")
    assert daemon.docker("inspect", "-f", "{{.Config.StopTimeout}}", "hasty").stdout == "0\n"


@pytest.mark.need("cgroup2")
def test_what_version_2_cannot_limit_is_warned_of_and_the_container_runs(daemon: Daemon) -> None:
    flags = ["-m", "64m", "--memory-swappiness", "7", "--oom-kill-disable"]
    done = run(daemon, *flags, "busybox", "cat", "/sys/fs/cgroup/memory.max")
    assert done.stdout == f"{64 << 20}\n"
    assert "does not support memory swappiness capabilities or the cgroup is not mounted" in done.stderr
    assert "Your kernel does not support OomKillDisable. OomKillDisable discarded." in done.stderr
    refused = run(daemon, "--cpu-rt-runtime", "1000", "busybox", "true")
    assert (refused.returncode, "does not support CPU real-time scheduler" in refused.stderr) == (125, True)
