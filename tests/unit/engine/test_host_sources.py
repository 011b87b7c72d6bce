"""What a container names of the host: sources of binds that are there, made or refused, and its devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, Device, HostConfig, Mount
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.state import State
from wherry.engine.spec import host_sources
from wherry.engine.spec.devices import HostDevices
from wherry.engine.spec.host_sources import missing_sources, on_the_host
from wherry.errors import InvalidInput


def container(root: Path, *points: MountPoint, **host: Any) -> Container:
    definition = Definition(
        id="c" * 64, created="2024-01-01T00:00:00Z", image="app", image_id="sha256:1", argv=["sh"], mounts=[*points],
        config=ContainerConfig(), host=HostConfig(**host),
    )  # fmt: skip
    return container_of("web", definition, State(), root / "web", root / "run")


def bind(source: Path, **fields: Any) -> MountPoint:
    return MountPoint(kind="bind", source=str(source), target="/data", **fields)


async def test_who_names_nothing_of_the_host_costs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_sources, "call_bounded", None)
    point = MountPoint(kind="tmpfs", source="", target="/tmp")
    assert await on_the_host(container(tmp_path, point), ()) == HostDevices()
    assert await missing_sources(HostConfig(binds=["/x:/y"])) == frozenset()


async def test_a_source_is_made_where_that_was_asked_for_and_left_alone_where_it_is(tmp_path: Path) -> None:
    new, there, other = tmp_path / "a" / "new", tmp_path / "file", tmp_path / "not"
    there.write_text("x")
    dangling = tmp_path / "link"
    dangling.symlink_to("nowhere")
    points = [bind(path, create_source=True) for path in (new, there, dangling)]
    await on_the_host(container(tmp_path, *points, bind(other, create_source=False)), ())
    assert new.is_dir()
    assert there.read_text() == "x"
    assert dangling.is_symlink()
    assert not other.exists()


@pytest.mark.parametrize(
    ("propagation", "mount", "words"),
    [
        ("rshared", (True, False), ""),
        ("shared", (False, True), "a shared mount"),
        ("rshared", (False, False), "a shared mount"),
        ("rslave", (True, False), ""),
        ("slave", (False, True), ""),
        ("rslave", (False, False), "a shared or slave mount"),
        ("rprivate", (False, False), ""),
    ],
)
async def test_propagation_needs_a_mount_that_takes_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, propagation: str, mount: tuple[bool, bool], words: str
) -> None:
    monkeypatch.setattr(host_sources, "_mount_of", lambda path: ("/srv", *mount))
    one = container(tmp_path, bind(tmp_path, propagation=propagation))
    if not words:
        await on_the_host(one, ())
        return
    with pytest.raises(InvalidInput) as error:
        await on_the_host(one, ())
    assert error.value.message == f"path {tmp_path} is mounted on /srv but it is not {words}"


def test_the_mount_of_a_path_is_the_one_that_it_lies_on(tmp_path: Path) -> None:
    where, shared, _ = host_sources._mount_of("/proc/self/status")
    assert where == "/proc"
    line = next(
        line.split(" - ")[0]
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines())
        if line.split(" ")[4] == "/proc"
    )
    assert shared is ("shared:" in line)


async def test_a_source_that_is_not_there_is_left_to_the_start(tmp_path: Path) -> None:
    await on_the_host(container(tmp_path, bind(tmp_path / "missing", propagation="rshared", create_source=False)), ())


async def test_a_device_that_is_none_is_refused(tmp_path: Path) -> None:
    devices = await on_the_host(container(tmp_path, devices=[Device("/dev/null", "/dev/zilch", "rwm")]), ())
    assert devices != HostDevices()
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput):
        await on_the_host(container(tmp_path, devices=[Device(str(tmp_path / "file"), "/dev/x", "rwm")]), ())


async def test_only_binds_that_make_no_source_are_looked_for(tmp_path: Path) -> None:
    mounts = [
        Mount(target="/a", type="bind", source=str(tmp_path)),
        Mount(target="/b", type="bind", source=str(tmp_path / "missing")),
        Mount(target="/c", type="volume", source="name"),
        Mount(target="/d", type="tmpfs"),
    ]
    assert await missing_sources(HostConfig(mounts=mounts)) == {str(tmp_path / "missing")}
