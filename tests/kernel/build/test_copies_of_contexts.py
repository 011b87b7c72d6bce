"""Contexts that are used where they are, with what is excluded hidden: they look as if the rest had been linked."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import directory, link, member, tar
from support.needs import need
from support.snapshots import World, world
from wherry.build.files.evaluate import Evaluation
from wherry.build.files.operations import FileOperations
from wherry.build.model.graph import Copy, FileAction, FileOp
from wherry.build.model.session import Selection
from wherry.build.model.snapshot import EMPTY, PASSING, Snapshot, SnapshotLayer
from wherry.build.sources.archive_session import ArchiveSession, unpack_context
from wherry.build.sources.contexts import ContextInUse, context_directory, remove_context

pytestmark = need("root", "overlay")

CONTEXT = [
    member("Dockerfile", b"FROM scratch\n"), member(".dockerignore", b"x\n"), directory("a", mode=0o750, mtime=7),
    member("a/one.md", b"1"), member("a/two.txt", b"2"), directory("a/b", mode=0o711, mtime=8),
    member("a/b/three.md", b"3"), member("a/b/.wh.four", b"4"), link("to_a", "a"), member("c/only.md", b"5"),
    member("same", b"6"), link("again", "same", hard=True), member("new\nline.md", b"7"), directory("empty", mtime=9),
]  # fmt: skip
EXCLUDED = [
    (), ("Dockerfile", ".dockerignore"), ("**/*.md",), ("a/b",), ("a",), ("a/b/three.md",), ("to_a", "same"), ("*",),
    ("c/only.md", "empty"), ("a/b/.wh.four",), ("**/.wh.*", "again"), ("*.md", "!new*"), ("a", "!a/one.md"),
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "data") as made:
        yield made


@pytest.fixture
def root(here: World) -> Iterator[Path]:
    """An unpacked context."""
    place = here.images.layers.root.parent / "tmp"
    made = context_directory(place)
    unpack_context(io.BytesIO(tar(CONTEXT)), made)
    yield made
    remove_context(made)
    assert not (place / "contexts").exists()


def looks(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that can be seen of a tree."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.stat() if path == root else path.lstat()
        content = os.readlink(path) if path != root and path.is_symlink() else None
        content = path.read_text() if path.is_file() and content is None else content
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, status.st_uid, content)
    return found


@pytest.mark.parametrize("patterns", EXCLUDED)
async def test_what_is_hidden_is_not_there_and_all_else_is_as_it_was(
    here: World, root: Path, tmp_path: Path, patterns: tuple[str, ...]
) -> None:
    session, selection = ArchiveSession(ContextInUse(root, lambda: None)), Selection(exclude=patterns)
    linked = tmp_path / "linked"
    linked.mkdir(mode=0o700)
    sizes: list[int] = []
    await session.sync("context", linked, selection, sizes.append)
    expected = looks(linked)
    used = await session.directory("context", selection, sizes.append)
    if used is None:
        assert any(one.startswith("!") for one in patterns)
        return
    snapshot = Snapshot(tuple(SnapshotLayer(PASSING, str(place)) for place in used.places))
    with here.mount(snapshot) as mounted:
        assert looks(Path(f"/proc/self/fd/{mounted.fileno()}")) == expected
    assert sizes[0] == sizes[1]
    action = Copy("/", "/o/", contents_only=True)
    operations = FileOperations(here.snapshots, tmp_path / "sums")
    try:
        one = Snapshot((SnapshotLayer(-1, str(linked)),))
        assert await operations.checksum(snapshot, action) == await operations.checksum(one, action)
    finally:
        operations.close()
    [copied] = Evaluation(here.snapshots, FileOp((FileAction(action, 0, 1, 0),)), [EMPTY, snapshot]).run()
    assert looks(Path(copied.layers[0].path, "o")) == expected | {".": looks(Path(copied.layers[0].path, "o"))["."]}
    used.release()
