"""What comes into a container, or stays in it, has nothing of the host's that a process there could take.

The attacker is root in a container with CAP_SYS_PTRACE, which may look into every process that it can name. It
watches /proc for whatever appears there, as fast as it can, while the engine executes programs in it, checks its
health, or starts another container in its PID namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces")

SECRET = "the-daemons-own-secret"

WATCHER = r"""
import ctypes, json, os, stat, sys
own = os.getpid()
bounding = int([l for l in open("/proc/self/status") if l.startswith("CapBnd")][0].split()[1], 16)
found, seen, births, rounds = {}, set(), 0, 0
def note(kind, what):
    found.setdefault(kind, str(what))
def look(pid):
    global births
    base = f"/proc/{pid}/"
    try:
        exe = os.readlink(base + "exe")
        if (pid, exe) not in seen:
            seen.add((pid, exe))
            births += 1
        for name in ("root", "cwd"):
            if os.stat(base + name).st_dev == HOST["root"]:
                note(name, os.readlink(base + name))
        if os.path.exists(base + "root" + MARK):
            note("root", "the host's file is there")
        for kind in ("mnt", "pid", "net", "ipc", "uts"):
            if os.stat(base + "ns/" + kind).st_ino == HOST[kind]:
                note("namespace", kind)
        for fd in os.listdir(base + "fd"):
            to = os.readlink(base + "fd/" + fd)
            if "memfd" in exe and (int(fd) > 2 or to.startswith("socket:")) and os.readlink(base + "exe") == exe:
                note("fd", fd + " " + to)
        if SECRET.encode() in open(base + "environ", "rb").read():
            note("environ", "the daemon's")
        for line in open(base + "status"):
            if line.startswith(("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd")):
                if int(line.split()[1], 16) & ~bounding:
                    note("capability", line)
        if "memfd" in exe:
            maps = open(base + "maps").read()
            if "/lib" in maps and os.readlink(base + "exe") == exe:
                note("memory", maps)
            with open(base + "mem", "rb") as memory:
                for line in open(base + "maps"):
                    begin, end = (int(n, 16) for n in line.split()[0].split("-"))
                    if "[v" in line:
                        continue
                    memory.seek(begin)
                    if SECRET.encode() in memory.read(min(end - begin, 1 << 22)):
                        note("memory", "the daemon's")
    except (FileNotFoundError, ProcessLookupError, PermissionError, OSError):
        pass
print("watching", flush=True)
while rounds <= 50 or not os.path.exists("/tmp/enough"):
    rounds += 1
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != own:
            look(int(name))
print(json.dumps({"found": found, "births": births, "rounds": rounds}), flush=True)
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    """A daemon whose environment holds a secret."""
    os.environ["WHERRY_TEST_SECRET"] = SECRET
    daemon = Daemon()
    try:
        daemon.start()
        yield daemon
    finally:
        del os.environ["WHERRY_TEST_SECRET"]
        daemon.shut_down()


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """A file of the host's that no container can see."""
    with tempfile.NamedTemporaryFile(prefix="wherry-attack-") as file:
        yield file.name


@contextmanager
def watching(engine: Daemon, mark: str, *options: str) -> Iterator[str]:
    """A container that watches its /proc; gives its name, and fails when it has found something."""
    name = f"watcher-{os.getpid()}"
    host = {kind: os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("mnt", "pid", "net", "ipc", "uts")}
    code = f"MARK, SECRET, HOST = {mark!r}, {SECRET[::-1]!r}[::-1], {host | {'root': os.stat('/').st_dev}}\n{WATCHER}"
    interpreter = f"-v{sys.base_prefix}:{sys.base_prefix}:ro"
    engine.cli(
        "run", "-d", "--name", name, "--network", "none", "--cap-add", "SYS_PTRACE", *options, interpreter,
        "host", f"{sys.base_prefix}/bin/python3", "-I", "-S", "-c", code,
        check=True,
    )  # fmt: skip
    try:
        yield name
        engine.cli("exec", name, "touch", "/tmp/enough")  # who asks for its exit code may find the container gone
        engine.cli("wait", name, check=True)
        last = engine.cli("logs", name, check=True).stdout.splitlines()[-1]
        told: dict[str, Any] = json.loads(last)
        assert told["found"] == {}, told
        assert told["births"] > 0
        assert told["rounds"] > 50
    finally:
        engine.cli("rm", "-f", name)


