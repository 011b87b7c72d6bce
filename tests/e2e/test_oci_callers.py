"""``wherry-oci`` under the engines that call a runtime: podman, Docker, containerd and buildah, each as it comes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import quiet
from machine import OWN_NETWORK
from support.busybox import import_busybox
from support.daemons import DockerDaemon, docker_environment
from support.needs import need, program
from support.oci_command import remove_empty_groups
from support.oci_launcher import launcher
from support.processes import wait_for
from support.terminal import Person

pytestmark = need("root", "busybox")
APART = OWN_NETWORK
Say = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", autouse=True)
def _no_empty_groups() -> Iterator[None]:
    """Engines leave the control groups behind that they have put containers' into."""
    yield
    remove_empty_groups("docker", "default", "libpod_parent")


def saying(command: list[str], environment: dict[str, str] | None = None) -> Say:
    """A function that runs a command with further arguments."""

    def say(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=quiet.patience(90), env=environment,
        )  # fmt: skip

    return say


def done(completed: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must have succeeded."""
    assert completed.returncode == 0, completed
    return completed.stdout


def drive(engine: Say, *, image: str, flags: tuple[str, ...], missing: int) -> None:
    """What podman and docker have in common.

    :param missing: the exit code of an exec whose program is not there.
    """
    assert done(engine("run", "--rm", *flags, image, "echo", "hello")) == "hello\n"
    assert engine("run", "--rm", *flags, image, "sh", "-c", "exit 3").returncode == 3
    assert engine("run", "--rm", *flags, image, "nosuch").returncode == 127
    script = "trap 'exit 9' TERM; echo begun; while :; do sleep 0.1; done"
    done(engine("run", "-d", "--name", "first", *flags, image, "sh", "-c", script))
    assert done(engine("exec", "first", "echo", "inside")) == "inside\n"
    assert engine("exec", "first", "sh", "-c", "exit 5").returncode == 5
    assert engine("exec", "first", "nosuch").returncode == missing
    done(engine("pause", "first"))
    assert done(engine("inspect", "-f", "{{.State.Status}}", "first")) == "paused\n"
    done(engine("unpause", "first"))
    done(engine("update", "--memory", "64m", "--memory-swap", "64m", "first"))
    assert "sh -c trap" in done(engine("top", "first"))
    wait_for(lambda: done(engine("logs", "first")) == "begun\n")
    done(engine("kill", "--signal", "TERM", "first"))
    assert done(engine("wait", "first")) == "9\n"
    done(engine("rm", "first"))


def at_a_terminal(command: list[str], environment: dict[str, str]) -> None:
    """Run a shell line at a terminal."""
    path = program(command[0]) or command[0]
    person = Person([path, *command[1:], "sh", "-c", "tty; read x; echo got $x; exit 4"], environment)
    person.sees(b"/dev/pts/0")
    person.types(b"word\r")
    person.sees(b"got word")
    assert person.leaves() == 4


# ---------------------------------------------------------------------------------------------------------- podman


@pytest.fixture
def podman(tmp_path: Path, busybox_archive: bytes) -> Iterator[list[str]]:
    """podman with wherry-oci, an image ``bb``, and directories of its own."""
    run = tempfile.mkdtemp(prefix="podman-")  # podman wants this name to be short
    places = ["--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs"]
    ways = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", str(launcher(tmp_path))]
    command = [*APART, "podman", *places, *ways]
    (tmp_path / "image.tar").write_bytes(busybox_archive)
    done(saying(command)("import", str(tmp_path / "image.tar"), "bb"))
    yield command
    saying(command)("rm", "-fa")
    subprocess.run(["umount", "-l", str(tmp_path / "root/vfs")], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", run], check=False)


@need("podman")
def test_podman_runs_executes_pauses_updates_and_ends(podman: list[str]) -> None:
    drive(saying(podman), image="bb", flags=("--network", "none"), missing=127)


@need("podman", "criu")
def test_podman_writes_a_container_down_and_restores_it(podman: list[str], tmp_path: Path) -> None:
    engine, archive = saying(podman), str(tmp_path / "moved.tar")
    count = "i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.05; done"
    done(engine("run", "-d", "--name", "first", "--network", "none", "bb", "sh", "-c", count))

    def counted(name: str) -> int:
        return int(engine("exec", name, "cat", "/count").stdout.strip() or 0)

    wait_for(lambda: counted("first") > 2)
    done(engine("container", "checkpoint", "first"))
    done(engine("container", "restore", "first"))
    before = counted("first")
    done(engine("container", "checkpoint", "--export", archive, "first"))
    done(engine("rm", "first"))
    done(engine("container", "restore", "--import", archive, "--name", "second"))
    wait_for(lambda: counted("second") > before)


@need("podman")
def test_podman_gets_terminals(podman: list[str]) -> None:
    flags = ["--rm", "-it", "--network", "none", "bb"]
    at_a_terminal([*podman, "run", *flags], dict(os.environ))


# ---------------------------------------------------------------------------------------------------------- docker


@need("docker", "dockerd")
def test_docker_runs_executes_pauses_updates_and_ends(
    dockerd: DockerDaemon, busybox_archive: bytes, tmp_path: Path
) -> None:
    image = import_busybox(dockerd, busybox_archive)
    docker = saying([program("docker") or "docker"], docker_environment(dockerd.host, tmp_path))
    flags = ("--runtime", "wherry", "--network", "none")
    try:
        drive(docker, image=image, flags=flags, missing=126)
        health = ("--health-cmd", "true", "--health-interval", "100ms")
        done(docker("run", "-d", "--name", "second", *flags, *health, image, "sleep", "100"))
        wait_for(lambda: done(docker("inspect", "-f", "{{.State.Health.Status}}", "second")) == "healthy\n")
        beside = ("--rm", "--runtime", "wherry", "--pid", "container:second", "--network", "container:second")
        assert "sleep 100" in done(docker("run", *beside, image, "ps"))
    finally:
        docker("rm", "-f", "first", "second")


@need("docker", "dockerd")
def test_docker_gets_terminals(dockerd: DockerDaemon, busybox_archive: bytes, tmp_path: Path) -> None:
    image = import_busybox(dockerd, busybox_archive)
    docker = [program("docker") or "docker"]
    environment = docker_environment(dockerd.host, tmp_path)
    flags = ["--rm", "-it", "--runtime", "wherry", "--network", "none"]
    at_a_terminal([*docker, "run", *flags, image], environment)


# ------------------------------------------------------------------------------------------------ containerd, buildah


@contextmanager
def containerd(directory: Path) -> Iterator[list[str]]:
    """containerd with directories of its own, and ``ctr`` for it."""
    run = Path(tempfile.mkdtemp(prefix="containerd-"))
    (directory / "config.toml").write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "{run}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\n  address = "{run}/s"\n[ttrpc]\n  address = "{run}/t"\n'
    )
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen([*APART, "containerd", "-c", str(directory / "config.toml")], stdout=log, stderr=log)
    ctr = ["ctr", "-a", f"{run}/s"]
    try:
        wait_for(lambda: saying(ctr)("version").returncode == 0)
        yield ctr
    finally:
        daemon.terminate()
        daemon.wait(60)
        subprocess.run(["rm", "-rf", str(run)], check=False)


@need("containerd")
def test_containerd_runs_executes_pauses_and_ends(tmp_path: Path, busybox_archive: bytes) -> None:
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "-x", "-C", str(rootfs)], input=busybox_archive, check=True)
    with containerd(tmp_path) as command:
        ctr = saying(command)
        run = ["run", "--runc-binary", str(launcher(tmp_path))]
        assert done(ctr(*run, "--rm", "--rootfs", str(rootfs), "one", "echo", "hello")) == "hello\n"
        done(ctr(*run, "-d", "--rootfs", str(rootfs), "two", "sleep", "100"))
        try:
            assert "sleep 100" in done(ctr("task", "exec", "--exec-id", "e", "two", "ps"))
            done(ctr("task", "pause", "two"))
            assert "PAUSED" in done(ctr("task", "ls"))
            done(ctr("task", "resume", "two"))
            done(ctr("task", "kill", "-s", "9", "two"))
            wait_for(lambda: "STOPPED" in done(ctr("task", "ls")))
        finally:
            ctr("task", "rm", "-f", "two")
            ctr("container", "rm", "two")
        assert not [name for name in os.listdir("/run/containerd/runc/default") if name in ("one", "two")]


@need("buildah")
def test_buildah_runs_a_step(tmp_path: Path, busybox_archive: bytes) -> None:
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "-x", "-C", str(rootfs)], input=busybox_archive, check=True)
    places = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]
    buildah = saying([*APART, "buildah", *places])
    name = done(buildah("from", "scratch")).strip()
    done(buildah("copy", name, str(rootfs), "/"))
    run = ["run", "--runtime", str(launcher(tmp_path)), "--isolation", "oci", "--network", "none", name]
    assert done(buildah(*run, "sh", "-c", "echo in the step")) == "in the step\n"
    assert buildah(*run, "false").returncode == 1
    done(buildah("rm", name))
