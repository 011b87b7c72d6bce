"""An image's files in a volume that is mounted: whole or not at all, once, and nowhere else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import OutOfSpace, SystemCallError, SystemFault
from wherry.linux.fd import Fd
from wherry.volumes import populate as populating
from wherry.volumes.populate import can_be_populated, finish, populate


@pytest.fixture
def layers(tmp_path: Path) -> list[str]:
    (place := tmp_path / "layer/srv/deep").mkdir(parents=True)
    (place / "file").write_text("deep")
    (place.parent / "one").write_text("1")
    os.link(place.parent / "one", place.parent / "two")
    (place.parent / "link").symlink_to("/etc/passwd")
    os.mkfifo(place.parent / "fifo", 0o640)
    place.parent.chmod(0o1750)
    return [str(tmp_path / "layer")]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def opened(volume: Path) -> Fd:
    return Fd(os.open(volume, os.O_RDONLY | os.O_DIRECTORY))


def filled(volume: Path, layers: list[str], path: str = "/srv") -> bool:
    with opened(volume) as top:
        return populate(top, layers, path)


def fails_once(call: Callable[..., Any], number: int) -> Callable[..., Any]:
    failed: list[int] = []

    def failing(*args: Any, **more: Any) -> Any:
        if not failed:
            failed.append(number)
            raise OSError(number, os.strerror(number))
        return call(*args, **more)

    return failing


WHOLE = ["deep", "fifo", "link", "one", "two"]


def test_an_empty_directory_is_filled_once(layers: list[str], volume: Path) -> None:
    assert filled(volume, layers)
    assert sorted(os.listdir(volume)) == WHOLE
    assert (volume / "deep/file").read_text() == "deep"
    assert (volume / "one").samefile(volume / "two")
    assert stat.S_IMODE(volume.stat().st_mode) == 0o1750
    assert (volume / "fifo").stat().st_mode == stat.S_IFIFO | 0o640
    (volume / "one").unlink()
    assert not filled(volume, layers)
    assert not (volume / "one").exists()


@pytest.mark.parametrize("path", ["/nothing", "/srv/one", "/srv/link"])
def test_nothing_is_made_where_the_image_has_no_directory(layers: list[str], volume: Path, path: str) -> None:
    assert not filled(volume, layers, path)
    assert os.listdir(volume) == []


def test_an_unfinished_copy_is_made_again(layers: list[str], volume: Path) -> None:
    for name in (populating.COPY, populating.LINKS):
        (volume / name / "half").mkdir(parents=True)
    assert not filled(volume, layers)  # whose they are is not known here
    with opened(volume) as top:
        finish(top)
        assert can_be_populated(top)
    assert filled(volume, layers)
    assert sorted(os.listdir(volume)) == WHOLE


def test_a_whole_copy_is_moved_to_its_place_by_whoever_finds_it(volume: Path) -> None:
    (volume / populating.WHOLE).mkdir()
    for name in ("moved", "there"):
        (volume / populating.WHOLE / name).write_text("the image's")
    (volume / "there").write_text("somebody's")
    (volume / populating.WHOLE).chmod(0o711)
    with opened(volume) as top:
        finish(top)
    assert {path.name: path.read_text() for path in volume.iterdir()} == {"moved": "the image's", "there": "somebody's"}
    assert stat.S_IMODE(volume.stat().st_mode) == 0o711


def test_on_a_full_disk_nothing_is_left(layers: list[str], volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "symlink", fails_once(os.symlink, errno.EDQUOT))
    with pytest.raises(OutOfSpace):
        filled(volume, layers)
    assert os.listdir(volume) == []
    assert filled(volume, layers)


def test_what_is_not_moved_is_kept_for_the_next_time(
    layers: list[str], volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise SystemCallError("renameat2", "", errno.ENOSPC)

    with monkeypatch.context() as patch:
        patch.setattr(populating, "renameat2", full)
        with pytest.raises(OutOfSpace):
            filled(volume, layers)
    assert os.listdir(volume) == [populating.WHOLE]
    with opened(volume) as top:
        finish(top)
    assert sorted(os.listdir(volume)) == WHOLE


def test_a_file_system_without_flags_of_renames_is_filled_too(
    layers: list[str], volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any) -> None:
        raise SystemCallError("renameat2", "", errno.EINVAL)

    monkeypatch.setattr(populating, "renameat2", unknown)
    assert filled(volume, layers)
    assert sorted(os.listdir(volume)) == WHOLE


def test_a_file_system_whose_files_have_one_name_gets_copies(
    layers: list[str], volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", none)
    assert filled(volume, layers)
    assert (volume / "two").read_text() == "1"


def test_a_server_that_squashes_root_is_said_with_what_helps(
    layers: list[str], volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchown", fails_once(os.fchown, errno.EPERM))
    with pytest.raises(SystemFault, match=r"operation not permitted [(]with volume-nocopy"):
        filled(volume, layers)
    assert os.listdir(volume) == []
