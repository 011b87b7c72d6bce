"""The directory of a container's checkpoints: what is whole, what is not, and what somebody has put there."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import threading
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.engine.lifecycle.checkpoint_artifacts import CheckpointArtifacts, unpack_checkpoint
from wherry.engine.lifecycle.checkpoints import CheckpointFiles, Checkpoints
from wherry.engine.lifecycle.restoring import addresses_of
from wherry.engine.network.requests import Addresses
from wherry.errors import Conflict, InvalidInput, NotFound, TooLarge, WherryError
from wherry.layers.limits import Limits


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    """An empty one."""
    return CheckpointFiles(tmp_path / "checkpoints", "web", is_containers=True)


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


def archive(*entries: tuple[str, bytes, str]) -> io.BytesIO:
    """An archive of entries: name, type, target of a link; files have their name as content."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, target in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode, entry.uid = kind, target, 0o6777, 1000
            entry.size = len(name) if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(name.encode()))
    made.seek(0)
    return made


INVENTORY = ("inventory.img", tarfile.REGTYPE, "")


def test_an_archive_of_files_becomes_a_checkpoint(tmp_path: Path) -> None:
    whole = archive(("./", tarfile.DIRTYPE, ""), INVENTORY, ("./pages-1.img", tarfile.REGTYPE, ""))
    unpack_checkpoint(whole, tmp_path, lambda: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inventory.img", "pages-1.img"]
    assert {path.stat().st_mode & 0o7777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "entry",
    [
        ("parent", tarfile.SYMTYPE, "/etc"),
        ("pages-1.img", tarfile.LNKTYPE, "inventory.img"),
        ("pages-1.img", tarfile.FIFOTYPE, ""),
        ("pages-1.img", tarfile.CHRTYPE, ""),
        ("below", tarfile.DIRTYPE, ""),
        ("below/pages-1.img", tarfile.REGTYPE, ""),
        ("../pages-1.img", tarfile.REGTYPE, ""),
        ("/etc/pages-1.img", tarfile.REGTYPE, ""),
        (".hidden", tarfile.REGTYPE, ""),
    ],
)
def test_an_archive_with_anything_else_is_refused(tmp_path: Path, entry: tuple[str, bytes, str]) -> None:
    (tmp_path / "draft").mkdir()
    with pytest.raises(WherryError):
        unpack_checkpoint(archive(INVENTORY, entry), tmp_path / "draft", lambda: None)
    assert [path.name for path in tmp_path.iterdir()] == ["draft"]


def test_an_archive_that_is_no_checkpoint_or_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no inventory\.img"):
        unpack_checkpoint(archive(("pages-1.img", tarfile.REGTYPE, "")), tmp_path, lambda: None)
    with pytest.raises(TooLarge):
        unpack_checkpoint(archive(INVENTORY), tmp_path, lambda: None, Limits(max_bytes=100))


@pytest.mark.parametrize("verb", ["push", "pull"])
async def test_the_event_loop_does_not_wait_for_the_directory_that_a_client_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    asked: list[threading.Thread] = []

    def lstat(path: Any, **how: Any) -> Any:
        asked.append(threading.current_thread())
        raise FileNotFoundError(errno.ENOENT, "there is none")

    class Containers:
        def get(self, ref: str) -> SimpleNamespace:
            return SimpleNamespace(name=ref)

    checkpoints = Checkpoints(Containers(), None, None)  # type: ignore[arg-type]
    artifacts = CheckpointArtifacts(checkpoints, None)  # type: ignore[arg-type]
    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(os, "stat", lstat)
    with pytest.raises((NotFound, AttributeError)):
        await anext(getattr(artifacts, verb)("web", "one", str(tmp_path), "name", ""))
    assert asked
    assert threading.main_thread() not in asked


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"bridge": {"ipv4": "nowhere"}}', '{"bridge": {"mac": "nowhere"}}', '{"bridge": {"mac": "01:02"}}',
     '{"bridge": {"mac": "01:00:5e:00:00:01"}}', '{"bridge": 1}', "[" * 100_000, "link"],
)  # fmt: skip
def test_addresses_that_are_none_are_not_asked_for(tmp_path: Path, text: str) -> None:
    file = tmp_path / "addresses.json"
    if text == "link":
        file.symlink_to("/dev/zero")
    else:
        file.write_text(text)
    assert addresses_of(tmp_path) == {}
    file.unlink()
    file.write_text('{"bridge": {"ipv4": "10.0.0.2", "mac": "02:42:0a:00:00:02"}}')
    assert addresses_of(tmp_path) == {"bridge": Addresses(IPv4Address("10.0.0.2"), None, "02:42:0a:00:00:02")}
