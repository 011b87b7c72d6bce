"""The digest of a layer's directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.layers.tree_digest import tree_digest


def file_with(path: Path, size: int, *data: tuple[int, bytes]) -> Path:
    """A file with holes."""
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(size)
        for offset, text in data:
            os.pwrite(file.fileno(), text, offset)
    os.utime(path, (1, 1))
    return path


@pytest.mark.parametrize("data", [[], [(0, b"a")], [(1 << 20, b"b" * 5000)], [(10, b"c"), ((3 << 20) - 1, b"d")]])
def test_a_hole_counts_as_the_zeros_that_it_stands_for(tmp_path: Path, data: list[tuple[int, bytes]]) -> None:
    sparse = file_with(tmp_path / "sparse/file", 3 << 20, *data)
    (tmp_path / "dense").mkdir()
    dense = tmp_path / "dense/file"
    dense.write_bytes(sparse.read_bytes())
    os.utime(dense, (1, 1))
    assert dense.stat().st_blocks * 512 >= 3 << 20
    assert tree_digest(sparse.parent) == tree_digest(dense.parent)


def test_holes_are_not_read(tmp_path: Path) -> None:
    """A layer of some hundred bytes can have such a file; to read it would take hours."""
    first = file_with(tmp_path / "first/file", 8 << 40, (5 << 40, b"x"))
    second = file_with(tmp_path / "second/file", 8 << 40, (6 << 40, b"x"))
    assert tree_digest(first.parent) != tree_digest(second.parent)
