"""``wherry build --ssh``: OpenSSH in a step asks the client's agent, by way of a real daemon."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces", "ssh-agent")

ADD = "/usr/bin/ssh-add"


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenSSH's client of agents with its libraries, as a directory for an image."""
    root = tmp_path_factory.mktemp("tools")
    listed = subprocess.run(["ldd", ADD], capture_output=True, text=True, check=True).stdout
    for path in [ADD, *re.findall(r"(/\S+) \(0x", listed)]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
        target.chmod(0o755)
    return root


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An agent with one key: the environment that finds it."""
    environment = {**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "agent")}
    with subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it listens
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the test", "-f", tmp_path / "key"]
        subprocess.run(make, check=True)
        subprocess.run([ADD, "-q", tmp_path / "key"], env=environment, check=True)
        yield environment
        process.terminate()


def build(
    daemon: Daemon, tools: Path, run: str, *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    dockerfile = f"FROM busybox:latest\nCOPY --from=tools / /\n{run}\n"
    more = ["--progress", "plain", "--no-cache", "--build-context", f"tools={tools}", *words]
    command = [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, "build", *more, "-"]
    return subprocess.run(
        command, env={**daemon.environment, **(environment or {})}, input=dockerfile, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip


def test_a_step_uses_the_keys_of_the_clients_agent(daemon: Daemon, tools: Path, agent: dict[str, str]) -> None:
    run = "RUN --mount=type=ssh ssh-add -l && ssh-add -T /key.pub && echo signed"
    public = Path(agent["SSH_AUTH_SOCK"]).with_name("key.pub").read_text().strip()
    done = build(daemon, tools, f"RUN echo '{public}' > /key.pub\n{run}", "--ssh", "default", environment=agent)
    assert done.returncode == 0, done.stderr
    assert "of the test (ED25519)" in done.stderr
    assert " signed\n" in done.stderr


def test_a_step_cannot_change_the_agent(daemon: Daemon, tools: Path, agent: dict[str, str]) -> None:
    run = "RUN --mount=type=ssh,id=mine ! ssh-add -D && ! (echo; echo) | ssh-add -x && ssh-add -l"
    done = build(daemon, tools, run, "--ssh", f"mine={agent['SSH_AUTH_SOCK']}")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([ADD, "-l"], env=agent, capture_output=True, text=True, check=True).stdout
    assert "of the test" in listed


def test_an_agent_is_for_its_own_build_and_name(daemon: Daemon, tools: Path, agent: dict[str, str]) -> None:
    run = "RUN --mount=type=ssh,required=true ssh-add -l"
    for words in ([], ["--ssh", f"other={agent['SSH_AUTH_SOCK']}"]):
        done = build(daemon, tools, run, *words)
        assert done.returncode == 1
        assert "unset ssh forward key default" in done.stderr


def test_what_is_no_agent_is_said_before_anything_is_built(daemon: Daemon, tools: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    for word, sentence in (
        (f"x={tmp_path}/key", "failed to parse"),
        (f"x={tmp_path}/none", "no such file or directory"),
        ("default", "SSH_AUTH_SOCK is not set"),
    ):
        done = build(daemon, tools, "RUN true", "--ssh", word, environment={"SSH_AUTH_SOCK": ""})
        assert (done.returncode, "#1" in done.stderr) == (1, False)
        assert sentence in done.stderr


def test_a_step_uses_keys_of_files(daemon: Daemon, tools: Path, tmp_path: Path) -> None:
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of a file", "-f", tmp_path / "key"]
    subprocess.run(make, check=True)
    run = "RUN --mount=type=ssh,id=mine ssh-add -l"
    done = build(daemon, tools, run, "--ssh", f"mine={tmp_path}/key", environment={"SSH_AUTH_SOCK": ""})
    assert done.returncode == 0, done.stderr
    assert "of a file (ED25519)" in done.stderr
