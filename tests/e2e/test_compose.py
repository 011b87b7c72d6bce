"""Unmodified Docker Compose drives wherry: small projects, each of another kind, by ``wherry compose``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need
from support.ports import free_port
from support.processes import wait_for

pytestmark = need("root", "busybox", "overlay", "namespaces", "compose")

SLEEP = {"image": "busybox", "command": "sleep 1000", "init": True, "stop_grace_period": "1s"}
Service = dict[str, Any]


def shell(script: str, **more: Any) -> Service:
    """A service that runs a script; a dollar sign is the shell's, not Compose's."""
    return {**SLEEP, "command": ["sh", "-c", script.replace("$", "$$")], **more}


class Project:
    """One project: its folder, and Compose in it."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder

    def write(self, services: dict[str, Service], **more: Any) -> None:
        """The project's file; JSON is YAML."""
        (self.folder / "compose.yaml").write_text(json.dumps({"services": services, **more}))

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.daemon.environment, "WHERRY_HOST": self.daemon.host, "COMPOSE_ANSI": "never",
            "COMPOSE_MENU": "false", "DOCKER_CONFIG": str(self.folder.parent / "docker"),
        }  # fmt: skip

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "wherry.cli.main", "compose", "--progress", "plain", *words]

    def run(self, *words: str, code: int = 0, input: str = "") -> str:
        """What it prints; fails unless it ends with this code."""
        done = self._done(*words, input=input)
        assert done.returncode == code, done.stdout + done.stderr + self.daemon.log_tail()
        return done.stdout + (done.stderr if code else "")

    def prints(self, *words: str) -> str:
        """What it prints, however it ends: its container may just be exchanged for another."""
        return self._done(*words).stdout

    def _done(self, *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, input=input, capture_output=True, text=True,
            check=False, timeout=240,
        )  # fmt: skip

    def states(self) -> dict[str, list[str]]:
        """The state of each service's containers."""
        found: dict[str, list[str]] = {}
        for line in self.run("ps", "-a", "--format", "json").splitlines():
            one = json.loads(line)
            found.setdefault(one["Service"], []).append(one["State"])
        return found

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Compose that does not end by itself; ended with the block."""
        with subprocess.Popen(
            self.command(*words), cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def project(daemon: Daemon, busybox: str, tmp_path: Path) -> Iterator[Project]:
    """A project that leaves nothing behind: no container, network or volume."""
    (tmp_path / "p").mkdir()
    one = Project(daemon, tmp_path / "p")
    yield one
    one.run("--profile", "*", "down", "-v", "--remove-orphans", "-t", "0")
    assert daemon.request("GET", "/containers/json", all=True).json == []
    volumes = daemon.request("GET", "/volumes").json["Volumes"] or []
    assert [one for one in volumes if one["Driver"] == "local"] == [], "plugins are the machine's"
    assert {net["Name"] for net in daemon.request("GET", "/networks").json} == {"bridge", "host", "none"}


def until(process: subprocess.Popen[str], words: str) -> str:
    """Read up to the line with these words."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} does not come:\n{seen}")


def test_what_depends_waits_for_health_and_for_init_containers(project: Project) -> None:
    check = {"test": ["CMD", "test", "-f", "/data/ok"], "interval": "100ms", "timeout": "10s", "retries": 1000}
    project.write(
        {
            "db": shell("touch /data/ok; sleep 1000", volumes=["data:/data"], healthcheck=check),
            "init": shell("echo seed > /data/seed", volumes=["data:/data"],
                          depends_on={"db": {"condition": "service_healthy"}}),
            "web": shell("cat /data/seed; sleep 1000", volumes=["data:/data:ro"],
                         depends_on={"init": {"condition": "service_completed_successfully"},
                                     "db": {"condition": "service_healthy", "restart": True}}),
        },
        volumes={"data": {"labels": {"kind": "test"}}},
    )  # fmt: skip
    project.run("up", "-d", "--wait", "db", "web")
    assert project.states() == {"db": ["running"], "init": ["exited"], "web": ["running"]}
    assert "seed" in project.run("logs", "--no-log-prefix", "web")
    assert project.run("volumes", "--format", "{{.Name}}").split() == ["p_data"]


