"""An image's files in a new volume: which place is meant, and what is left when the copy is cut short."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import OutOfSpace, SystemCallError
from wherry.layers.overlay_view import MergedTree
from wherry.linux.fd import Fd
from wherry.linux.files import renameat2
from wherry.volumes import copy_up as copying
from wherry.volumes.copy_up import can_be_moved, copy_up, finish_copy, is_half_moved
from wherry.volumes.image_content import Found, go_to, look


@pytest.fixture
def layers(tmp_path: Path) -> list[str]:
    """Two layers; the upper one adds to, and hides, what the lower one has."""
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for path in (upper / "srv", lower / "srv/deep", lower / "etc"):
        path.mkdir(parents=True)
    (lower / "srv/old").write_text("old")
    (lower / "srv/deep/file").write_text("deep")
    (upper / "srv/old").write_text("new")
    (upper / "srv/one").write_text("1")
    os.link(upper / "srv/one", upper / "srv/two")
    (lower / "absolute").symlink_to("/srv")
    (lower / "above").symlink_to("../../../srv/deep/../../srv")
    (lower / "round").symlink_to("round")
    (lower / "srv/in").symlink_to("deep")
    return [str(upper), str(lower)]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume" / "_data").mkdir(parents=True)
    return tmp_path / "volume"


def content(directory: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(directory)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


WHOLE = {"deep/file": "deep", "in": "deep", "old": "new", "one": "1", "two": "1"}


@pytest.mark.parametrize(
    ("path", "there"),
    [("/srv", "srv"), ("/absolute", "srv"), ("/above", "srv"), ("/absolute/in", "deep"), ("/srv/in/..", "srv"),
     ("/srv/nothing", ""), ("/srv/old", ""), ("/round", ""), ("/../srv", "srv"), ("/srv/old/x", "")],
)  # fmt: skip
def test_links_lead_where_they_would_in_the_container(layers: list[str], path: str, there: str) -> None:
    with MergedTree.open(layers) as tree:
        assert go_to(tree, path) == bool(there)
        if there:
            names = {entry.name for entry in tree.entries()}
            assert names == ({b"deep", b"in", b"old", b"one", b"two"} if there == "srv" else {b"file"})


def test_what_is_at_the_place_is_seen(layers: list[str]) -> None:
    files, directories, nothing = ("/srv/old", "/absolute/one"), ("/srv", "/above"), ("/no", "/round", "/srv/old/x")
    assert {look(layers, path) for path in files} == {Found.FILE}
    assert {look(layers, path) for path in directories} == {Found.DIRECTORY}
    assert {look(layers, path) for path in nothing} == {Found.NOTHING}


@pytest.mark.parametrize("mounted", [False, True])
def test_an_empty_volume_is_filled_once(layers: list[str], volume: Path, *, mounted: bool) -> None:
    before = (volume / "_data").stat().st_ino
    assert copy_up(volume, layers, "/srv", mounted=mounted)
    assert content(volume / "_data") == WHOLE
    assert (volume / "_data/one").stat().st_ino == (volume / "_data/two").stat().st_ino
    assert os.listdir(volume) == ["_data"]
    assert ((volume / "_data").stat().st_ino == before) == mounted  # who has it mounted keeps what he has
    (volume / "_data/one").write_text("mine")
    assert not copy_up(volume, layers, "/srv", mounted=mounted)
    assert (volume / "_data/one").read_text() == "mine"


def test_where_the_image_has_no_directory_the_volume_stays_empty(layers: list[str], volume: Path) -> None:
    assert not copy_up(volume, layers, "/nowhere", mounted=False)
    assert os.listdir(volume) == ["_data"]
    assert os.listdir(volume / "_data") == []


def test_an_unfinished_copy_is_made_again(layers: list[str], volume: Path) -> None:
    (volume / "_copy/deep").mkdir(parents=True)
    (volume / "_copy/half").write_text("ha")
    (volume / "_links").mkdir()
    assert copy_up(volume, layers, "/srv", mounted=False)
    assert content(volume / "_data") == WHOLE
    assert os.listdir(volume) == ["_data"]


def test_a_whole_copy_that_was_half_moved_is_moved_to_its_end(volume: Path) -> None:
    for name in ("a", "b", "c"):
        (volume / "_whole" / name).mkdir(parents=True)
    os.rename(volume / "_whole/b", volume / "_data/b")
    finish_copy(volume, os.listdir(volume))
    assert sorted(os.listdir(volume / "_data")) == ["a", "b", "c"]
    assert os.listdir(volume) == ["_data"]


def test_on_a_full_disk_nothing_is_left(layers: list[str], volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        (volume / "_copy/half").write_text("ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(copying, "copy_tree", full)
    with pytest.raises(OutOfSpace, match="cannot copy the image's files into the volume: no space left on device"):
        copy_up(volume, layers, "/srv", mounted=False)
    assert os.listdir(volume) == ["_data"]
    assert os.listdir(volume / "_data") == []


@pytest.mark.parametrize("is_hosts", [False, True])
def test_what_has_no_room_at_its_place_is_kept_for_the_next_time(
    layers: list[str], volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_hosts: bool
) -> None:
    """A directory grows by blocks: a disk may be full when the files are moved to a place that somebody has mounted."""
    (host := tmp_path / "host").mkdir()
    place = host if is_hosts else None
    data = place or volume / "_data"
    moved: list[str] = []

    def full(source: Fd, name: str, target: Fd, new: str, flags: int) -> None:
        if moved:
            raise SystemCallError("renameat2", name, errno.ENOSPC)
        moved.append(name)
        renameat2(source, name, target, new, flags)

    with monkeypatch.context() as patch:
        patch.setattr(copying, "renameat2", full)
        with pytest.raises(OutOfSpace):
            copy_up(volume, layers, "/srv", mounted=True, place=place)
    assert is_half_moved(volume)
    assert len(os.listdir(data)) == 1
    assert not copy_up(volume, layers, "/srv", mounted=True, place=place)  # it is not empty; but now it has all
    assert content(data) == WHOLE
    assert sorted(os.listdir(volume)) == ["_data", *(["_place"] if is_hosts else [])]
    assert not is_hosts or os.listdir(volume / "_data") == []


def test_a_directory_of_the_host_is_filled_as_it_is(layers: list[str], volume: Path, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (place := tmp_path / "link").symlink_to("host")  # as mount(2) follows it
    assert can_be_moved(volume, place)
    assert copy_up(volume, layers, "/srv", mounted=False, place=place)
    assert content(tmp_path / "host") == WHOLE
    (tmp_path / "host/old").unlink()
    assert not copy_up(volume, layers, "/srv", mounted=False, place=place)
    assert not can_be_moved(volume, Path("/proc"))
    with pytest.raises(FileNotFoundError):
        can_be_moved(volume, tmp_path / "nothing")


def test_an_image_whose_links_are_long_is_not_looked_at_for_long(tmp_path: Path) -> None:
    (tmp_path / "layer/a").mkdir(parents=True)
    for number in range(30):
        (tmp_path / f"layer/{number}").symlink_to("a/../" * 700 + f"{number + 1}")
    (tmp_path / "layer/30").symlink_to("a")
    layers = [str(tmp_path / "layer")]
    assert look(layers, "/0", 1000) is None
    assert look(layers, "/30", 1000) is look(layers, "/0") is Found.DIRECTORY
