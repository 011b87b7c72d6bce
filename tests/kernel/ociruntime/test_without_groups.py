"""Containers without a control group of their own (``--cgroup-manager disabled``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.oci_command import Bundles
from support.processes import wait_for

pytestmark = need("root", "busybox")
TWO = ("sh", "-c", "sleep 1000 & exec sleep 1000")


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Bundles]:
    bundles = Bundles(tmp_path)
    bundles.command += ["--cgroup-manager", "disabled"]
    yield bundles
    bundles.clean_up()


def groups_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


def test_its_processes_stay_where_the_command_is(oci: Bundles) -> None:
    oci.bundle("a", *TWO, whole={"linux": {"resources": {"pids": {"limit": 5}}}})
    pid = oci.create("a", start=True)
    assert groups_of(pid) == groups_of(os.getpid())
    assert oci.do("exec", "a", "echo", "inside") == "inside\n"
    wait_for(lambda: len(oci.do("ps", "--format", "json", "a").split(",")) == 2)
    for words, text in (
        (("pause", "a"), "cgroups not configured for container"),
        (("update", "--memory", "64m", "a"), "container could not join or create cgroup"),
        (("events", "--stats", "a"), "cgroups not configured for container"),
        (("exec", "--cgroup", "below", "a", "true"), "the container has no control group"),
    ):
        assert text in oci(*words).stderr, words
    assert oci.state("a")["status"] == "running"
    oci.do("kill", "--all", "a", "KILL")
    oci.becomes("a", "stopped")
    oci.do("delete", "a")
    assert oci.left() == []


@pytest.mark.parametrize("how", [("kill", "a", "KILL"), ("kill", "--all", "a", "KILL"), ("delete", "--force", "a")])
def test_without_a_pid_namespace_either_all_its_processes_are_ended(oci: Bundles, how: tuple[str, ...]) -> None:
    namespaces = [{"type": kind} for kind in ("mount", "ipc", "uts", "network")]
    oci.bundle(
        "a", "sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000", whole={"linux": {"namespaces": namespaces}}
    )
    pid = oci.create("a", start=True)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_for(lambda: len(children.read_text().split()) == 2)
    theirs = [Path(f"/proc/{child}") for child in children.read_text().split()]
    oci.do(*how)
    wait_for(lambda: not any(map(is_alive, theirs)))


def is_alive(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_checkpoint_and_a_restore_are_refused(oci: Bundles) -> None:
    oci.bundle("a", "sleep", "1000")
    oci.create("a", start=True)
    assert "without a control group" in oci("checkpoint", "--image-path", str(oci.directory / "i"), "a").stderr
    assert "without a control group" in oci("restore", "--image-path", str(oci.directory / "i"), "b").stderr


@pytest.mark.parametrize("value", ["t", "TRUE", "0", "auto", ""])
def test_whether_it_is_rootless_is_said_as_to_runc(oci: Bundles, value: str) -> None:
    assert oci.do(f"--rootless={value}", "list", "-q") == ""
    assert "invalid value 'perhaps' of --rootless" in oci("--rootless", "perhaps", "list").stderr