def test_a_service_that_never_is_healthy_fails_the_wait(project: Project) -> None:
    check = {"test": "false", "interval": "100ms", "retries": 2}
    project.write({"sick": {**SLEEP, "healthcheck": check}})
    assert "p-sick-1 is unhealthy" in project.run("up", "-d", "--wait", code=1)


def test_profiles_choose_and_extends_and_include_complete(project: Project) -> None:
    (project.folder / "other").mkdir()
    (project.folder / "other/compose.yaml").write_text(json.dumps({"services": {"included": SLEEP}}))
    (project.folder / "base.yaml").write_text(json.dumps({"services": {"base": {**SLEEP, "environment": {"A": "1"}}}}))
    (project.folder / "e.env").write_text("C=3\n")
    project.write(
        {
            "child": {"extends": {"file": "base.yaml", "service": "base"}, "environment": {"B": "${NO:-2}"},
                      "env_file": ["e.env"], "pull_policy": "never"},
            "debug": {**SLEEP, "profiles": ["debug"]},
        },
        include=["other/compose.yaml"],
    )  # fmt: skip
    project.run("up", "-d")
    assert set(project.states()) == {"child", "included"}
    assert project.run("exec", "-T", "child", "sh", "-c", "echo $A $B $C") == "1 2 3\n"
    project.run("--profile", "debug", "up", "-d")
    assert set(project.states()) == {"child", "included", "debug"}


def test_secrets_and_configs_are_files(project: Project) -> None:
    for name in ("secret", "config"):
        (project.folder / name).write_text(f"the {name}\n")
    project.write(
        {"one": shell("cat /run/secrets/s /etc/c; sleep 1000", secrets=["s"],
                      configs=[{"source": "c", "target": "/etc/c"}, {"source": "inline", "target": "/etc/inline"}])},
        secrets={"s": {"file": "./secret"}}, configs={"c": {"file": "./config"}, "inline": {"content": "words\n"}},
    )  # fmt: skip
    project.run("up", "-d")
    found = project.run("exec", "-T", "one", "cat", "/run/secrets/s", "/etc/c", "/etc/inline")
    assert found == "the secret\nthe config\nwords\n"


def test_networks_have_pools_addresses_and_aliases(project: Project) -> None:
    pools = [{"subnet": "10.201.77.0/24", "gateway": "10.201.77.1"}, {"subnet": "fd00:77::/64"}]
    project.write(
        {
            "db": {**SLEEP, "networks": {"back": {"aliases": ["database"], "ipv4_address": "10.201.77.9"}}},
            "web": {**SLEEP, "networks": {"back": {"priority": 10}, "front": {}}, "hostname": "w",
                    "extra_hosts": ["elsewhere:10.1.2.3"]},
            "side": {**SLEEP, "network_mode": "service:web"},
            "alone": {**SLEEP, "network_mode": "none"},
        },
        networks={"back": {"ipam": {"config": pools}, "enable_ipv6": True, "internal": True},
                  "front": {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}},
    )  # fmt: skip
    project.run("up", "-d")
    found = project.run("exec", "-T", "side", "sh", "-c", "hostname; nslookup database; cat /etc/hosts")
    assert "10.201.77.9" in found
    assert re.search(r"^10\.1\.2\.3\s+elsewhere$", found, re.MULTILINE)
    assert project.run("exec", "-T", "side", "sh", "-c", "ls /sys/class/net | wc -l") == "3\n"
    assert project.run("exec", "-T", "alone", "ls", "/sys/class/net") == "lo\n"


