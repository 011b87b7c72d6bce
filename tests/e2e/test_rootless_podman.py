"""``wherry-oci`` under podman as an ordinary user, whose root is root of a user namespace only.

Where podman itself cannot: with version 1 of control groups a user has none, so nothing is paused and nothing limited.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import quiet
from support.needs import need
from support.oci_launcher import launcher
from support.ordinary_user import OrdinaryUser, ordinary_user
from support.processes import wait_for
from support.terminal import Person

pytestmark = need("root", "busybox", "rootless-podman")
CONFIGURATION = """[engine]
runtime_supports_nocgroup = ["wherry"]
[engine.runtimes]
wherry = ["{runtime}"]
"""


class Podman:
    """podman as the user, with an image ``bb``."""

    def __init__(self, user: OrdinaryUser, archive: bytes) -> None:
        home = user.home
        (home / "containers.conf").write_text(CONFIGURATION.format(runtime=launcher(home)))
        (home / "image.tar").write_bytes(archive)
        places = ["--root", str(home / "root"), "--runroot", str(home / "run"), "--storage-driver", "vfs"]
        ways = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "wherry"]
        variables = {"CONTAINERS_CONF": str(home / "containers.conf")}
        self.command = user.command("podman", *places, *ways, **variables)
        self.does("import", str(home / "image.tar"), "bb")

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=quiet.patience(90),
        )  # fmt: skip

    def does(self, *words: str) -> str:
        """The output of what must succeed."""
        done = self(*words)
        assert done.returncode == 0, done
        return done.stdout

    def at_a_terminal(self, *words: str) -> Person:
        return Person(["/usr/bin/env", *self.command, *words], dict(os.environ))


@pytest.fixture(scope="module")
def podman(busybox_archive: bytes) -> Iterator[Podman]:
    with ordinary_user() as user:
        yield Podman(user, busybox_archive)


def test_with_a_control_group_of_his_own_the_user_pauses(busybox_archive: bytes) -> None:
    """Version 2: a container's group is beside the one that the user's processes are in."""
    with ordinary_user(delegated=True) as user:
        podman = Podman(user, busybox_archive)
        podman.does("run", "-d", "--name", "paused", "--network", "none", "bb", "sleep", "1000")
        inside = Path(f"/proc/{podman.does('inspect', '-f', '{{.State.Pid}}', 'paused').strip()}/cgroup").read_text()
        assert f"0::/wherry-test-{user.home.name}/" in inside
        assert not inside.rstrip().endswith("/own")
        podman.does("pause", "paused")
        assert podman.does("inspect", "-f", "{{.State.Status}}", "paused") == "paused\n"
        podman.does("unpause", "paused")
        assert podman.does("exec", "paused", "echo", "inside") == "inside\n"
        podman.does("rm", "-f", "-t", "0", "paused")


def test_containers_run_and_end(podman: Podman) -> None:
    assert podman.does("run", "--rm", "bb", "id", "-u") == "0\n"
    assert podman("run", "--rm", "bb", "sh", "-c", "exit 3").returncode == 3
    assert podman("run", "--rm", "bb", "nosuch").returncode == 127
    script = "trap 'exit 9' TERM; echo begun; while :; do sleep 0.1; done"
    podman.does("run", "-d", "--name", "first", "bb", "sh", "-c", script)
    assert podman.does("exec", "first", "echo", "inside") == "inside\n"
    assert podman("exec", "first", "sh", "-c", "exit 5").returncode == 5
    assert podman("exec", "first", "nosuch").returncode == 127
    assert "sh -c trap" in podman.does("top", "first")
    wait_for(lambda: podman.does("logs", "first") == "begun\n")
    podman.does("kill", "--signal", "TERM", "first")
    assert podman.does("wait", "first") == "9\n"
    podman.does("rm", "first")


def test_it_has_a_network_of_its_own(podman: Podman) -> None:
    assert "inet 10.0.2.100/24" in podman.does("run", "--rm", "bb", "ip", "addr")


def test_control_groups_of_the_host_are_read_only(podman: Podman) -> None:
    """CVE-2023-25809: without a control group of its own, a container sees those that its user is in."""
    lines = podman.does("run", "--rm", "--cgroupns", "host", "bb", "grep", "cgroup", "/proc/mounts").splitlines()
    assert lines
    assert all(line.split()[3].startswith("ro,") for line in lines), lines


def test_ids_are_mapped_as_the_user_wants_them(podman: Podman) -> None:
    assert podman.does("run", "--rm", "--userns", "keep-id", "bb", "id", "-u") == "61234\n"
    maps = ("--uidmap", "0:0:1", "--uidmap", "1:1:5000", "--gidmap", "0:0:5001")
    said = podman.does("run", "--rm", *maps, "bb", "cat", "/proc/self/uid_map").split()
    assert said == ["0", "0", "1", "1", "1", "5000"]


def test_what_is_the_hosts_can_be_shared(podman: Podman) -> None:
    shared = ("--pid", "host", "--network", "host", "--uts", "host", "--cgroupns", "host")
    podman.does("run", "-d", "--name", "sharing", *shared, "bb", "echo", "hello")
    assert podman.does("wait", "sharing") == "0\n"
    assert podman.does("logs", "sharing") == "hello\n"
    podman.does("rm", "sharing")
    assert podman("run", "--rm", "--privileged", "--network", "none", "bb", "mount").returncode == 0


def test_a_container_of_the_hosts_processes_is_ended_as_a_whole(podman: Podman) -> None:
    podman.does("run", "-d", "--name", "whole", "--pid", "host", "bb", "sh", "-c", "sleep 54321 & exec sleep 54321")
    wait_for(lambda: len(_sleepers()) == 2)
    podman.does("rm", "-f", "-t", "0", "whole")
    wait_for(lambda: not _sleepers())


def _sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == b"sleep\x0054321\0":
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_terminals(podman: Podman) -> None:
    script = "tty; read x; echo got $x; exit 4"
    podman.does("run", "-d", "--name", "terminals", "bb", "sleep", "1000")
    for words in (("run", "--rm", "-it", "bb"), ("exec", "-it", "terminals")):
        person = podman.at_a_terminal(*words, "sh", "-c", script)
        person.sees(b"/dev/pts/0")
        person.types(b"word\r")
        person.sees(b"got word")
        assert person.leaves() == 4
    podman.does("rm", "-f", "-t", "0", "terminals")


def test_who_attaches_sees_and_types(podman: Podman) -> None:
    podman.does("run", "-d", "-i", "--name", "attached", "bb", "sh", "-c", "read x; echo got $x; exit 6")
    person = podman.at_a_terminal("attach", "attached")
    person.types(b"word\r")
    person.sees(b"got word")
    person.leaves()
    assert podman.does("wait", "attached") == "6\n"
    podman.does("rm", "attached")


@need("cgroup1")
def test_limits_that_cannot_be_are_refused_in_runcs_words(podman: Podman) -> None:
    podman.does("run", "-d", "--name", "limited", "bb", "sleep", "1000")
    refused = podman("update", "--memory", "64m", "limited")
    assert refused.returncode != 0
    assert "container could not join or create cgroup" in refused.stderr, refused
    podman.does("rm", "-f", "-t", "0", "limited")
    assert "permission denied" in podman("run", "--rm", "--cgroup-parent", "/foo", "bb", "true").stderr


def test_a_container_without_a_control_group_of_its_own(podman: Podman) -> None:
    podman.does("run", "-d", "--name", "plain", "--cgroups", "disabled", "bb", "sleep", "1000")
    assert podman.does("exec", "plain", "echo", "inside") == "inside\n"
    podman.does("rm", "-f", "-t", "0", "plain")
