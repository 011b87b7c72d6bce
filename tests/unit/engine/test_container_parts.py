"""A container's hostname, events and directories, and how its run is said to have ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.engine.container import directories
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.hostname import hostname_of
from wherry.engine.container.state import State, Status
from wherry.engine.events import EventBus
from wherry.engine.lifecycle.exit_facts import failure_code, oom_kills, seconds_run, was_expected
from wherry.errors import CommandNotExecutable, CommandNotFound, SystemFault


def container(folder: Path = Path("/nowhere"), *, state: State | None = None, **members: Any) -> Container:
    definition = Definition(
        id="c" * 64, created="2024-01-01T00:00:00Z", image="busybox", image_id="sha256:1", argv=["sh"], mounts=[],
        config=ContainerConfig(hostname=members.pop("hostname", None), labels=members.pop("labels", None)),
        host=HostConfig(**members),
    )  # fmt: skip
    return container_of("web", definition, state or State(), folder / "data", folder / "run")


@pytest.mark.parametrize(
    ("members", "name"),
    [({"hostname": "own"}, "own"), ({}, "c" * 12), ({"network_mode": "host"}, os.uname().nodename),
     ({"uts_mode": "host"}, os.uname().nodename)],
)  # fmt: skip
def test_a_hostname_is_the_containers_own_or_the_hosts(members: dict[str, str], name: str) -> None:
    assert hostname_of(container(**members)) == name


def test_an_event_has_the_containers_labels_image_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    bus = EventBus()
    monkeypatch.setattr(bus, "publish", lambda *event: told.append(event))
    ContainerEvents(bus).publish(container(labels={"a": "b"}), "die", exitCode="3")
    ContainerEvents(bus).publish_prune(7)
    assert told == [
        ("container", "die", "c" * 64, {"a": "b", "image": "busybox", "name": "web", "exitCode": "3"}),
        ("container", "prune", "", {"reclaimed": "7"}),
    ]


def test_the_run_directory_comes_and_goes(tmp_path: Path) -> None:
    one = container(tmp_path)
    directories.make_data_directories(one)
    directories.make_run_directory(one)
    directories.make_run_directory(one)
    assert one.directory.is_dir()
    directories.remove_run_directory(one)
    directories.remove_run_directory(one)
    assert not one.run_directory.exists()


def test_the_exit_code_of_what_never_began_is_the_shells() -> None:
    assert failure_code(CommandNotFound("x"), 128) == 127
    assert failure_code(CommandNotExecutable("x"), 128) == 126
    assert failure_code(SystemFault("x"), 128) == 128


def test_a_run_is_measured_and_never_negative() -> None:
    ended = State(started_at="2024-01-01T00:00:01Z", finished_at="2024-01-01T00:00:03.9Z", status=Status.EXITED)
    assert seconds_run(container(state=ended)) == 2
    ended.finished_at = "2024-01-01T00:00:00Z"
    assert seconds_run(container(state=ended)) == 0


def test_an_end_is_expected_when_somebody_asked_for_it() -> None:
    one = container()
    assert not was_expected(one)
    one.end_requested = True
    assert was_expected(one)


def test_without_a_cgroup_nobody_was_killed_for_want_of_memory() -> None:
    assert oom_kills("/wherry-no-such-group/c") == 0
