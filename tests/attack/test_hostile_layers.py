"""Layers that different readers would read differently: here they are what they are for dockerd."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from support.needs import need
from wherry.errors import CorruptData, InvalidInput
from wherry.layers.unpack import unpack

pytestmark = need("root")
ZERO = bytes(512)


def entry(name: str, kind: bytes = b"0", data: bytes = b"", target: str = "") -> bytes:
    """One entry; the name and the type stand in it exactly as they are given."""
    info = tarfile.TarInfo("x")
    info.size, info.type, info.linkname = len(data), b"0", target
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[:100] = name.encode().ljust(100, b"\0")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block) + data + bytes(-len(data) % 512)


def unpacked(folder: Path, *entries: bytes) -> dict[str, str]:
    target = folder / "layer"
    target.mkdir()
    unpack(io.BytesIO(b"".join(entries) + 2 * ZERO), target)
    return {
        str(path.relative_to(target)): path.read_text() if path.is_file() else "/" for path in sorted(target.rglob("*"))
    }


def test_what_stands_behind_a_lone_block_of_zeros_is_neither_hidden_nor_taken(tmp_path: Path) -> None:
    with pytest.raises(CorruptData):
        unpacked(tmp_path, entry("a"), ZERO, entry("b"))


def test_the_last_of_several_entries_of_one_name_counts_whatever_they_are(tmp_path: Path) -> None:
    files = entry("a", data=b"A"), entry("b", data=b"B")
    links = entry("l", b"1", target="a"), entry("l", b"1", target="b")
    assert unpacked(tmp_path, *files, *links) == {"a": "A", "b": "B", "l": "B"}
    folder = tmp_path / "layer"
    assert (folder / "l").stat().st_ino == (folder / "b").stat().st_ino != (folder / "a").stat().st_ino


def test_a_file_that_takes_the_place_of_a_hard_link_does_not_write_through_it(tmp_path: Path) -> None:
    found = unpacked(tmp_path, entry("a", data=b"A"), entry("l", b"1", target="a"), entry("l", data=b"new"))
    assert found == {"a": "A", "l": "new"}


def test_a_file_with_a_slash_is_a_file_but_in_archives_that_know_no_directories(tmp_path: Path) -> None:
    assert unpacked(tmp_path, entry("f/", data=b"file"), entry("d/", b"\0")) == {"f": "file", "d": "/"}


def test_above_the_root_is_the_root(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("the host's")
    (tmp_path / "h").write_text("the host's")
    found = unpacked(
        tmp_path,
        entry("../x", data=b"1"),
        entry("/../../y", data=b"2"),
        entry("a/../../z", data=b"3"),
        entry("..", b"5"),
        entry("../l", b"1", target="../../x"),
        entry("../.wh.h"),
    )
    assert {name: found[name] for name in ("x", "y", "z", "l")} == {"x": "1", "y": "2", "z": "3", "l": "1"}
    assert (tmp_path / "x").read_text() == (tmp_path / "h").read_text() == "the host's"


@pytest.mark.parametrize("name", ["..", ".", "/", "a/.."])
def test_nothing_takes_the_place_of_the_root(tmp_path: Path, name: str) -> None:
    for kind in (b"0", b"1", b"2", b"6"):
        folder = tmp_path / kind.decode()
        folder.mkdir()
        with pytest.raises(InvalidInput):
            unpacked(folder, entry(name, kind, target="x"))
