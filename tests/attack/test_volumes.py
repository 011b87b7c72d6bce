"""Volumes whose content is somebody else's: a container's that shares one, an image's that fills one."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from wherry.content.durable import remove_tree
from wherry.errors import InvalidInput, NotFound, WherryError
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, renameat2
from wherry.volumes.contract import Mounted
from wherry.volumes.copy_up import copy_up
from wherry.volumes.local import LocalDriver
from wherry.volumes.model import Volume
from wherry.volumes.populate import finish, populate
from wherry.volumes.subpath import place

_SECRET = "secret of the host"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "file").write_text(_SECRET)
    return directory


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume" / "_data").mkdir(parents=True)
    return tmp_path / "volume"


def inside(tree: Fd) -> list[str]:
    """What one sees who has this mounted."""
    with tree, Fd(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree.fileno())) as directory:
        return sorted(os.listdir(directory.fileno()))


@need("root")
@pytest.mark.parametrize("target", ["{outside}", "../../outside", "/", "/proc/self/root", "/proc/self/fd/0", "link"])
def test_a_subpath_that_is_a_link_does_not_lead_out(volume: Path, outside: Path, target: str) -> None:
    (volume / "_data/link").symlink_to(target.format(outside=outside))
    for subpath in ("link", "link/file", "link/../link"):
        with pytest.raises(InvalidInput):
            place(Mounted(str(volume / "_data")), subpath, writable=True)


@need("root")
def test_exchanging_a_subpath_for_a_link_meanwhile_never_leads_out(volume: Path, outside: Path) -> None:
    data, aside = volume / "_data", volume / "aside"
    (data / "real/sub").mkdir(parents=True)
    aside.symlink_to(outside)
    (outside / "sub").mkdir()
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            renameat2(-100, data / "real", -100, aside, RENAME.EXCHANGE)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    seen = {"inside": 0, "refused": 0}
    try:
        for subpath in ("real", "real/sub") * 1500:
            try:
                found = inside(place(Mounted(str(data)), subpath, writable=False))
            except InvalidInput:
                seen["refused"] += 1
            else:
                seen["inside"] += 1
                assert found == (["sub"] if subpath == "real" else [])
    finally:
        stop.set()
        attacker.join()
    assert sum(seen.values()) == 3000


def test_what_an_image_has_leads_nowhere_but_into_the_image(tmp_path: Path, volume: Path, outside: Path) -> None:
    """The place itself, and what is below it, are links out, or links to links without end."""
    layer = tmp_path / "layer"
    (layer / "srv").mkdir(parents=True)
    (layer / "out").symlink_to(outside)
    (layer / "up").symlink_to("../../../../../../.." + str(outside))
    for number in range(60):
        (layer / f"chain{number}").symlink_to(f"chain{number + 1}")
    (layer / "srv/link").symlink_to(outside)
    (layer / "srv/up").symlink_to("../../outside/file")
    for place_in_image in ("/out", "/up", "/chain0", "/srv/link", "/out/../../outside"):
        assert not copy_up(volume, [str(layer)], place_in_image, mounted=False)
    assert copy_up(volume, [str(layer)], "/srv", mounted=False)
    assert (volume / "_data/link").is_symlink()
    assert os.readlink(volume / "_data/up") == "../../outside/file"
    assert sorted(os.listdir(outside)) == ["file"]


def test_an_images_tree_without_end_is_copied_in_bounded_depth(tmp_path: Path, volume: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "srv").mkdir(parents=True)
    descriptor = Fd(os.open(layer / "srv", os.O_RDONLY | os.O_DIRECTORY))
    for _ in range(1500):  # far beyond the length of a path, and Python's depth of calls
        os.mkdir("deeper", dir_fd=descriptor.fileno())
        descriptor = Fd(os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor.fileno()))
    assert copy_up(volume, [str(layer)], "/srv", mounted=False)
    depth, descriptor = 0, Fd(os.open(volume / "_data", os.O_RDONLY | os.O_DIRECTORY))
    while "deeper" in os.listdir(descriptor.fileno()):
        depth, descriptor = (
            depth + 1,
            Fd(os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor.fileno())),
        )
    assert depth == 1500
    for top in (layer, volume):  # pytest could not
        assert remove_tree(top)


def test_a_fifo_of_an_image_holds_nothing_up(tmp_path: Path, volume: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "srv").mkdir(parents=True)
    os.mkfifo(layer / "srv/fifo")
    assert copy_up(volume, [str(layer)], "/srv", mounted=False)
    assert stat.S_ISFIFO((volume / "_data/fifo").lstat().st_mode)


@pytest.mark.parametrize(
    "name", ["..", ".", "../outside", "a/b", "/etc", "-v", ".removed-1", "", "a\0b", "ä", "a" * 256]
)
async def test_a_name_is_no_path(tmp_path: Path, outside: Path, name: str) -> None:
    driver = LocalDriver(tmp_path / "volumes", None, None)  # type: ignore[arg-type]
    for use in (driver.create, driver.remove):
        with pytest.raises(InvalidInput):
            await use(Volume(name=name))
    with pytest.raises(NotFound):
        await driver.get(name)
    assert os.listdir(tmp_path / "volumes") == []
    assert (outside / "file").read_text() == _SECRET


@need("root")
@pytest.mark.parametrize("call", ["mknod", "mkdir", "link"])
def test_whoever_has_a_volume_that_is_filled_in_place_leads_nothing_out(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A container that has the mounted volume exchanges what is made for a link, right after it is made."""
    (layer := tmp_path / "layer/srv").mkdir(parents=True)
    (volume := tmp_path / "mounted").mkdir()
    os.mkfifo(layer / "fifo", 0o6777)
    (layer / "folder").mkdir(mode=0o777)
    (layer / "folder/file").write_text("the image's")
    os.link(layer / "folder/file", layer / "folder/other")
    made = getattr(os, call)

    def exchanged(name: str | bytes, *args: object, dir_fd: int | None = None, **more: Any) -> None:
        made(name, *args, **more, **({} if dir_fd is None else {"dir_fd": dir_fd}))
        there = more.get("src_dir_fd", dir_fd)
        if not os.fsdecode(name).startswith(".wherry"):
            os.rename(name, b"aside", src_dir_fd=there, dst_dir_fd=there)
            os.symlink(outside / "file" if call != "mkdir" else outside, name, dir_fd=there)

    before = outside.stat(), (outside / "file").stat()
    with monkeypatch.context() as patch, Fd(os.open(volume, os.O_RDONLY | os.O_DIRECTORY)) as top:
        patch.setattr(os, call, exchanged)
        with suppress(WherryError):
            populate(top, [str(layer.parent)], "/srv")
    assert (outside.stat(), (outside / "file").stat()) == before
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == _SECRET


