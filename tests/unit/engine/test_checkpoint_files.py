"""The directory of a container's checkpoints: what is whole, what is not, and what somebody has put there."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.engine.lifecycle.checkpoints import CheckpointFiles
from wherry.errors import Conflict, InvalidInput, NotFound


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    """An empty one."""
    return CheckpointFiles(tmp_path / "checkpoints", "web")


def test_one_is_there_when_it_is_whole_and_gone_when_it_is_removed(files: CheckpointFiles) -> None:
    draft = files.draft("one")
    (draft / "pages-1.img").touch()
    assert files.names() == []
    with pytest.raises(NotFound):
        files.existing("one")
    (draft / "inventory.img").touch()
    files.publish(draft, "one")
    assert files.names() == ["one"]
    with pytest.raises(Conflict, match="already exists for container web"):
        files.draft("one")
    files.remove("one")
    assert list(files.directory.iterdir()) == []


def test_what_a_daemon_that_was_killed_has_left_makes_room(files: CheckpointFiles) -> None:
    (files.draft("one") / "inventory.img").touch()
    assert list(files.draft("one").iterdir()) == []


@pytest.mark.parametrize("name", ["", "a", "..", ".x", "../x", "a/b", "a\nb", "x" * 129, "\u00e4\u00e4"])
def test_a_name_that_leads_elsewhere_is_none(files: CheckpointFiles, name: str) -> None:
    with pytest.raises(InvalidInput, match="invalid checkpoint ID"):
        files.path(name)


def test_a_link_is_no_checkpoint(files: CheckpointFiles, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/inventory.img").touch()
    files.directory.mkdir()
    (files.directory / "link").symlink_to(tmp_path / "elsewhere")
    assert files.names() == []
    with pytest.raises(NotFound):
        files.existing("link")
    with pytest.raises(NotFound):
        files.remove("link")
    assert (tmp_path / "elsewhere/inventory.img").exists()