def test_scaled_services_share_a_range_of_ports(project: Project) -> None:
    first = free_port()
    project.write({"web": shell("echo $HOSTNAME > /tmp/index.html; httpd -f -p 80 -h /tmp",
                                ports=[f"127.0.0.1:{first}-{first + 2}:80"], deploy={"replicas": 2})})  # fmt: skip
    project.run("up", "-d")
    ports = {project.run("port", "--index", index, "web", "80").strip() for index in "12"}
    assert ports <= {f"127.0.0.1:{first + n}" for n in range(3)}
    assert len(ports) == 2
    project.run("up", "-d", "--scale", "web=3")
    assert project.states() == {"web": ["running"] * 3}
    project.run("up", "-d", "--scale", "web=1")
    assert project.states() == {"web": ["running"]}


def test_a_change_recreates_and_what_has_no_service_is_an_orphan(project: Project) -> None:
    project.write({"one": {**SLEEP, "volumes": ["/anonymous"]}, "two": SLEEP})
    project.run("up", "-d")
    project.run("exec", "-T", "one", "touch", "/anonymous/kept")
    before = project.run("ps", "-q", "one")
    project.run("up", "-d")
    assert project.run("ps", "-q", "one") == before
    project.write({"one": {**SLEEP, "volumes": ["/anonymous"], "environment": {"NEW": "1"}}})
    project.run("up", "-d")
    assert project.run("ps", "-q", "one") != before
    assert project.run("exec", "-T", "one", "ls", "/anonymous") == "kept\n"
    assert len(project.daemon.request("GET", "/containers/json", all=True).json) == 2
    project.run("up", "-d", "--remove-orphans")
    assert len(project.daemon.request("GET", "/containers/json", all=True).json) == 1
    project.run("down", "-v")
    # Compose names the volume that it passes on, and by Docker's rule a named one stays.
    assert len(project.daemon.request("POST", "/volumes/prune").json["VolumesDeleted"]) == 1


def test_run_and_exec_pass_streams_and_codes(project: Project) -> None:
    project.write({"one": SLEEP, "job": shell("exit 9", depends_on=["one"], environment={"A": "1"})})
    assert (
        project.run("run", "--rm", "-T", "-e", "B=2", "job", "sh", "-c", "cat; echo $A$B", input="in\n") == "in\n12\n"
    )
    project.run("run", "--rm", "-T", "job", code=9)
    assert project.run("exec", "-T", "one", "cat", input="given\n") == "given\n"
    project.run("exec", "-T", "-u", "1000", "-w", "/tmp", "one", "sh", "-c", "test $(id -u)$(pwd) = 1000/tmp; exit 5",
                code=5)  # fmt: skip


def test_logs_and_events_follow(project: Project) -> None:
    project.write({"talks": shell("for i in 1 2 3; do echo line $i; done; sleep 1000")})
    began = f"{time.time():.9f}"
    project.run("up", "-d")
    with project.start("logs", "-f") as logs:
        assert "talks-1  | line 1\n" in until(logs, "line 3")
        project.run("kill", "talks")
        logs.wait(60)
    with project.start("events", "--json", "--since", began) as events:
        seen = until(events, '"action":"die"')
        assert '"action":"start"' in seen
        assert '"service":"talks"' in seen
        project.run("start", "talks")
        until(events, '"action":"start"')
    project.run("kill", "talks")
    assert project.run("logs", "--no-log-prefix", "--tail", "1") == "line 3\n"


def test_an_interrupt_stops_what_up_has_started(project: Project) -> None:
    project.write({"one": shell("echo ready; sleep 1000"), "two": SLEEP})
    with project.start("up", "-t", "1") as up:
        until(up, "ready")
        wait_for(lambda: project.states() == {"one": ["running"], "two": ["running"]})
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=120)
        assert up.returncode in (0, 130)
    assert project.states() == {"one": ["exited"], "two": ["exited"]}


def test_up_ends_with_the_code_of_a_service(project: Project) -> None:
    project.write({"server": SLEEP, "tests": shell("exit 4", depends_on=["server"])})
    project.run("up", "--exit-code-from", "tests", "-t", "0", code=4)
    assert project.states() == {"server": ["exited"], "tests": ["exited"]}


