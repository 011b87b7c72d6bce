"""Ways to a daemon on another machine: ssh with OpenSSH's own server, by wherry's command and by docker's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import ROOT, need, program
from support.ports import free_port

pytestmark = need("root", "busybox", "overlay", "namespaces", "sshd")

SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
PermitRootLogin prohibit-password
SetEnv PATH={folder}/bin:/usr/bin:/bin WHERRY_HOST={host}
"""
CLIENT = """
Host box
HostName 127.0.0.1
Port {port}
User root
IdentityFile {folder}/user
IdentitiesOnly yes
StrictHostKeyChecking accept-new
UserKnownHostsFile {folder}/known
"""


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


@pytest.fixture(scope="module")
def box(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An ssh server on this machine: the environment for who wants to get there as to the host ``box``."""
    folder, port = tmp_path_factory.mktemp("ssh"), free_port()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    values = {"folder": folder, "port": port, "host": daemon.host}
    (folder / "server").write_text(SERVER.format(**values))
    (folder / "client").write_text(CLIENT.format(**values))
    wherry = f'PYTHONPATH={ROOT / "src"} exec {sys.executable} -m wherry.cli.main "$@"'
    # What docker's client calls there is wherry under docker's name.
    (folder / "bin").mkdir()
    for name, command in (("wherry", wherry), ("docker", 'exec wherry "$@"')):
        script(folder / "bin" / name, command)
    (folder / "here").mkdir()
    script(folder / "here/ssh", f'exec {program("ssh")} -F {folder}/client "$@"')
    made = not Path("/run/sshd").exists()
    Path("/run/sshd").mkdir(exist_ok=True)
    command = [program("sshd") or "sshd", "-D", "-e", "-f", folder / "server"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL) as server:
        while b"Server listening" not in (folder / "log").read_bytes():
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        environment = {**daemon.environment, "PATH": f"{folder}/here:{os.environ['PATH']}", "HOME": str(folder)}
        for name in ("WHERRY_HOST", "DOCKER_HOST", "DOCKER_CONTEXT"):
            environment.pop(name, None)
        yield {**environment, "DOCKER_CONFIG": str(folder / "config")}
        server.terminate()
    if made:
        with suppress(OSError):
            Path("/run/sshd").rmdir()


def script(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def run(words: list[str], box: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command; its standard input is half a megabyte."""
    given = "line\n" * 100_000
    return subprocess.run(
        words, env={**box, **variables}, input=given, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("client", ["wherry", "docker"])
def test_a_container_is_run_by_way_of_ssh(box: dict[str, str], daemon: Daemon, client: str) -> None:
    if client == "docker" and program("docker") is None:
        pytest.skip("needs the docker command")
    command = [sys.executable, "-m", "wherry.cli.main"] if client == "wherry" else [program("docker") or ""]
    done = run([*command, "-H", "ssh://box", "run", "--rm", "-i", "busybox", "wc", "-c"], box)
    assert (done.returncode, done.stdout.strip()) == (0, "500000"), done.stderr
    done = run([*command, "run", "--rm", "busybox", "sh", "-c", "seq 20000; exit 3"], box, DOCKER_HOST="ssh://box")
    assert (done.returncode, len(done.stdout.split())) == (3, 20000), done.stderr
    # The same by a context that the one command made and the other reads, to a socket that it names.
    other = [program("docker") or sys.executable, *(() if program("docker") else ("-m", "wherry.cli.main"))]
    made = run([*other, "context", "create", client, "--docker", f"host=ssh://box{daemon.socket}"], box)
    assert made.returncode == 0, made.stderr
    assert run([*command, "context", "use", client], box).returncode == 0
    done = run([*command, "ps", "-aq", "--filter", "name=nobody"], box)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    listed = run([*command, "context", "ls", "--format", "{{.Name}} {{.Current}} {{.DockerEndpoint}}"], box)
    assert f"{client} true ssh://box{daemon.socket}\n" in listed.stdout


def test_what_ssh_says_is_told(box: dict[str, str]) -> None:
    done = run([sys.executable, "-m", "wherry.cli.main", "-H", "ssh://nobody@box", "ps"], box)
    assert done.returncode == 1
    assert "cannot connect to the daemon at ssh://nobody@box: " in done.stderr
    assert "Permission denied (publickey)" in done.stderr
