"""A container against its own limits: each holds, however it is run against, and the engine is none the worse."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.usefixtures("unharmed")]

FORK_BOMB = "bomb() { bomb | bomb & }; bomb; sleep 1000"
MEGABYTE = 1 << 20


@pytest.fixture
def name(daemon: Daemon) -> Iterator[str]:
    """The name of a container that is removed in the end."""
    yield "limited"
    assert daemon.request("DELETE", "/containers/limited", force=True).status in (204, 404)


def run(daemon: Daemon, image: str, script: str, *flags: str, timeout: float = 180) -> str:
    """What a script in a container prints."""
    command = ("run", "--rm", "--network", "none", *flags, image, "sh", "-c", script)
    return daemon.cli(*command, check=True, timeout=timeout).stdout


def groups(pid: int) -> dict[str, Path]:
    """A process's directories of cgroups, by controller; the one of version 2 under all names."""
    top, found = Path("/sys/fs/cgroup"), {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers:
            found |= {controller: top / controller / path.lstrip("/") for controller in controllers.split(",")}
        elif (top / "cgroup.controllers").exists():
            found |= dict.fromkeys(("pids", "memory"), top / path.lstrip("/"))
    return found


def running(daemon: Daemon, name: str, image: str, script: str, *flags: str) -> int:
    """Start a container; gives its first process."""
    daemon.cli("run", "-d", "--name", name, "--network", "none", *flags, image, "sh", "-c", script, check=True)
    return int(daemon.request("GET", f"/containers/{name}/json").json["State"]["Pid"])


# ------------------------------------------------------------------------------------------------------------ processes


def processes_in(group: Path) -> str:
    """What a cgroup lists; nothing when it has been removed, or is removed in this moment."""
    with suppress(OSError):  # ENOENT, or ENODEV while it goes
        return (group / "cgroup.procs").read_text()
    return ""


def test_a_fork_bomb_stays_within_its_number_and_is_killed_at_once(daemon: Daemon, busybox: str, name: str) -> None:
    pid = running(daemon, name, busybox, FORK_BOMB, "--pids-limit", "40", "--cpus", "0.2")
    group = groups(pid)["pids"]
    deadline = time.monotonic() + 60
    while "max 0" in (group / "pids.events").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)  # until the first that was refused
    assert "max 0" not in (group / "pids.events").read_text()
    assert int((group / "pids.current").read_text()) <= 40
    assert daemon.request("GET", f"/containers/{name}/top").status in (200, 500)
    assert daemon.request("POST", f"/containers/{name}/kill").status == 204
    assert daemon.request("POST", f"/containers/{name}/wait").json["StatusCode"] == 137
    assert processes_in(group) == ""


def test_a_thousand_processes_end_however_little_time_of_the_processors_they_may_have(
    daemon: Daemon, busybox: str, name: str
) -> None:
    script = "i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i+1)); done; wait"
    group = groups(running(daemon, name, busybox, script))["pids"]
    deadline = time.monotonic() + 60
    while int((group / "pids.current").read_text()) < 1000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    update = {"CpuPeriod": 1_000_000, "CpuQuota": 1000}
    assert daemon.request("POST", f"/containers/{name}/update", update).status == 200
    assert daemon.request("POST", f"/containers/{name}/kill").status == 204
    assert daemon.request("POST", f"/containers/{name}/wait").json["StatusCode"] == 137


def test_who_has_used_up_its_processes_can_still_be_stopped_paused_and_looked_at(
    daemon: Daemon, busybox: str, name: str
) -> None:
    fill = "i=0; while [ $i -lt 19 ]; do sleep 1000 & i=$((i+1)); done; wait"
    group = groups(running(daemon, name, busybox, fill, "--pids-limit", "20"))["pids"]
    deadline = time.monotonic() + 60
    while int((group / "pids.current").read_text()) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert daemon.cli("exec", name, "true").returncode == 126
    for verb in ("pause", "unpause"):
        assert daemon.request("POST", f"/containers/{name}/{verb}").status == 204
    assert daemon.request("GET", f"/containers/{name}/stats", stream=False).json["pids_stats"]["current"] <= 20
    assert daemon.request("POST", f"/containers/{name}/stop", t=0).status == 204


