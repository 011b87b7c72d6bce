"""Files that are called as an archive calls what was deleted: shown and exported as they are, and in no image."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from support.archives import member, tar
from wherry.errors import InvalidInput
from wherry.layers.diff import Change, ChangeKind, changes, write_layer
from wherry.layers.export import export
from wherry.layers.limits import DEFAULT_LIMITS
from wherry.layers.overlay_paths import OverlayMount
from wherry.layers.tar.entry import Entry
from wherry.layers.unpack import unpack_files
from wherry.layers.whiteouts import check_name
from wherry.linux import trees
from wherry.linux.fd import Fd

NAMES = (".wh.x", ".wh.", ".wh..wh..opq", ".wh..wh.plnk")


@pytest.fixture
def container(tmp_path: Path) -> OverlayMount:
    """A container that has changed nothing yet."""
    for name in ("lower", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/x").write_text("kept")
    return OverlayMount("/", (str(tmp_path / "lower"),), str(tmp_path / "upper"), str(tmp_path / "work"))


@pytest.mark.parametrize("name", NAMES)
def test_a_container_with_such_a_file_is_not_committed(container: OverlayMount, name: str) -> None:
    (Path(container.upper) / name).write_text("1")
    with pytest.raises(InvalidInput, match="cannot be in an image: the name would remove other files"):
        write_layer([container], lambda _: None)
    (Path(container.upper) / name).unlink()
    (Path(container.upper) / name).mkdir()
    with pytest.raises(InvalidInput, match="cannot be in an image"):
        write_layer([container], lambda _: None)


@pytest.mark.parametrize("name", NAMES)
def test_its_changes_and_its_export_have_it(container: OverlayMount, name: str) -> None:
    (Path(container.upper) / name).write_text("1")
    assert changes([container]) == [Change(f"/{name}", ChangeKind.ADDED)]
    data = io.BytesIO()
    export([container], data.write)
    with tarfile.open(fileobj=io.BytesIO(data.getvalue())) as archive:
        assert archive.getnames() == [name, "x"]


def _of_this_user(entry: Entry) -> None:
    entry.uid, entry.gid = os.geteuid(), os.getegid()


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_of_files_has_it_as_a_file(tmp_path: Path, name: str) -> None:
    with Fd(os.open(tmp_path, trees.DIRECTORY)) as root:
        unpack_files(
            io.BytesIO(tar([member(name, b"1"), member("x", b"2")])), root.fileno(), DEFAULT_LIMITS, _of_this_user
        )
    assert {path.name for path in tmp_path.iterdir()} == {name, "x"}


def test_names_that_only_look_like_it_may_be_there() -> None:
    for path in (b"wh.x", b".wh", b"a.wh.x", b".whx/y", b"d/.w", b".WH.x"):
        check_name(path)