@need("root")
def test_what_a_container_leaves_under_the_names_of_a_copy_leads_nowhere(tmp_path: Path, outside: Path) -> None:
    """It may make anything there before the volume is filled: a link, a FIFO, a file, a tree."""
    (layer := tmp_path / "layer/srv").mkdir(parents=True)
    (layer / "file").write_text("the image's")
    for number, name in enumerate([".wherry-copy", ".wherry-links", ".wherry-whole"]):
        for kind in ("link", "fifo", "file", "tree"):
            (volume := tmp_path / f"{number}-{kind}").mkdir()
            if kind == "link":
                (volume / name).symlink_to(outside)
            elif kind == "fifo":
                os.mkfifo(volume / name)
            elif kind == "file":
                (volume / name).write_text("x")
            else:
                (volume / name / "deep").mkdir(parents=True)
                (volume / name / "out").symlink_to(outside)
            with Fd(os.open(volume, os.O_RDONLY | os.O_DIRECTORY)) as top:
                assert not populate(top, [str(layer.parent)], "/srv"), "it is not empty"
                assert os.listdir(volume) == [name]
                finish(top)  # as if a copy had been cut short
            assert sorted(os.listdir(volume)) == (["deep", "out"] if (name, kind) == (".wherry-whole", "tree") else [])
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == _SECRET
