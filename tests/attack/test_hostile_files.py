"""Files in copies that are huge and empty, change meanwhile, or have names that mislead.

A hole of terabytes costs nobody anything but those who read it, or write what they have read.
"""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from support.snapshots import World, world
from wherry.build.exporters.tree import pack_directory
from wherry.build.files.evaluate import Evaluation
from wherry.build.files.operations import FileOperations
from wherry.build.model.graph import Copy, FileAction, FileOp
from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.content.store import Staged
from wherry.errors import OutOfSpace
from wherry.images.importer import Commit
from wherry.layers.diff import write_layer
from wherry.layers.file_content import Content
from wherry.layers.overlay_paths import OverlayMount

pytestmark = need("root", "overlay")

HUGE = 1 << 43


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "data") as made:
        yield made


@pytest.fixture
def context(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    return made


def copied(here: World, context: Path, action: Copy) -> Snapshot:
    """What comes of a copy out of a client's directory."""
    source = Snapshot((SnapshotLayer(-1, str(context)),))
    [result] = Evaluation(here.snapshots, FileOp((FileAction(action, 0, 1, 0),)), [EMPTY, source]).run()
    return result


class Reading:
    """Counts what is read of files in pieces of a megabyte, and says when the first has come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Event()
        really = os.read

        def read(fd: int, size: int) -> bytes:
            if size == 1 << 20:
                self.begun.set()
            return really(fd, size)

        monkeypatch.setattr(os, "read", read)


@pytest.mark.parametrize("what", ["checksum", "diff"])
async def test_reading_a_file_of_one_huge_hole_ends_when_nobody_wants_it_any_more(
    here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    made = []
    for number in range(2):
        with here.change() as change, (change.path / "huge").open("wb") as file:
            file.truncate(HUGE)
            os.utime(file.fileno(), (number, 5))
        made.append(change.result)
    operations = FileOperations(here.snapshots, tmp_path / "sums")
    try:
        reading = Reading(monkeypatch)
        work = operations.diff(*made) if what == "diff" else operations.checksum(made[0], Copy("/huge", "/"))
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        assert await asyncio.to_thread(reading.begun.wait, 60)
        task.cancel()
        ended, _ = await asyncio.wait({task}, timeout=60)
    finally:
        for snapshot in made:
            os.truncate(Path(snapshot.layers[0].path) / "huge", 0)  # whoever still reads it
        operations.close()
    assert ended == {task}
    assert task.cancelled()


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody fills the disk, whatever else is wrong."""
    really = Staged.write

    def write(staged: Staged, data: bytes) -> None:
        assert staged.size < 1 << 28, "it is written"
        really(staged, data)

    monkeypatch.setattr(Staged, "write", write)


@pytest.mark.usefixtures("little")
def test_a_layer_with_more_than_the_disk_has_is_refused_before_it_is_written(here: World) -> None:
    """A hole costs nothing before it is in an archive."""
    with here.change() as change:
        (change.path / "before").write_text("1")
        with (change.path / "huge").open("wb") as file:
            file.truncate(HUGE)
    here.snapshots.hold(change.result)
    with here.images.lease() as lease, pytest.raises(OutOfSpace, match=f"{HUGE} bytes are wanted"):
        here.snapshots.blobs(change.result, lease)
    here.snapshots.release(change.result)
    assert os.listdir(here.images.layers.root.parent / "tmp") == []
    base, upper = here.image("base", {"x": b"1"}), change.result.layers[0].path
    mount = OverlayMount("/", (), upper, upper)
    with pytest.raises(OutOfSpace, match=f"{HUGE} bytes are wanted"):
        here.images.commit(str(base.id), lambda write, room: write_layer([mount], write, room), Commit({}, "c" * 64))
    assert os.listdir(here.images.layers.root.parent / "tmp") == []


@pytest.mark.parametrize("size", [100, 5 << 20])
@pytest.mark.parametrize("change", [0, 50, 1000, 10 << 20])
def test_a_file_whose_size_changes_while_it_is_copied_is_copied_as_far_as_it_was_or_is(
    here: World, context: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: int
) -> None:
    (context / "file").write_bytes(b"x" * size)
    really = Content.copy

    def copy(content: Content, source: int, target: int, status: os.stat_result) -> None:
        os.truncate(context / "file", change)
        really(content, source, target, status)

    monkeypatch.setattr(Content, "copy", copy)
    result = copied(here, context, Copy("/file", "/o/"))
    found = Path(f"{result.layers[0].path}/o/file").read_bytes()
    assert found == (b"x" * size)[:change] + bytes(max(0, min(size, len(found)) - change))
    assert len(found) <= max(size, change)


def test_names_that_mislead_come_out_of_archives_as_they_are(here: World, context: Path) -> None:
    odd = [b"new\nline", b"\xff\xfe", b"a" * 255, b"-rf", "\u202e".encode(), b"p ath=x", b"\x1b[2J", b"..."]
    for name in odd:
        Path(os.fsdecode(os.fsencode(context) + b"/" + name)).write_text("odd")
    os.mkfifo(context / "fifo")
    os.mknod(context / "node", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (context / "out").symlink_to("/etc/passwd")
    result = copied(here, context, Copy("/", "/", contents_only=True))
    here.snapshots.hold(result)
    with here.images.lease() as lease:
        [layer] = here.snapshots.blobs(result, lease)
        data = io.BytesIO(here.images.content.read(layer.digest))
    with tarfile.open(fileobj=data) as archive:
        names = archive.getnames()
    here.snapshots.release(result)
    assert {os.fsencode(name) for name in names} == {*odd, b"fifo", b"node", b"out"}
    plain = io.BytesIO()
    with here.mount(result) as root:
        pack_directory(plain.write, root=Path(f"/proc/self/fd/{root.fileno()}"), prefix=b"to", modified=None)
    with tarfile.open(fileobj=io.BytesIO(plain.getvalue())) as archive:
        assert {os.fsencode(name) for name in archive.getnames()} == {b"to", *(b"to/" + one for one in (*odd, b"out"))}
        assert archive.getmember("to/out").linkname == "/etc/passwd"
