"""``wherry-oci``: a container's life, by the command alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import cgroups
from support.needs import need
from support.oci_command import Bundles, bundles_in
from support.processes import wait_for

pytestmark = need("root", "busybox")


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Bundles]:
    """Bundles, and the command."""
    with bundles_in(tmp_path) as bundles:
        yield bundles


def groups_of(name: str) -> list[Path]:
    """The control groups of a bundle's container that are there."""
    return [group for parent in cgroups("wherry-test") if (group := parent / f"{os.getpid()}-{name}").exists()]


def test_run_passes_output_and_exit_code_on_and_leaves_nothing(oci: Bundles) -> None:
    bundle = oci.bundle("one", "sh", "-c", "echo out; echo err >&2; exit 7")
    done = oci("run", "--bundle", str(bundle), "one")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert oci.left() == []
    assert groups_of("one") == []


def test_run_tells_the_signal_that_ended_the_program(oci: Bundles) -> None:
    bundle = oci.bundle("one", "sh", "-c", "kill -9 $$; sh -c 'kill -9 $$'; exit $?")
    assert oci("run", "--bundle", str(bundle), "one").returncode == 137


def test_a_container_is_created_started_and_deleted(oci: Bundles) -> None:
    oci.bundle("one", "sh", "-c", "echo started; sleep 100")
    pid = oci.create("one", "--pid-file", str(oci.directory / "pid"))
    assert (oci.directory / "pid").read_text() == str(pid)
    assert (oci.state("one")["status"], oci.output("one")) == ("created", "")
    oci.do("start", "one")
    wait_for(lambda: oci.output("one") == "started\n")
    state = oci.state("one")
    assert (state["status"], state["pid"], state["bundle"]) == ("running", pid, str(oci.directory / "one"))
    assert oci("start", "one").stderr.endswith('msg="cannot start an already running container"\n')
    refused = oci("delete", "one")
    assert (refused.returncode, "is not stopped: running" in refused.stderr) == (1, True)
    oci.do("kill", "one", "KILL")
    oci.becomes("one", "stopped")
    assert "container not running" in oci("kill", "one", "TERM").stderr
    oci.do("delete", "one")
    assert "container does not exist" in oci("state", "one").stderr
    assert groups_of("one") == []


