"""``wherry-oci --systemd-cgroup``: containers in scopes of a real systemd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.oci_command import Bundles, bundles_in
from support.systemd_manager import manager, property_of
from wherry.runtime import cgroups
from wherry.runtime.cgroups.systemd import scope_for

pytestmark = need("root", "busybox", "systemd")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with manager(tmp_path_factory.mktemp("systemd")) as directory:
        yield directory


@pytest.fixture
def oci(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bundles]:
    """The command, for whom the user's systemd manages control groups."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with bundles_in(tmp_path) as bundles:
        bundles.command += ["--systemd-cgroup", "--rootless", "true"]
        yield bundles


def in_slice(name: str, *args: str, oci: Bundles, limit: int = 30) -> str:
    """Make a bundle whose container is to be a scope; the unit."""
    within = {"cgroupsPath": f"wherry-test.slice:box:{name}", "resources": {"pids": {"limit": limit}}}
    oci.bundle(name, *args, whole={"linux": within})
    return f"box-{name}.scope"


def test_a_container_lives_in_its_scope_until_it_is_deleted(oci: Bundles) -> None:
    unit = in_slice("one", "sleep", "100", oci=oci)
    pid = oci.create("one", start=True)
    path = scope_for("wherry-test.slice:box:one", {}, "one", user=True).path
    assert pid in cgroups.open(path).pids()
    assert property_of(unit, "TasksMax") == 30
    oci.do("update", "--pids-limit", "40", "one")
    assert property_of(unit, "TasksMax") == cgroups.open(path).statistics().pids.limit == 40
    shown = oci.do("exec", "one", "cat", "/proc/self/cgroup").splitlines()
    assert {line.rpartition(":")[2] for line in shown} == {"/"}, "in the group that is its namespace's root"
    oci.do("delete", "--force", "one")
    assert not cgroups.open(path).exists()
    with pytest.raises(Exception, match="not loaded"):
        property_of(unit, "TasksMax")


def test_a_path_of_the_other_form_is_refused_in_runcs_words(oci: Bundles) -> None:
    oci.bundle("one", "true")
    done = oci("--log-format", "json", "run", "--bundle", str(oci.directory / "one"), "one")
    assert done.returncode == 1
    assert 'expected cgroupsPath to be of format \\"slice:prefix:name\\" for systemd cgroups' in done.stderr
    assert oci.left() == []


def test_without_a_systemd_nothing_is_made(oci: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    in_slice("one", "true", oci=oci)
    done = oci("run", "--bundle", str(oci.directory / "one"), "one")
    assert (done.returncode, "the user's systemd cannot be reached" in done.stderr) == (1, True)
    assert oci.left() == []


def test_the_state_is_as_with_the_other_manager(oci: Bundles) -> None:
    in_slice("one", "sleep", "100", oci=oci)
    oci.create("one")
    assert json.loads(oci.do("state", "one"))["status"] == "created"
