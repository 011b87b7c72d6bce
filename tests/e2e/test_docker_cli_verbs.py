"""The stock docker command's other verbs, on wherry."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.daemons import Daemon, docker_environment
from support.needs import need, program

pytestmark = [need("root", "busybox", "docker"), pytest.mark.usefixtures("clean", "busybox")]


@pytest.fixture
def docker(daemon: Daemon) -> Callable[..., str]:
    """Run a docker command that has to work, and return what it prints."""

    def run(*words: str, input: bytes | None = None) -> str:
        return daemon.docker(*words, input=input, check=True).stdout

    return run


@pytest.fixture
def web(docker: Callable[..., str]) -> str:
    """A running container's name."""
    script = "trap 'exit 0' TERM; echo out; echo err >&2; while :; do sleep 0.05; done"
    docker("run", "-d", "--name", "web", "--network", "none", "--label", "tier=front", "busybox", "sh", "-c", script)
    return "web"


def test_version_and_info_are_understood(docker: Callable[..., str]) -> None:
    assert docker("version", "--format", "{{.Server.APIVersion}}") == "1.56\n"
    assert "Server Version" in docker("info")


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        ("name=web", True),
        ("name=nothing", False),
        ("label=tier", True),
        ("label=tier=front", True),
        ("label=tier=back", False),
        ("status=running", True),
        ("status=exited", False),
        ("ancestor=busybox", True),
        ("ancestor=host", False),
        ("network=none", True),
        ("network=host", False),
        ("before=younger", True),
        ("since=younger", False),
        ("is-task=false", True),
        ("health=none", True),
        ("exited=0", False),
    ],
)
def test_ps_filters(docker: Callable[..., str], web: str, filter_: str, found: bool) -> None:
    docker("create", "--name", "younger", "--network", "none", "busybox")
    names = docker("ps", "-a", "--filter", filter_, "--format", "{{.Names}}").split()
    assert (web in names) is found


def test_ps_shows_what_people_look_for(docker: Callable[..., str], web: str) -> None:
    line = docker("ps", "--no-trunc", "--format", "{{.Image}}|{{.Names}}|{{.State}}|{{.Networks}}|{{.Labels}}").strip()
    assert line == f"busybox|{web}|running|none|tier=front"
    assert docker("ps", "-s", "--format", "{{.Size}}").strip().endswith(")")


def test_a_container_is_stopped_started_restarted_and_renamed(docker: Callable[..., str], web: str) -> None:
    def status(name: str) -> str:
        return docker("inspect", "-f", "{{.State.Status}}:{{.State.ExitCode}}", name).strip()

    docker("stop", web)
    assert status(web) == "exited:0"
    docker("start", web)
    docker("restart", "-t", "0", web)
    assert status(web) == "running:0"
    docker("rename", web, "other")
    docker("kill", "other")
    docker("wait", "other")
    assert status("other") == "exited:137"
    docker("rm", "other")
    assert docker("ps", "-aq") == ""


def test_a_paused_container_does_nothing(docker: Callable[..., str], web: str) -> None:
    docker("pause", web)
    assert "(Paused)" in docker("ps", "--format", "{{.Status}}")
    docker("unpause", web)
    assert docker("exec", web, "echo", "awake") == "awake\n"


def test_logs_are_selected(daemon: Daemon, docker: Callable[..., str], web: str) -> None:
    while not (done := daemon.docker("logs", web)).stderr:
        time.sleep(0.05)  # it is still on its way to its second word
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert daemon.docker("logs", "--tail", "1", web).stdout + daemon.docker("logs", "--tail", "0", web).stdout == ""
    assert docker("logs", "-t", "--since", "1h", web).endswith("Z out\n")
    assert docker("logs", "--until", "1h", web) == ""


def test_exec_has_the_flags_of_run(docker: Callable[..., str], web: str) -> None:
    assert (
        docker("exec", "-e", "A=1", "-w", "/tmp", "-u", "guest", web, "sh", "-c", "echo $A $PWD $(id -un)")
        == "1 /tmp guest\n"
    )
    assert docker("exec", "-i", web, "cat", input=b"given") == "given"
    docker("exec", "-d", web, "touch", "/made")
    assert "/made" in docker("exec", web, "sh", "-c", "until ls /made 2>/dev/null; do sleep 0.05; done")


@pytest.mark.parametrize(("command", "code"), [("exit 9", 9), ("kill -9 $$", 137), ("nosuch", 127)])
def test_execs_exit_code_is_the_commands(daemon: Daemon, web: str, command: str, code: int) -> None:
    assert daemon.docker("exec", web, "sh", "-c", command).returncode == code


@pytest.mark.parametrize(("program", "code"), [("nosuch", 127), ("/etc/passwd", 126)])
def test_exec_says_that_there_is_no_such_program(daemon: Daemon, web: str, program: str, code: int) -> None:
    assert daemon.docker("exec", web, program).returncode == code


def test_top_stats_diff_and_port_answer(docker: Callable[..., str], web: str) -> None:
    docker("exec", web, "touch", "/new")
    assert "sh -c trap" in docker("top", web)
    assert "A /new" in docker("diff", web).splitlines()
    assert docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}").startswith("web ")
    assert docker("port", web) == ""


