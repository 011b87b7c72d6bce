"""Builds of the past, and of now: ``wherry build logs``, ``ls`` and ``inspect`` against a real daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces")

LINES = 400_000  # some 6 MiB with what else there is in a line


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


def build(daemon: Daemon, dockerfile: str, *words: str) -> subprocess.CompletedProcess[str]:
    return daemon.cli("build", *words, "-", input=f"FROM busybox:latest\n{dockerfile}\n")


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def output_of(text: str) -> list[str]:
    """The lines of steps' output, without number and time."""
    return [line.split(" ", 2)[2] for line in text.splitlines() if line.startswith("#") and line.count(" ") > 1]


def test_all_of_a_failed_build_can_be_read_afterwards(daemon: Daemon) -> None:
    failed = build(daemon, f"RUN seq {LINES} && echo 'the end' >&2 && exit 3", "--progress", "quiet")
    assert failed.returncode == 1
    [hint] = [line for line in failed.stderr.splitlines() if line.startswith("All of its output: ")]
    ref = hint.rpartition(" ")[2]
    daemon.restart()
    done = daemon.cli("builder", "logs", ref)
    assert done.returncode == 0, done.stderr
    numbers = [line for line in output_of(done.stdout) if line.isdigit()]
    assert numbers == [str(number + 1) for number in range(LINES)]
    assert "the end" in output_of(done.stdout)
    assert "exit code: 3" in done.stderr


def test_the_last_build_is_read_without_a_name_and_any_by_the_beginning_of_its_name(daemon: Daemon) -> None:
    for number in (1, 2):
        failed = build(daemon, f"RUN echo 'the end of {number}' >&2 && exit {number}", "--progress", "quiet")
        assert failed.returncode == 1
    ref = daemon.cli("build", "inspect", "--format", "{{.Ref}}", check=True).stdout.strip()
    daemon.restart()
    for words in (["builder", "logs", ref], ["build", "logs"], ["build", "logs", ref[:20]]):
        done = daemon.cli(*words)
        assert done.returncode == 0, done.stderr
        assert "the end of 2" in output_of(done.stdout)
        assert "exit code: 2" in done.stderr
    assert daemon.cli("build", "inspect", "--format", "{{.Status}} {{.Ref}}").stdout == f"error {ref}\n"


def test_a_build_is_found_by_its_image(daemon: Daemon, tmp_path: Path) -> None:
    words = ["--metadata-file", str(tmp_path / "meta")]
    image = build(daemon, "RUN echo of one", "-q", "-t", "one:1", *words).stdout.strip()
    ref = json.loads((tmp_path / "meta").read_text())["wherry.build.ref"]
    build(daemon, "RUN echo of another", "-q", "-t", "another")
    daemon.cli("tag", "one:1", "renamed", check=True)
    for name in ("one:1", "renamed", image, image[7:19], ref, ref[:20]):
        assert "of one" in output_of(daemon.cli("build", "logs", name).stdout), name
    assert "of another" in output_of(daemon.cli("build", "logs").stdout)
    rows = daemon.cli("build", "ls").stdout.splitlines()
    assert rows[0].split()[:2] == ["BUILD", "ID"]
    assert (rows[1].split()[1:3], rows[2].split()[1:3]) == (["another:latest", "completed"], ["one:1", "completed"])
    missing = daemon.cli("build", "logs", "nothing:1")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "no such build: nothing:1" in missing.stderr


def test_a_running_build_is_followed_to_its_end(daemon: Daemon) -> None:
    command = [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, "build", "--progress", "quiet", "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=daemon.environment, stdin=pipe, stderr=pipe, text=True) as building:
        assert building.stdin is not None
        building.stdin.write("FROM busybox:latest\nRUN echo begun; sleep 987654\n")
        building.stdin.close()
        wait_for(lambda: "running" in daemon.cli("build", "ls", "--format", "{{.Status}}").stdout.split())
        logs = [*command[:5], "build", "logs", "-f"]
        with subprocess.Popen(logs, env=daemon.environment, stdout=pipe, text=True) as following:
            assert following.stdout is not None
            for line in following.stdout:
                if output_of(line) == ["begun"]:
                    break
            assert "begun" in output_of(daemon.cli("build", "logs").stdout)
            building.send_signal(signal.SIGINT)
            following.stdout.read()
            assert following.wait(120) == 0
        assert building.wait(120) != 0
    assert daemon.cli("build", "inspect", "--format", "{{.Status}}").stdout == "canceled\n"