def test_a_tree_of_processes_that_detach_themselves_ends_with_the_container(
    daemon: Daemon, busybox: str, name: str
) -> None:
    detach = "for i in 1 2 3; do setsid sh -c 'trap : TERM HUP INT; sleep 1000 & sleep 1000' & done; wait"
    pid = running(daemon, name, busybox, detach)
    group = groups(pid)["memory"]
    assert daemon.request("POST", f"/containers/{name}/kill").status == 204
    assert daemon.request("POST", f"/containers/{name}/wait").status == 200
    assert processes_in(group) == ""


# --------------------------------------------------------------------------------------------------------------- memory

#: Ways to take memory that is not given back; each is counted, wherever it lies.
HOARDS = {
    "of its own": "x=; while :; do x=$x$(head -c 1000000 /dev/zero | tr '\\0' x); done",
    "of a file in memory": "cat /dev/zero >/dev/shm/x",
    "of a file system in memory": "cat /dev/zero >/mem/x",
    "of a pipe": "tail -c 1000000000 /dev/zero",
}


@pytest.mark.parametrize("what", HOARDS)
def test_memory_is_no_more_than_was_given_of_any_kind(daemon: Daemon, busybox: str, name: str, what: str) -> None:
    flags = ("--memory", "24m", "--memory-swap", "24m", "--tmpfs", "/mem:size=1g", "--shm-size", "1g")
    daemon.cli("run", "-d", "--name", name, "--network", "none", *flags, busybox, "sh", "-c", HOARDS[what], check=True)
    status = daemon.request("POST", f"/containers/{name}/wait").json["StatusCode"]
    state = daemon.request("GET", f"/containers/{name}/json").json["State"]
    assert (status, state["OOMKilled"]) == (137, True), state


def test_an_exec_and_a_health_check_count_for_the_container(daemon: Daemon, busybox: str, name: str) -> None:
    check = ("--health-cmd", "tail -c 100m /dev/zero", "--health-interval", "1s", "--health-retries", "1")
    running(daemon, name, busybox, "sleep 1000", "--memory", "24m", "--memory-swap", "24m", *check)
    done = daemon.cli("exec", name, "tail", "-c", "100m", "/dev/zero")
    assert done.returncode == 137, done
    deadline = time.monotonic() + 120
    while (state := daemon.request("GET", f"/containers/{name}/json").json["State"])["Health"]["Status"] == "starting":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert state["Health"]["Status"] == "unhealthy"
    assert state["Running"], "the first process asked for nothing"


# -------------------------------------------------------------------------------------------------------------- cgroups


def test_the_containers_cgroups_show_nothing_of_others_and_cannot_be_written(daemon: Daemon, busybox: str) -> None:
    script = (
        "cat /proc/self/cgroup | cut -d : -f 3 | sort -u; "
        "find /sys/fs/cgroup -maxdepth 2 -name '*procs*' | while read f; do "
        "(echo 0 >$f) 2>/dev/null && echo wrote $f; done; "
        "find /sys/fs/cgroup -maxdepth 2 -type d | while read d; do mkdir $d/x 2>/dev/null && echo made $d; done; true"
    )
    assert run(daemon, busybox, script, "--memory", "64m").split() == ["/"]


WRITABLE = ("--security-opt", "writable-cgroups=true")


@need("cgroup2")
def test_who_divides_its_cgroup_cannot_lift_its_own_limits(daemon: Daemon, busybox: str) -> None:
    script = (
        "cd /sys/fs/cgroup && mkdir own && echo $$ > own/cgroup.procs && cat /proc/self/cgroup;"
        "for file in memory.max pids.max ../memory.max; do (echo max > $file) 2>&1; done; cat memory.max pids.max"
    )
    said = run(daemon, busybox, script, *WRITABLE, "--memory", "64m", "--pids-limit", "50").splitlines()
    assert said[0] == "0::/own"
    assert said[-2:] == [str(64 * MEGABYTE), "50"]
    assert len(said) == 6, "each try was refused"
    host = daemon.cli("run", "--rm", *WRITABLE, "--cgroupns", "host", busybox, "true")
    assert "needs a private cgroup namespace" in host.stderr


@need("cgroup2")
@pytest.mark.parametrize("flags", [(), ("--privileged",)], ids=["ordinary", "privileged"])
def test_a_container_in_the_hosts_cgroup_namespace_changes_no_option_of_the_hosts_mount(
    daemon: Daemon, busybox: str, flags: tuple[str, ...]
) -> None:
    """There is one set of them for all mounts: others' limits hang on ``nsdelegate``."""
    before = options_of_cgroup2()
    shown = run(daemon, busybox, "ls -d /sys/fs/cgroup/cgroup.controllers", "--cgroupns", "host", *flags)
    assert shown == "/sys/fs/cgroup/cgroup.controllers\n"
    assert options_of_cgroup2() == before