def test_update_changes_limits(docker: Callable[..., str], web: str) -> None:
    docker("update", "--memory", "100m", "--memory-swap", "200m", "--restart", "always", web)
    assert (
        docker("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}", web)
        == "104857600 always\n"
    )


def test_a_file_system_is_exported_and_imported(docker: Callable[..., str], daemon: Daemon, tmp_path: Path) -> None:
    docker("run", "--name", "made", "--network", "none", "busybox", "sh", "-c", "echo here > /here; rm /etc/group")
    docker("export", "made", "-o", str(tmp_path / "fs.tar"))
    with tarfile.open(tmp_path / "fs.tar") as archive:
        names = archive.getnames()
    assert "here" in names
    assert "etc/group" not in names
    change = ["--change", 'CMD ["cat", "/here"]', "--change", "ENV A=1", "--change", "LABEL who=me"]
    docker("import", *change, "-m", "from a test", str(tmp_path / "fs.tar"), "made/here:1")
    assert docker("run", "--rm", "--network", "none", "made/here:1") == "here\n"
    assert "from a test" in docker("history", "made/here:1")
    (image,) = json.loads(docker("image", "inspect", "made/here:1"))
    assert (image["Config"]["Labels"], "A=1" in image["Config"]["Env"]) == ({"who": "me"}, True)
    docker("rm", "made")
    docker("rmi", "made/here:1")


def test_why_an_import_is_refused_is_told_while_the_archive_is_still_sent(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "fs.tar").write_bytes(bytes(20 * 1024 * 1024))
    done = daemon.docker("import", "--change", "FOO bar", str(tmp_path / "fs.tar"), "made/here:1")
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "Error response from daemon: FOO is not a valid change command",
    )


def test_top_says_in_one_line_why_ps_did_not_answer(daemon: Daemon, web: str) -> None:
    done = daemon.docker("top", web, "-o", "nonsense")
    assert done.stderr.startswith("Error response from daemon: error running ps: ")
    assert "Usage" not in done.stderr


def test_an_image_is_saved_and_loaded_again(docker: Callable[..., str], daemon: Daemon) -> None:
    docker("tag", "busybox", "example.org/team/app:2")
    command = [program("docker") or "docker", "save", "example.org/team/app:2"]
    environment = docker_environment(daemon.host, daemon.root)
    saved = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(archive.getnames())
    assert docker("rmi", "example.org/team/app:2") == "Untagged: example.org/team/app:2\n"
    assert docker("load", input=saved) == "Loaded image: example.org/team/app:2\n"
    assert docker("images", "-q", "example.org/team/app") == docker("images", "-q", "busybox")
    docker("rmi", "example.org/team/app:2")


def test_images_are_listed_and_filtered(docker: Callable[..., str]) -> None:
    assert "busybox" in docker("images", "--format", "{{.Repository}}").split()
    assert docker("images", "-q", "--filter", "reference=busy*") != ""
    assert docker("images", "-q", "--filter", "reference=nothing") == ""
    assert docker("image", "ls", "--digests").startswith("REPOSITORY")


def test_system_df_and_prune_answer(docker: Callable[..., str]) -> None:
    docker("run", "--name", "done", "--network", "none", "busybox", "sh", "-c", "head -c 100000 /dev/zero > /x")
    assert "Containers" in docker("system", "df")
    assert "busybox" in docker("system", "df", "-v")
    assert docker("container", "prune", "-f").startswith("Deleted Containers:\n")
    assert "Total reclaimed space" in docker("system", "prune", "-f")


def test_events_are_followed(daemon: Daemon, docker: Callable[..., str]) -> None:
    environment = docker_environment(daemon.host, daemon.root)
    shown = ["--format", "{{.Action}}", "--filter", "container=seen", "--since", f"{time.time():.9f}"]
    command = [program("docker") or "docker", "events", *shown]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout
        docker("run", "--rm", "--name", "first", "--network", "none", "busybox", "true")
        docker("create", "--name", "seen", "--network", "none", "busybox", "true")
        assert follower.stdout.readline() == "create\n"
        docker("rm", "seen")
        assert follower.stdout.readline() == "destroy\n"
        follower.terminate()


def test_networks_and_volumes_are_listed(docker: Callable[..., str]) -> None:
    assert sorted(docker("network", "ls", "--format", "{{.Name}}").split()) == ["bridge", "host", "none"]
    assert docker("volume", "ls", "-q") == ""
    assert json.loads(docker("network", "inspect", "none"))[0]["Driver"] == "null"


def test_details_are_what_the_logs_options_name(daemon: Daemon, busybox: str) -> None:
    options = ["--log-opt", "labels=a", "--log-opt", "env-regex=^ZO"]
    given = ["--label", "a=1", "--label", "b=2", "-e", "ZOO=x y", *options]
    daemon.docker("run", "--name", "detailed", "--network=none", *given, busybox, "printf", "one\\ntwo\\n", check=True)
    shown = daemon.docker("logs", "--details", "detailed", check=True).stdout
    stamped = daemon.docker("logs", "-t", "--details", "detailed", check=True).stdout
    daemon.docker("rm", "detailed", check=True)
    assert shown == "ZOO=x+y,a=1 one\nZOO=x+y,a=1 two\n"
    assert [line.split(" ", 1)[1] for line in stamped.splitlines()] == ["ZOO=x+y,a=1 one", "ZOO=x+y,a=1 two"]