def execute(engine: Daemon, container: str, *command: str, detach: bool = False, **config: Any) -> None:
    """Run a command in a container, to its end unless it is detached; without a client's process for each."""
    made = engine.request("POST", f"/containers/{container}/exec", {"Cmd": command, "AttachStdout": True, **config})
    start = {"Detach": detach, "Tty": config.get("Tty", False)}
    done = engine.request("POST", f"/exec/{made.json['Id']}/start", start)
    assert done.status == 200, done
    assert detach or engine.request("GET", f"/exec/{made.json['Id']}/json").json["ExitCode"] == 0


@pytest.mark.parametrize(
    "how",
    [{}, {"User": "1000"}, {"Tty": True}, {"detach": True}],
    ids=["root", "user", "tty", "detached"],
)
def test_what_is_executed_has_nothing_of_the_hosts(engine: Daemon, mark: str, how: dict[str, Any]) -> None:
    with watching(engine, mark) as name:
        for _ in range(25):
            execute(engine, name, "true", **how)


def test_a_health_check_has_nothing_of_the_hosts(engine: Daemon, mark: str) -> None:
    check = ("--health-cmd", "true", "--health-interval", "100ms")
    with watching(engine, mark, *check) as name:
        for _ in range(20):
            execute(engine, name, "sh", "-c", "sleep 0.1")


@pytest.mark.parametrize("init", [False, True], ids=["program", "init"])
def test_a_container_that_joins_the_pid_namespace_has_nothing_of_the_hosts(
    engine: Daemon, mark: str, init: bool
) -> None:
    with watching(engine, mark) as name:
        host = {"NetworkMode": "none", "PidMode": f"container:{name}", "Init": init}
        made = engine.request("POST", "/containers/create", {"Image": "host", "Cmd": ["true"], "HostConfig": host})
        for _ in range(15):
            container = f"/containers/{made.json['Id']}"
            assert engine.request("POST", f"{container}/start").status == 204
            assert engine.request("POST", f"{container}/wait").json["StatusCode"] == 0
        engine.request("DELETE", container)


def test_init_has_nothing_of_the_hosts(engine: Daemon, mark: str) -> None:
    with watching(engine, mark, "--init") as name:
        engine.docker("exec", name, "true", check=True)


STOPPER = r"""
import os, signal
print("stopping", flush=True)
while True:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                os.kill(int(name), signal.SIGSTOP)
            except ProcessLookupError:
                pass
"""


def test_who_stops_what_comes_in_holds_up_nobody_else(engine: Daemon) -> None:
    """What is executed there may never get to run; the engine, and other containers, do not notice."""
    interpreter = f"-v{sys.base_prefix}:{sys.base_prefix}:ro"
    program = (f"{sys.base_prefix}/bin/python3", "-I", "-S", "-c", STOPPER)
    engine.cli("run", "-d", "--name=stopper", "--network=none", interpreter, "host", *program, check=True)
    engine.cli("run", "-d", "--name=other", "--network=none", "host", "sleep", "1000", check=True)
    command = ["docker", "-H", engine.host, "exec", "stopper", "true"]
    clients = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(10)]
    try:
        for _ in range(5):
            engine.docker("exec", "other", "true", check=True)
    finally:
        engine.cli("rm", "-f", "stopper", "other", check=True)
        for client in clients:
            client.wait(60)
    assert engine.cli("ps", "-aq", check=True).stdout == ""
