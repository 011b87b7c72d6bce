"""Snapshots on real overlay mounts: what a step did becomes a layer, and an image of it has the same files."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.snapshots import World, world
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.snapshots import mounts
from wherry.build.snapshots.mounts import mount_draft, mount_snapshot
from wherry.layers.overlay_view import MergedTree
from wherry.layers.tree_digest import tree_digest
from wherry.linux.fd import Fd

pytestmark = need("root", "overlay")


@pytest.fixture(params=["lowerdir+", "mount(2)"])
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A data root, with a kernel that takes layers one by one, and with an older one."""
    if request.param == "mount(2)":
        monkeypatch.setattr(mounts, "has_overlay_lowerdir_append", lambda: False)
    with world(tmp_path / "data") as made:
        yield made


def names(root: Fd) -> list[str]:
    top = Path(f"/proc/self/fd/{root.fileno()}")
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def merged(layers: list[str]) -> list[bytes]:
    """The paths of a chain of layers, top first, as the engine reads it."""
    found: list[bytes] = []

    def look(tree: MergedTree) -> None:
        for entry in tree.entries():
            found.append(tree.path(entry.name))
            if entry.is_directory and tree.enter(entry.name):
                look(tree)
                tree.leave()

    with MergedTree.open(layers) as tree:
        look(tree)
    return sorted(found)


def changed(here: World) -> Snapshot:
    """A base, and a layer that changes it in every way."""
    base = here.layer({"gone/a": b"1", "gone/b": b"2", "again/old": b"3", "d/keep": b"4", "d/file": b"5", "f": b"6"})
    with here.change(base) as change:
        shutil.rmtree(change.path / "gone")
        shutil.rmtree(change.path / "again")
        (change.path / "again").mkdir()
        (change.path / "again/new").write_text("7")
        (change.path / "d/file").unlink()
        (change.path / "new/deep").mkdir(parents=True)
        (change.path / "new/deep/x").write_text("8")
        (change.path / "f").unlink()
        (change.path / "f").mkdir()
        os.link(change.path / "new/deep/x", change.path / "d/x")
        os.setxattr(change.path / "d/x", "user.name", b"value")
        (change.path / "d/link").symlink_to("x")
        os.mkfifo(change.path / "d/pipe")
    return change.result


def test_a_mount_shows_all_layers_and_is_in_no_mount_namespace(here: World) -> None:
    snapshot = changed(here)
    with here.mount(snapshot) as root:
        assert names(root) == [
            "again", "again/new", "d", "d/keep", "d/link", "d/pipe", "d/x", "f", "new", "new/deep", "new/deep/x",
        ]  # fmt: skip
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("x", dir_fd=root.fileno())
        assert str(here.images.layers.root) not in Path("/proc/self/mountinfo").read_text()
    with here.mount(EMPTY) as root:
        assert names(root) == []
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("x", dir_fd=root.fileno())


def test_no_device_can_be_opened_nor_program_run_through_a_mount(here: World) -> None:
    with here.change() as change:
        os.mknod(change.path / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        with pytest.raises(PermissionError):
            os.open("zero", os.O_RDONLY, dir_fd=change.root.fileno())
    with here.mount(change.result) as root, pytest.raises(PermissionError):
        os.open("zero", os.O_RDONLY, dir_fd=root.fileno())


def test_an_image_has_the_files_that_the_steps_left(here: World) -> None:
    snapshot = changed(here)
    expected = merged(list(snapshot.lower))
    with here.images.lease() as lease:
        blobs = here.snapshots.blobs(snapshot, lease)
        chain = None
        for blob in blobs:  # as another machine unpacks them
            other = here.images.layers
            with here.images.content.open(blob.digest) as stream:
                staged, unpacked = other.unpack(stream, [])
            assert unpacked.diff_id == blob.diff_id
            chain = (staged, *(chain or ()))
        assert chain is not None
        assert merged([str(path) for path in chain]) == expected
    with here.mount(snapshot) as root:
        assert [name.encode() for name in names(root)] == expected


def test_a_layers_seal_is_the_digest_of_its_tree(here: World) -> None:
    draft = here.snapshots.draft()
    with socket.socket(socket.AF_UNIX) as listener, Fd(os.open(draft.upper, os.O_PATH)) as upper:
        listener.bind(f"/proc/self/fd/{upper.fileno()}/socket")  # its own name is too long
    for snapshot in (changed(here), here.snapshots.commit(draft)):
        with here.images.lease() as lease:
            here.snapshots.blobs(snapshot, lease)
            for layer in snapshot.layers:
                found = here.images.layers.numbered(layer.number)
                assert found is not None
                assert here.images.layers.tree_digest_of(found) == tree_digest(Path(layer.path))


def test_a_layer_that_was_made_on_one_base_hides_on_another_what_it_replaced_and_no_more(here: World) -> None:
    layer = changed(here).layers[-1:]
    other = here.layer({"new/other": b"1", "again/other": b"2", "gone/other": b"3", "d/other": b"4"})
    with here.mount(Snapshot((*other.layers, *layer))) as root:
        found = names(root)
    assert "new/other" in found  # a directory that was new is merged with one that is there
    assert "again/other" not in found  # one that was removed and made again is not
    assert "gone/other" not in found
    assert "d/other" in found


def test_a_draft_can_be_mounted_again_as_no_mount_of_it_is_synced(here: World) -> None:
    base = here.layer({"file": b"1"})
    draft = here.snapshots.draft(base)
    for number in range(3):
        with mount_draft(draft) as root:
            os.mkdir(f"d{number}", dir_fd=root.fileno())
    snapshot = here.snapshots.commit(draft)
    with mount_snapshot(snapshot, here.snapshots.bottom) as root:
        assert names(root) == ["d0", "d1", "d2", "file"]


def test_hundreds_of_layers_are_one_tree(here: World) -> None:
    snapshot = EMPTY
    for number in range(400):
        snapshot = here.layer({f"f{number}": b""}, snapshot)
    with here.mount(snapshot) as root:
        assert len(names(root)) == 400
    with here.change(snapshot) as change:
        (change.path / "f7").unlink()
    with here.mount(change.result) as root:
        assert len(names(root)) == 399


def test_the_roots_mode_goes_on_to_the_next_layer(here: World) -> None:
    with here.change(here.layer({"file": b"1"})) as change:
        os.chmod(f"/proc/self/fd/{change.root.fileno()}", 0o1777)
        (change.path / "x").touch()
    with here.change(change.result) as second:
        assert stat.S_IMODE(os.fstat(second.root.fileno()).st_mode) == 0o1777