def test_the_verbs_of_a_day(project: Project, tmp_path: Path) -> None:
    project.write({"one": {**SLEEP, "restart": "unless-stopped", "post_start": [{"command": "touch /tmp/hooked"}]}})
    project.run("create")
    assert project.states() == {"one": ["created"]}
    project.run("start")
    assert project.run("exec", "-T", "one", "ls", "/tmp") == "hooked\n"
    assert "sleep 1000" in project.run("top")
    assert "busybox" in project.run("images")
    assert project.run("ps", "--format", "{{.Service}} {{.State}} {{.Image}}") == "one running busybox\n"
    assert "p-one-1" in project.run("stats", "--no-stream", "--format", "{{.Name}}")
    project.run("pause")
    assert project.states() == {"one": ["paused"]}
    project.run("unpause")
    project.run("restart", "-t", "0")
    (tmp_path / "given").write_text("copied")
    project.run("cp", str(tmp_path / "given"), "one:/tmp/there")
    project.run("cp", "one:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "copied"
    project.run("commit", "one", "committed:1")
    assert project.daemon.request("DELETE", "/images/committed:1").status == 200
    project.run("export", "-o", str(tmp_path / "tar"), "one")
    assert (tmp_path / "tar").stat().st_size > 10_000
    assert json.loads(project.run("ls", "--format", "json"))[0]["Status"] == "running(1)"
    project.run("stop", "-t", "0")
    project.run("rm", "-f")
    assert project.states() == {}


def test_a_failing_service_is_restarted(project: Project) -> None:
    project.write({"fails": shell("echo try; exit 3", restart="on-failure:2")})
    project.run("up", "-d")
    identifier = project.run("ps", "-aq").strip()

    def gave_up() -> bool:
        found = project.daemon.request("GET", f"/containers/{identifier}/json").json
        return bool(found["RestartCount"] == 2 and found["State"]["Status"] == "exited")

    wait_for(gave_up)
    assert project.run("logs", "--no-log-prefix") == "try\n" * 3


def test_a_service_is_built_and_watched(project: Project) -> None:
    (project.folder / "src").mkdir()
    (project.folder / "src/a").write_text("one")
    inline = "FROM busybox\nCOPY src /src\nCMD sleep 1000\n"
    (project.folder / "page").write_text("one")
    sync = {"action": "sync", "path": "./page", "target": "/page"}
    develop = {"watch": [{"action": "rebuild", "path": "./src"}, sync]}
    build = {"context": ".", "dockerfile_inline": inline}
    project.write({"app": {"build": build, "init": True, "stop_grace_period": "0s", "develop": develop}})
    project.run("up", "-d")
    with project.start("watch", "--no-up") as watch:
        until(watch, "Watch enabled")
        (project.folder / "src/a").write_text("two")
        until(watch, "successfully built")
        wait_for(lambda: project.prints("exec", "-T", "app", "cat", "/src/a") == "two")
        (project.folder / "page").write_text("two")
        wait_for(lambda: project.prints("exec", "-T", "app", "cat", "/page") == "two")
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=60)
    project.run("down", "--rmi", "local", "-t", "0")
    assert project.daemon.request("GET", "/images/p-app/json").status == 404


