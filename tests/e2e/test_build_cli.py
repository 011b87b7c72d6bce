"""`wherry build` against a real daemon: what people type, and what they see."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need
from support.processes import processes, wait_for

pytestmark = need("root", "busybox", "overlay", "namespaces")

DOCKERFILE = """
FROM busybox:latest AS tools
RUN --mount=type=secret,id=token cat /run/secrets/token > /token-length && echo made
FROM busybox:latest
ARG WHO=world
COPY . /context/
RUN echo hello $WHO > /greeting
COPY --from=tools /token-length /token
CMD ["cat", "/greeting", "/token"]
"""


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory with a Dockerfile, and a file that is ignored."""
    root = tmp_path / "context"
    root.mkdir()
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / ".dockerignore").write_text("*.log\n")
    (root / "kept").write_text("kept")
    (root / "dropped.log").write_text("dropped")
    return root


def test_a_directory_becomes_an_image_that_runs(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    words = ["--build-arg", "WHO=you", "--secret", f"id=token,src={tmp_path}/token", "--label", "a=b"]
    files = ["--iidfile", str(tmp_path / "iid"), "--metadata-file", str(tmp_path / "meta")]
    done = daemon.cli("build", "-t", "built:1", *words, *files, str(context))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "RUN echo hello you > /greeting" in done.stderr
    assert " made\n" in done.stderr
    assert "Warning" not in done.stderr
    image = (tmp_path / "iid").read_text()
    assert json.loads((tmp_path / "meta").read_text())["containerimage.config.digest"] == image
    assert daemon.cli("run", "--rm", "--network", "none", "built:1").stdout == "hello you\nt0ken\n"
    listed = daemon.cli("run", "--rm", "--network", "none", "built:1", "ls", "-A", "/context").stdout.split()
    assert listed == [".dockerignore", "Dockerfile", "kept"]
    again = daemon.cli("build", "-q", *words, str(context))
    assert again.stdout == f"{image}\n"


def test_a_directory_of_this_machine_is_seen_by_steps_and_no_part_of_the_image(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("seen\n")
    run = "RUN cat /deep/in/seen /ro/seen && echo kept > /deep/in/made && ! touch /ro/made"
    words = ["-q", "-t", "built:seen", "-v", f"{tmp_path}:/deep/in", "-v", f"{tmp_path}:/ro:ro"]
    daemon.cli("build", *words, "-", input=f"FROM busybox:latest\n{run}\n", check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "seen"]
    found = daemon.cli("run", "--rm", "--network", "none", "built:seen", "ls", "-d", "/deep", "/ro")
    assert "No such file" in found.stderr
    assert not found.stdout
    without = daemon.cli("build", "-q", "-", input=f"FROM busybox:latest\n{run}\n")
    assert without.returncode == 1  # not from the cache


def test_a_failed_step_is_shown_with_its_output_and_its_line(daemon: Daemon) -> None:
    done = daemon.cli("build", "-", input="FROM busybox:latest\nRUN echo before && exit 7\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "------\nbefore\n------\n" in done.stderr.replace(" > [2/2] RUN echo before && exit 7:\n", "")
    assert "   2 | >>> RUN echo before && exit 7\n" in done.stderr
    assert done.stderr.rstrip().endswith("exit code: 7")


def test_a_wrong_dockerfile_is_shown_with_its_line(daemon: Daemon, context: Path) -> None:
    done = daemon.cli("build", "-f", "-", str(context), input="FROM busybox:latest\nRUNX x\n")
    assert done.returncode == 1
    assert "Dockerfile:2\n" in done.stderr
    assert "ERROR: failed to build: dockerfile parse error on line 2: unknown instruction: RUNX" in done.stderr


def test_a_dockerfile_is_checked_and_described(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("# BASE is the base\nARG BASE=scratch\nFROM $BASE as Odd\nENV A b\n")
    done = daemon.cli("build", "--check", str(context))
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("WARNING")] == [
        "FromAsCasing", "StageNameCasing", "LegacyKeyValueFormat"
    ]  # fmt: skip
    outline = daemon.cli("build", "--call", "outline", str(context))
    assert outline.returncode == 0, outline.stderr
    assert ["BASE", "scratch", "is", "the", "base"] in [line.split() for line in outline.stdout.splitlines()]


def test_a_source_policy_says_what_is_fetched(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Dockerfile").write_text("FROM nowhere/at/all:1\nRUN true\nCOPY --from=denied / /d\n")
    image = "docker-image://docker.io"
    convert = {
        "action": "CONVERT",
        "selector": {"identifier": f"{image}/nowhere/*"},
        "updates": {"identifier": f"{image}/library/busybox:latest"},
    }
    deny = {"action": "DENY", "selector": {"identifier": f"^{image}/library/den[a-z]+:", "match_type": "REGEX"}}
    (tmp_path / "policy.json").write_text(json.dumps({"rules": [convert, deny]}))
    monkeypatch.setenv("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", str(tmp_path / "policy.json"))
    done = daemon.cli("build", "--network", "none", str(tmp_path))
    assert f'source "{image}/library/denied:latest" denied by policy' in done.stderr
    (tmp_path / "Dockerfile").write_text("FROM nowhere/at/all:1\nRUN true\n")
    done = daemon.cli("build", "--network", "none", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "FROM docker.io/library/busybox:latest" in done.stderr


def test_an_interrupted_build_ends_at_the_daemon(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox:latest\nRUN echo begun; exec sleep 987654\n")
    command = [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, "build", "--progress", "plain", str(context)]
    with subprocess.Popen(command, env=daemon.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith(" begun"):
                break
        wait_for(lambda: processes("sleep 987654"))
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(60) != 0
    wait_for(lambda: not processes("sleep 987654"))


def test_cache_is_listed_and_removed(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox:latest\nRUN echo 1 > /to-be-pruned\n")
    assert daemon.cli("build", "-q", str(context)).returncode == 0
    assert "RUN echo 1 > /to-be-pruned" in daemon.cli("builder", "du", "-v").stdout
    done = daemon.cli("builder", "prune", "-a", "-f")
    assert done.returncode == 0, done.stderr
    assert "Total reclaimed space: " in done.stdout


def test_system_prune_removes_cache_as_well(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox:latest\nRUN echo 1 > /by-system-prune\n")
    build, cached = ("build", "--progress", "plain", str(context)), r"/by-system-prune\n#\d+ CACHED"
    assert daemon.cli(*build).returncode == 0
    kept = daemon.cli("system", "prune", "-a", "-f", "--filter", "label=of-nothing", check=True)
    assert "Deleted build cache objects:" not in kept.stdout
    assert re.search(cached, daemon.cli(*build).stderr)
    pruned = daemon.cli("system", "prune", "-f", check=True).stdout
    assert "Deleted build cache objects:\n" in pruned
    assert not pruned.endswith("Total reclaimed space: 0B\n")
    assert not re.search(cached, daemon.cli(*build).stderr)
