"""Every byte of a data root has an owner, what it costs is what du(1) says, and what is checked is counted."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from support.archives import docker_archive, member, tar
from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.storage_answers import Accounts, Orphan
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.state import State, Status
from wherry.engine.disk.check import DiskChecks
from wherry.engine.disk.ledger import Ledger
from wherry.engine.disk.usage import Usage, bytes_below
from wherry.images.fsck import Finding, Kind, Verdict
from wherry.images.store import ImageStore

LAYER = tar([member("bin/sh", b"#!" * 5000)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    list(opened.load(io.BytesIO(docker_archive([LAYER], ["app:1"]))))
    yield opened
    opened.close()


class Containers(list[Container]):
    """In place of the store of containers."""

    def has_row(self, identifier: str) -> bool:
        return any(one.id == identifier for one in self)


def container(root: Path, status: Status = Status.EXITED, image: str = "sha256:1", digit: str = "c") -> Container:
    definition = Definition(
        id=digit * 64, created="2024-01-01T00:00:00Z", image="app", image_id=image, argv=["sh"], mounts=[],
        config=ContainerConfig(), host=HostConfig(),
    )  # fmt: skip
    return container_of("web", definition, State(status=status), root / "containers" / definition.id, root / "run")


def write(path: Path, size: int = 5000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def du(path: Path) -> int:
    return int(subprocess.run(["du", "-s", "-B1", path], check=True, capture_output=True, text=True).stdout.split()[0])


def owners(report: Accounts) -> dict[str, int]:
    return {row.owner: row.bytes for row in report.owners}


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_the_sum_is_what_du_says_and_no_byte_of_a_sound_root_is_an_orphans(store: ImageStore, tmp_path: Path) -> None:
    root = tmp_path / "data"
    one = container(root)
    os.link(write(one.directory / "logs" / "1"), one.directory / "logs" / "again")
    write(one.directory / "upper" / "deep" / "file", 9000)
    report = Ledger(root, store, Containers([one])).report()
    assert report.bytes == du(root) == sum(owners(report).values())
    assert report.orphans == []
    assert owners(report)["containers' logs"] == du(one.directory / "logs")
    assert owners(report)["containers' files"] == du(one.directory / "upper")
    assert {"blobs", "layers", "database", "content index", "directories"} <= owners(report).keys()
    assert report.owners == sorted(report.owners, key=lambda row: (-row.bytes, row.owner))


def test_what_nobody_knows_is_an_orphan_wherever_it_lies(store: ImageStore, tmp_path: Path) -> None:
    root = tmp_path / "data"
    kept = container(root)
    write(kept.directory / "upper" / "file")
    strange = [
        write(root / "containers" / ("d" * 64) / "upper" / "file").parents[1],
        write(root / "content" / "blobs" / "sha256" / ("e" * 64)),
        write(root / "content" / "else"),
        write(root / "layers" / "777" / "file").parent,
        write(root / "nothing-of-ours"),
    ]
    ledger = Ledger(root, store, Containers([kept]))
    assert ledger.report().orphans == [Orphan(str(path), du(path)) for path in strange]
    ledger.remove_orphaned_containers()
    assert not strange[0].exists()
    assert kept.directory.exists()


# --- sizes of containers ----------------------------------------------------------------------------------------------


def test_the_files_of_a_layer_are_counted_by_their_sizes_and_hard_links_once(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "file", 100)
    os.link(first, tmp_path / "link")
    (tmp_path / "symbolic").symlink_to("a" * 50)
    os.mkfifo(tmp_path / "fifo")
    write(tmp_path / "other", 11)
    assert bytes_below(tmp_path) == (111, 2)


def test_a_container_costs_what_it_wrote_and_its_root_its_image_as_well(tmp_path: Path) -> None:
    write(tmp_path / "upper" / "file", 70)
    write(tmp_path / "more" / "file", 3)
    uppers = [tmp_path / "upper", tmp_path / "more"]
    images = SimpleNamespace(uppers=lambda one: uppers, size_of=lambda image: 1000)
    usage, one = Usage(images), container(tmp_path)  # type: ignore[arg-type]
    assert asyncio.run(usage.of_containers([one])) == {one.id: (73, 1073)}
    assert asyncio.run(usage.of_containers([])) == {}


# --- checks -----------------------------------------------------------------------------------------------------------


class Checked:
    """In place of the image store: these are its findings."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings
        self.asked: dict[str, Any] = {}
        self.layer, self.other = object(), object()

    def check(self, **asked: Any) -> Iterator[Finding]:
        self.asked = asked
        yield from self.findings

    def get(self, image: str) -> SimpleNamespace:
        return SimpleNamespace(layers=[self.layer if image == "sha256:1" else self.other])

    def remove_orphans(self) -> None:
        self.asked["orphans removed"] = True


def checks(store: Checked, tmp_path: Path, *containers: Container) -> tuple[DiskChecks, list[str]]:
    """With a ledger that has an orphan until it is removed."""
    removed: list[str] = []
    ledger = SimpleNamespace(
        report=lambda: SimpleNamespace(orphans=[] if removed else [Orphan("/x", 1)]),
        remove_orphaned_containers=lambda: removed.append("containers"),
    )
    return DiskChecks(store, Containers(containers), ledger, lambda digest: None), removed  # type: ignore[arg-type]


def test_a_check_names_every_finding_and_counts_them_at_the_end(tmp_path: Path) -> None:
    store = Checked(
        Finding(Kind.BLOB, "sha256:a", Verdict.SOUND, 10, ("app:1",)),
        Finding(Kind.LAYER, "sha256:b", Verdict.DAMAGED, 5, (), "a file is missing", "pull it again"),
    )
    found, removed = checks(store, tmp_path)
    first, second, summary = msgspec.to_builtins(list(found.check(repair=False)))
    assert first["Images"] == ["app:1"]
    assert second == {
        "Kind": "layer", "Name": "sha256:b", "Verdict": "damaged", "Bytes": 5, "Images": [], "Why": "a file is missing",
        "Hint": "pull it again",
    }  # fmt: skip
    assert summary["Summary"] == {
        "Sound": 1, "Damaged": 1, "Repaired": 0, "Bytes": 15, "Orphans": [{"Path": "/x", "Bytes": 1}],
    }  # fmt: skip
    assert store.asked["refetch"] is None
    assert removed == []


def test_a_repair_may_fetch_and_removes_orphans(tmp_path: Path) -> None:
    store = Checked()
    found, removed = checks(store, tmp_path)
    [summary] = msgspec.to_builtins(list(found.check(repair=True)))
    assert summary["Summary"]["Orphans"] == []
    assert removed == ["containers"]
    assert store.asked["orphans removed"]
    assert store.asked["refetch"] is not None


def test_a_layer_is_busy_under_containers_that_run_or_are_about_to(tmp_path: Path) -> None:
    store = Checked()
    running = container(tmp_path, Status.RUNNING, digit="1")
    elsewhere = container(tmp_path, Status.RUNNING, "sha256:2", digit="2")
    idle, waiting = container(tmp_path, digit="3"), container(tmp_path, digit="4")
    waiting.restart = SimpleNamespace()  # type: ignore[assignment]
    found, _ = checks(store, tmp_path, running, elsewhere, idle, waiting)
    list(found.check(repair=False))
    assert store.asked["busy"](store.layer) == [running.id, waiting.id]