def test_namespaces_limits_and_mounts_are_as_written(project: Project) -> None:
    (project.folder / "bound").mkdir()
    project.write(
        {
            "one": {**SLEEP, "ipc": "shareable", "mem_limit": "64m", "pids_limit": 50, "cpus": 0.5, "user": "1000:1000",
                    "read_only": True, "tmpfs": ["/t:size=1m"], "shm_size": "32m", "cap_drop": ["ALL"],
                    "sysctls": {"net.core.somaxconn": 100}, "ulimits": {"nofile": 1000}, "group_add": ["7"],
                    "security_opt": ["no-new-privileges"], "working_dir": "/tmp", "labels": {"a": "b"},
                    "volumes": [{"type": "tmpfs", "target": "/m", "tmpfs": {"size": 1 << 20}},
                                {"type": "bind", "source": "./made", "target": "/b"}]},
            "two": {**SLEEP, "pid": "service:one", "ipc": "service:one", "links": ["one:uno"]},
        },
    )  # fmt: skip
    project.run("up", "-d")
    script = "id -u; id -G; pwd; ulimit -n; cat /proc/sys/net/core/somaxconn; df -m /t /m /dev/shm | awk '{print $2}'"
    words = project.run("exec", "-T", "one", "sh", "-c", script).split()
    assert words == ["1000", "1000", "7", "/tmp", "1000", "100", "1M-blocks", "1", "1", "32"]
    assert (project.folder / "made").is_dir()
    assert "sleep" in project.run("exec", "-T", "two", "cat", "/proc/2/cmdline")
    project.run("exec", "-T", "two", "ping", "-c", "1", "uno")


def test_files_are_merged_and_what_is_elsewhere_is_used_and_kept(project: Project) -> None:
    daemon = project.daemon
    daemon.request("POST", "/volumes/create", {"Name": "elsewhere"})
    daemon.request("POST", "/networks/create", {"Name": "outside"})
    places = {"networks": {"net": {"external": True, "name": "outside"}},
              "volumes": {"vol": {"external": True, "name": "elsewhere"}}}  # fmt: skip
    log = {"driver": "json-file", "options": {"max-size": "1m", "tag": "{{.Name}}"}}
    project.write(
        {"one": {**SLEEP, "networks": ["net"], "volumes": ["vol:/v"], "logging": log, "labels": {"a": "1", "b": "1"}},
         "heir": {**SLEEP, "volumes_from": ["one"], "depends_on": {"gone": {"condition": "service_started",
                                                                              "required": False}}},
         "gone": {**SLEEP, "profiles": ["never"]}},
        **places,
    )  # fmt: skip
    (project.folder / "more.yaml").write_text(json.dumps({"services": {"one": {"labels": {"b": "${B}"}}}}))
    (project.folder / "vars").write_text("B=2\n")
    words = ("-f", "compose.yaml", "-f", "more.yaml", "--env-file", "vars", "-p", "merged")
    project.run(*words, "up", "-d")
    one = daemon.request("GET", "/containers/merged-one-1/json").json
    assert {name: one["Config"]["Labels"][name] for name in "ab"} == {"a": "1", "b": "2"}
    assert one["HostConfig"]["LogConfig"]["Config"].items() >= {"max-size": "1m", "tag": "{{.Name}}"}.items()
    project.run(*words, "exec", "-T", "one", "touch", "/v/there")
    assert project.run(*words, "exec", "-T", "heir", "ls", "/v") == "there\n"
    project.run(*words, "down", "-v", "-t", "0")
    assert daemon.request("DELETE", "/volumes/elsewhere").status == 204
    assert daemon.request("DELETE", "/networks/outside").status == 204


def test_files_come_from_images_subpaths_and_variables(project: Project) -> None:
    image = {"type": "image", "source": "busybox", "target": "/i", "image": {"subpath": "bin"}}
    part = {"type": "volume", "source": "vol", "target": "/part", "volume": {"subpath": "d"}}
    whole = {"type": "volume", "source": "vol", "target": "/bin", "volume": {"nocopy": True}, "read_only": True}
    secret = {"source": "s", "target": "word", "mode": 0o440, "uid": "7", "gid": "8"}
    project.write(
        {"first": shell("mkdir /v/d; echo in > /v/d/it", volumes=["vol:/v"]),
         "one": {**SLEEP, "volumes": [image, part], "secrets": [secret],
                 "depends_on": {"first": {"condition": "service_completed_successfully"}}},
         "two": {**SLEEP, "entrypoint": ["/i/sleep"], "command": "1000", "volumes": [{**image}, whole]}},
        volumes={"vol": {"driver_opts": {"type": "none", "o": "bind", "device": str(project.folder)}}},
        secrets={"s": {"environment": "SECRET"}},
    )  # fmt: skip
    (project.folder / ".env").write_text("SECRET=word\n")
    project.run("up", "-d")
    script = "cat /part/it /run/secrets/word; echo; stat -c %u:%g:%a /run/secrets/word; touch /i/x"
    done = project.run("exec", "-T", "one", "sh", "-c", script, code=1)
    assert done.startswith("in\nword\n7:8:440\n")
    assert "Read-only file system" in done
    assert project.run("exec", "-T", "two", "/i/ls", "/bin").split() == ["compose.yaml", "d"]