def test_what_waits_to_be_started_has_nothing_of_the_hosts(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    process = Path("/proc", str(oci.create("one")))
    assert process.joinpath("exe").readlink().name.startswith("memfd:wherry")
    assert sorted(os.listdir(process / "fd")) == ["0", "1", "2"]
    assert (process / "environ").read_bytes() == b""
    assert (process / "cmdline").read_bytes() == b"wherry-exec\0"
    mapped = [line.split()[-1] for line in (process / "maps").read_text().splitlines()]
    assert not [name for name in mapped if name.startswith("/") and "memfd" not in name]
    assert int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") < 200_000


def test_a_created_container_is_ended_by_any_signal_that_ends_programs(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    oci.create("one")
    oci.do("kill", "one", "WINCH")
    assert oci.state("one")["status"] == "created"
    oci.do("kill", "one", "TERM")
    oci.becomes("one", "stopped")
    assert "has stopped" in oci("start", "one").stderr


def test_exec_runs_in_the_container_and_has_runcs_flags(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    oci.create("one", start=True)
    assert oci("exec", "one", "sh", "-c", "exit 3").returncode == 3
    flags = ("--cwd", "/bin", "--env", "A=b", "--user", "7:8", "--additional-gids", "9")
    assert oci.do("exec", *flags, "one", "sh", "-c", 'echo "$PWD $A"; id -u; id -G') == "/bin b\n7\n8 9\n"
    missing = oci("exec", "one", "nosuch")
    assert (missing.returncode, 'exec: \\"nosuch\\": executable file not found in $PATH' in missing.stderr) == (
        255,
        True,
    )
    process = {"cwd": "/", "args": ["sh", "-c", "echo $0; read x; echo $x"], "env": ["PATH=/bin"], "user": {}}
    (oci.directory / "process.json").write_text(json.dumps(process))
    with open(oci.directory / "input", "w+") as given:
        given.write("word\n")
        given.seek(0)
        said = oci.do("exec", "--process", str(oci.directory / "process.json"), "one", stdin=given)
    assert said == "sh\nword\n"


def test_an_exec_that_is_detached_leaves_its_number(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    oci.create("one", start=True)
    with open(oci.directory / "out", "wb") as out:
        subprocess.run(
            [*oci.command, "exec", "--detach", "--pid-file", str(oci.directory / "pid"), "one", "sleep", "100"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True,
        )  # fmt: skip
    pid = int((oci.directory / "pid").read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00100\x00"
    assert str(pid) in oci.do("ps", "one")
    assert pid in json.loads(oci.do("ps", "--format", "json", "one"))


def test_pause_resume_and_update(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    oci.create("one", start=True)
    assert "container not paused" in oci("resume", "one").stderr
    oci.do("pause", "one")
    assert oci.state("one")["status"] == "paused"
    assert "cannot exec in a paused container" in oci("exec", "one", "true").stderr
    oci.do("resume", "one")
    oci.do("update", "--pids-limit", "20", "--memory", "64m", "one")
    repeated = '{"pids": {"limit": 21}, "devices": [{"allow": false, "access": "rwm"}]}'
    oci.do("update", "--resources", "-", "one", input=repeated, stdin=None)
    assert oci.do("exec", "one", "head", "-c", "1", "/dev/zero") == "\0"
    stats = json.loads(oci.do("events", "--stats", "one"))
    assert (stats["type"], stats["id"], stats["data"]["pids"]["limit"]) == ("stats", "one", 21)
    assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert [found["id"] for found in json.loads(oci.do("list", "--format", "json"))] == ["one"]
    assert oci.do("list", "-q") == "one\n"


def test_a_paused_container_is_deleted_by_force(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    oci.create("one", start=True)
    oci.do("pause", "one")
    oci.do("delete", "--force", "one")
    assert groups_of("one") == []
    oci.do("delete", "--force", "one")


def test_a_container_in_anothers_pid_namespace_waits_and_ends_alone(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    first = oci.create("one", start=True)
    kinds = [{"type": kind} for kind in ("mount", "ipc", "uts", "network")]
    joined = {"linux": {"namespaces": [*kinds, {"type": "pid", "path": f"/proc/{first}/ns/pid"}]}}
    oci.bundle("two", "sh", "-c", "sleep 100 & sleep 100", whole=joined)
    second = oci.create("two")
    assert Path(f"/proc/{second}/comm").read_text() == "wherry-created\n"
    assert sorted(os.listdir(f"/proc/{second}/fd")) == ["0", "1", "2"]
    oci.do("start", "two")
    assert oci.state("two")["status"] == "running"
    oci.do("kill", "two", "KILL")
    oci.becomes("two", "stopped")
    oci.do("delete", "two")
    assert groups_of("two") == []
    assert oci.state("one")["status"] == "running"


def test_errors_are_lines_of_json_in_the_log(oci: Bundles) -> None:
    log = oci.directory / "log.json"
    assert oci("--log", str(log), "--log-format", "json", "start", "nosuch").returncode == 1
    line = json.loads(log.read_text().splitlines()[-1])
    assert (line["level"], line["msg"]) == ("error", "container does not exist")
    assert line["time"].endswith("Z")


def test_a_program_that_is_not_there_is_told_by_create(oci: Bundles) -> None:
    bundle = oci.bundle("one", "nosuch")
    done = oci("create", "--bundle", str(bundle), "one")
    assert 'unable to start container process: exec: \\"nosuch\\": executable file not found in $PATH' in done.stderr
    assert oci.left() == []
    assert groups_of("one") == []


def test_preserved_descriptors_are_the_programs_and_no_others(oci: Bundles) -> None:
    bundle = oci.bundle("one", "sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd | wc -l")
    files = []
    for name in ("a", "b"):
        (oci.directory / name).write_text(name)
        files.append(os.open(oci.directory / name, os.O_RDONLY))
    command = [*oci.command, "run", "--bundle", str(bundle), "--preserve-fds", "2", "one"]
    script = f'exec "$@" 3<&{files[0]} 4<&{files[1]} 5</ 6</etc'
    done = subprocess.run(
        ["bash", "-c", script, "sh", *command], capture_output=True, text=True, pass_fds=files, check=False
    )
    for fd in files:
        os.close(fd)
    assert done.stdout == "ab6\n", done  # the streams, those two, and the directory that ls reads


def test_a_signal_of_the_foreground_reaches_the_program(oci: Bundles) -> None:
    bundle = oci.bundle("one", "sh", "-c", "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    running = subprocess.Popen([*oci.command, "run", "--bundle", str(bundle), "one"], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    with running.stdout as out:
        assert out.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert out.read() == "got\n"
    assert running.wait(60) == 5


def test_a_control_group_that_others_are_in_stays_with_them(oci: Bundles) -> None:
    for name in ("one", "two"):
        oci.bundle(name, "sleep", "100", whole={"linux": {"cgroupsPath": f"/wherry-test/{os.getpid()}-shared"}})
        oci.create(name, start=True)
    done = oci("delete", "--force", "one")
    assert (done.returncode, "level=warning" in done.stderr) == (0, True)
    assert oci.state("two")["status"] == "running"
    oci.do("delete", "--force", "two")
    assert groups_of("shared") == []


def test_a_foreground_that_is_interrupted_while_it_prepares_leaves_nothing(oci: Bundles) -> None:
    waiting = oci.directory / "waiting"
    os.mkfifo(waiting)
    hooks = {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo >{waiting}; exec sleep 100"]}]}
    bundle = oci.bundle("one", "sleep", "100", whole={"hooks": hooks})
    running = subprocess.Popen([*oci.command, "run", "--bundle", str(bundle), "one"], stderr=subprocess.DEVNULL)
    waiting.read_text()
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert oci.left() == []
    assert groups_of("one") == []