def options_of_cgroup2() -> list[str]:
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [options for _, _, kind, options, *_ in lines if kind == "cgroup2"]


@need("cgroup1")
def test_who_would_write_into_cgroups_of_version_1_is_refused(daemon: Daemon, busybox: str) -> None:
    assert "writable-cgroups needs cgroup v2" in daemon.cli("run", "--rm", *WRITABLE, busybox, "true").stderr


@pytest.mark.parametrize("flags", [(), ("--cap-add", "ALL", "--cap-drop", "SYS_ADMIN")])
def test_no_hierarchy_of_cgroups_is_mounted_anew(daemon: Daemon, busybox: str, flags: tuple[str, ...]) -> None:
    """CVE-2022-0492 and older habits: mount one, and have its release_agent run as root of the host."""
    script = (
        "mkdir /tmp/c; for k in memory pids cpu,cpuacct devices rdma none,name=x; do "
        "mount -t cgroup -o $k c /tmp/c 2>/dev/null && echo mounted $k; done; "
        "mount -t cgroup2 c /tmp/c 2>/dev/null && echo mounted; unshare -C true 2>/dev/null && echo apart; "
        "find / -name release_agent -maxdepth 5 2>/dev/null; true"
    )
    assert run(daemon, busybox, script, *flags) == ""


def test_an_exec_is_in_the_containers_cgroups(daemon: Daemon, busybox: str, name: str) -> None:
    pid = running(daemon, name, busybox, "sleep 1000", "--memory", "64m", "--pids-limit", "10")
    daemon.cli("exec", "-d", name, "sleep", "999", check=True)
    listed = daemon.request("GET", f"/containers/{name}/top").json
    column = listed["Titles"].index("PID")
    assert {int(line[column]) for line in listed["Processes"]} > {pid}
    assert all(groups(int(line[column])) == groups(pid) for line in listed["Processes"])


# -------------------------------------------------------------------------------------------------- other limits, files


def test_limits_of_the_shell_are_raised_by_nobody_who_may_not(daemon: Daemon, busybox: str) -> None:
    script = "ulimit -n 100000 2>/dev/null && echo raised; ulimit -Hn; ulimit -Hu"
    given = ("--ulimit", "nofile=64:64", "--ulimit", "nproc=50:50", "--user", "1000")
    assert run(daemon, busybox, script, *given).split() == ["64", "50"]


def test_dead_processes_that_nobody_looks_after_count(daemon: Daemon, busybox: str, name: str) -> None:
    hoard = "mkfifo /end; i=0; while [ $i -lt 20 ]; do cat /end & i=$((i+1)); done; exec sleep 1000"
    group = groups(running(daemon, name, busybox, hoard, "--pids-limit", "25"))["pids"]
    count = "until grep -q sleep /proc/1/comm; do :; done; : <>/end; cat /proc/[0-9]*/stat | grep -c ' Z '"
    deadline = time.monotonic() + 60
    while daemon.cli("exec", name, "sh", "-c", count).stdout != "20\n":
        assert time.monotonic() < deadline
    fill = "i=0; while [ $i -lt 30 ]; do sleep 100 & i=$((i+1)); done; wait"
    daemon.cli("exec", name, "sh", "-c", fill)
    assert int((group / "pids.current").read_text()) <= 25
    assert daemon.request("POST", f"/containers/{name}/kill").status == 204


def test_a_log_is_no_longer_than_was_given(daemon: Daemon, busybox: str, name: str) -> None:
    options = {"Type": "json-file", "Config": {"max-size": "100k", "max-file": "2"}}
    body = {
        "Image": busybox,
        "Cmd": ["sh", "-c", "yes | head -c 20000000; head -c 5000000 /dev/zero"],
        "HostConfig": {"NetworkMode": "none", "LogConfig": options},
    }
    created = daemon.request("POST", "/containers/create", body, name=name).json["Id"]
    daemon.request("POST", f"/containers/{created}/start")
    assert daemon.request("POST", f"/containers/{created}/wait").json["StatusCode"] == 0
    logs = daemon.data_root / "containers" / created / "logs"
    kept = sum(path.stat().st_size for path in logs.rglob("*") if path.is_file())
    assert 0 < kept < MEGABYTE, json.dumps(sorted(path.name for path in logs.rglob("*")))
