"""Containers in scopes that a real systemd makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from support.runtime_harness import Box, finish
from support.systemd_manager import manager, property_of
from wherry.errors import Conflict, Unsupported
from wherry.oci.runtime_spec import Memory, Pids, Resources
from wherry.runtime import cgroups
from wherry.runtime.cgroups import systemd
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.plan import Plan

pytestmark = need("root", "busybox", "overlay", "namespaces", "systemd")

LIMITS = Resources(memory=Memory(limit=64 << 20), pids=Pids(limit=50))
#: The container's own group, in the hierarchy that systemd keeps.
OWN = "grep -E '^(0:|[0-9]+:name=systemd:)' /proc/self/cgroup | tail -1 | cut -d: -f3"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with manager(tmp_path_factory.mktemp("systemd")) as directory:
        yield directory


@pytest.fixture(autouse=True)
def ours(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


def planned(box: Box, command: str, scope: Scope, **changes: Any) -> Plan:
    spec = box.spec(command, **changes)
    return Plan.decode(compile_spec(spec, container_id="scoped", scope=scope).encode())


def test_a_container_is_a_scope_with_its_limits_and_nothing_is_left_of_it(box: Box) -> None:
    annotations = {"org.systemd.property.CollectMode": "'inactive-or-failed'"}
    scope = systemd.scope_for("wherry-test.slice:box:one", annotations, "one", user=True)
    assert scope.unit == "box-one.scope"
    assert scope.path.endswith("/wherry.slice/wherry-test.slice/box-one.scope")
    found = finish(planned(box, OWN, scope, linux={"resources": LIMITS}))
    assert found.lines == [scope.path], found
    with pytest.raises(Exception, match="not loaded"):
        property_of(scope.unit, "MemoryMax")
    assert not cgroups.open(scope.path).exists()


def test_limits_are_systemds_as_well_and_can_be_changed(box: Box) -> None:
    scope = systemd.scope_for("", {}, f"limited{os.getpid()}", user=True)
    version = cgroups.hierarchies().version
    with box.running("exec sleep 100", scope=scope, linux={"resources": LIMITS}) as first:
        assert property_of(scope.unit, "TasksMax") == 50
        assert property_of(scope.unit, "Delegate") is True
        group = cgroups.open(scope.path)
        assert group.statistics().memory.limit == 64 << 20
        assert first.pid in group.pids()
        changed = cgroups.Resources(pids=70)
        systemd.update(scope, changed, version)
        group.apply(changed)
        assert property_of(scope.unit, "TasksMax") == 70
        assert group.statistics().pids.limit == 70
        executed = box.exec(first, OWN)
        assert executed.lines == [scope.path], executed
        with pytest.raises(Conflict, match="already"):
            finish(planned(box, "true", scope))
        assert first.pid in group.pids()
    assert not cgroups.open(scope.path).exists()


def test_a_start_that_fails_leaves_no_unit(box: Box) -> None:
    scope = systemd.scope_for("", {}, f"failing{os.getpid()}", user=True)
    failure = finish(planned(box, "true", scope, linux={"resources": LIMITS}, process={"cwd": "/etc/passwd"})).failure
    assert failure is not None
    with pytest.raises(Exception, match="not loaded"):
        property_of(scope.unit, "TasksMax")


def test_stopping_what_is_gone_is_no_error() -> None:
    systemd.stop(systemd.scope_for("", {}, "never-was", user=True))


def test_a_manager_that_does_not_run_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    with pytest.raises(Unsupported, match="the user's systemd cannot be reached"):
        systemd.scope_for("", {}, "x", user=True)