def test_jobs_are_scaled_stopped_and_attached_to(project: Project) -> None:
    port = free_port()
    project.write(
        {"job": shell("trap 'exit 7' USR1; echo up; while :; do sleep 0.1; done", init=False, stop_signal="USR1"),
         "web": {**SLEEP, "ports": [f"127.0.0.1:{port}:80"]},
         "tty": {**SLEEP, "tty": True, "stdin_open": True, "command": "sh"}},
    )  # fmt: skip
    project.run("up", "-d", "job", "tty")
    project.run("scale", "job=2")
    assert project.states() == {"job": ["running"] * 2, "tty": ["running"]}
    project.run("stop", "job")  # by its own signal
    jobs = project.run("ps", "-a", "--format", "{{.ExitCode}}", "job").split()
    assert jobs == ["7", "7"]
    with project.start("attach", "--no-stdin", "tty") as attached:
        project.run("kill", "-s", "KILL", "tty")
        attached.wait(120)  # 137; or 1, where it comes too late and finds nothing that runs
    project.run("run", "-d", "--service-ports", "--use-aliases", "--name", "once", "web")
    once = project.daemon.request("GET", "/containers/once/json").json
    assert once["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == str(port)
    assert "web" in once["NetworkSettings"]["Networks"]["p_default"]["Aliases"]
    project.run("--dry-run", "up", "-d", "web")
    assert project.daemon.request("GET", "/containers/p-web-1/json").status == 404
    project.daemon.request("DELETE", "/containers/once", force=True)


def test_an_image_that_is_missing_is_built_and_hooks_run_before_the_end(project: Project) -> None:
    (project.folder / "bound").mkdir()
    build = {
        "context": ".",
        "dockerfile_inline": "FROM busybox AS first\nARG A\nRUN echo $$A > /a\nFROM busybox\nLABEL made=never\n",
        "args": {"A": "given"},
        "target": "first",
        "labels": {"made": "here"},
    }
    project.write(
        {"app": {**SLEEP, "image": "made:1", "build": build, "pull_policy": "missing", "volumes": ["./bound:/b"],
                 "pre_stop": [{"command": ["sh", "-c", "cat /a > /b/stopped"]}]},
         "none": {**SLEEP, "image": "no/such:1", "pull_policy": "never", "profiles": ["bad"]}},
    )  # fmt: skip
    project.run("up", "-d")
    app = project.daemon.request("GET", "/images/made:1/json").json
    assert app["Config"]["Labels"]["made"] == "here"
    before = project.run("ps", "-q", "app")
    project.run("up", "-d", "--force-recreate", "--no-build", "-t", "0")
    assert project.run("ps", "-q", "app") != before
    project.run("stop", "-t", "0")
    assert (project.folder / "bound/stopped").read_text() == "given\n"
    assert "No such image" in project.run("--profile", "bad", "up", "-d", "none", code=1)
    project.run("down", "--rmi", "all", "-t", "0", "app")
    project.daemon.request("DELETE", "/images/made:1")


def test_compose_says_who_it_is_without_a_daemon(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wherry.cli.main", "-H", "unix:///nobody.sock", "compose", "version", "--short"]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"v?2\.\d+\.\d+\n", done.stdout), done.stderr
