"""A context that comes as one archive."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from support.archives import directory, link, member, tar
from wherry.build.model.session import Credentials, Selection
from wherry.build.sources import archive_session, tree_links
from wherry.build.sources.archive_session import ArchiveSession, unpack_context
from wherry.build.sources.contexts import ContextInUse
from wherry.errors import CorruptData, InvalidInput, NotFound, TooLarge
from wherry.layers.limits import Limits
from wherry.linux import trees

FILES = [
    directory("d", mode=0o700),
    member("d/.wh.a", b"1"),
    member("Dockerfile", b"FROM scratch\n"),
    link("l", "/etc"),
]


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_an_archive_is_unpacked_however_it_is_compressed(root: Path, compress: Any) -> None:
    assert unpack_context(io.BytesIO(compress(tar(FILES))), root)
    assert files(root) == {"d", "d/.wh.a", "Dockerfile", "l"}
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700


def test_what_is_no_archive_is_a_dockerfile(root: Path) -> None:
    assert not unpack_context(io.BytesIO(b"FROM scratch\n" * 1000), root)
    assert (root / "Dockerfile").read_bytes() == b"FROM scratch\n" * 1000


@pytest.mark.parametrize("data", [b"", bytes(1024)])
def test_nothing_is_an_empty_context(root: Path, data: bytes) -> None:
    assert unpack_context(io.BytesIO(data), root)
    assert not files(root)


def test_a_dockerfile_without_end_is_not_kept(root: Path) -> None:
    unpack_context(io.BytesIO(b"# \n" * 10_000_000), root)
    assert (root / "Dockerfile").stat().st_size == (16 << 20) + 1


def test_names_and_links_stay_inside(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    members = [
        member("../outside/a", b"1"), member("/outside/b", b"1"), link("out", str(outside)), member("out/c", b"1"),
        link("up", "../outside"), member("up/d", b"1"),
    ]  # fmt: skip
    unpack_context(io.BytesIO(tar(members)), root)
    assert not files(outside)
    with pytest.raises(InvalidInput):
        unpack_context(io.BytesIO(tar([link("self", "self"), member("self/a")])), outside)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_left_out(root: Path, kind: bytes) -> None:
    unpack_context(io.BytesIO(tar([member("node", type=kind, devmajor=1, devminor=3), member("a")])), root)
    assert files(root) == {"a"}


def test_owners_are_of_nobody_elses_choice(root: Path) -> None:
    unpack_context(io.BytesIO(tar([member("a", uid=12345, gid=99999999)])), root)
    assert (root / "a").stat().st_uid == os.geteuid()


def test_an_archive_may_have_so_many_entries_and_bytes(root: Path) -> None:
    with pytest.raises(TooLarge):
        unpack_context(io.BytesIO(tar([member(str(number)) for number in range(20)])), root, Limits(max_entries=10))
    with pytest.raises((TooLarge, InvalidInput)):
        unpack_context(io.BytesIO(tar([member("a", bytes(100_000))])), root, Limits(max_bytes=50_000))


def test_a_damaged_archive_is_refused(root: Path) -> None:
    for number, data in enumerate((gzip.compress(tar(FILES))[:60], tar(FILES)[:700], b"\x1f\x8b" + b"x" * 600)):
        target = root / str(number)
        target.mkdir()
        with pytest.raises(CorruptData):
            unpack_context(io.BytesIO(data), target)


class Asked:
    """A session over a directory, and a destination."""

    def __init__(self, root: Path, members: list[Any]) -> None:
        self.target = root.parent / "target"
        self.target.mkdir()
        unpack_context(io.BytesIO(tar(members)), root)
        self.ends: list[int] = []
        self.session = ArchiveSession(ContextInUse(root, lambda: self.ends.append(1)))
        self.sizes: list[int] = []

    async def sync(self, name: str = "context", **selection: tuple[str, ...]) -> set[str]:
        """What is in the destination afterwards."""
        await self.session.sync(name, self.target, Selection(**selection), self.sizes.append)
        return files(self.target)


async def test_a_context_is_linked_with_modes_and_times(root: Path) -> None:
    asked = Asked(root, FILES)
    assert await asked.sync() == {"d", "d/.wh.a", "Dockerfile", "l"}
    for name in ("d", "d/.wh.a", "l"):
        before, after = (os.lstat(path) for path in (root / name, asked.target / name))
        assert (before.st_mode, before.st_mtime) == (after.st_mode, after.st_mtime)
    assert os.lstat(root / "Dockerfile").st_ino == os.lstat(asked.target / "Dockerfile").st_ino


async def test_what_was_there_before_is_gone(root: Path) -> None:
    asked = Asked(root, FILES)
    os.makedirs(asked.target / "old" / "older")
    os.symlink("/etc/passwd", asked.target / "Dockerfile")
    assert await asked.sync() == {"d", "d/.wh.a", "Dockerfile", "l"}
    assert os.lstat(asked.target / "Dockerfile").st_size == len(b"FROM scratch\n")


async def test_wanted_paths_come_alone_unless_links_have_to_be_followed(root: Path) -> None:
    asked = Asked(root, [*FILES, member("e/f/g"), member("e/h"), member("x")])
    assert await asked.sync(follow=("Dockerfile", "missing")) == {"Dockerfile"}
    assert await asked.sync(follow=("e/f",)) == {"e", "e/f", "e/f/g"}
    everything = {"d", "d/.wh.a", "Dockerfile", "l", "e", "e/f", "e/f/g", "e/h", "x"}
    for paths in (("l",), ("*",), ("l/x",), ("../x",), ("",)):
        assert await asked.sync(follow=paths) == everything


async def test_a_whole_context_is_used_where_it_is(root: Path) -> None:
    asked = Asked(root, [*FILES, member("e/f/g", b"123")])
    for selection in (Selection(), Selection(exclude=("*.md", "e/x")), Selection(follow=("e",))):
        used = await asked.session.directory("context", selection, asked.sizes.append)
        assert used is not None
        assert used.places == (root,)
        assert asked.ends == []
        used.release()
    assert asked.sizes == [len(b"1FROM scratch\n123") + len("/etc")] * 3
    assert asked.ends == []


async def test_too_much_that_is_excluded_or_parts_of_what_is_are_linked_instead(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(root, [*FILES, member("e/f/g", b"123"), member("e/f/h", b"123")])
    for patterns in (("e", "!e/f/g"), ("*", "!e/f/h")):
        selection = Selection(exclude=patterns)
        assert await asked.session.directory("context", selection, asked.sizes.append) is None, patterns
    assert await asked.session.directory("dockerfile", Selection(), asked.sizes.append) is None
    assert await ArchiveSession(None).directory("context", Selection(), asked.sizes.append) is None
    monkeypatch.setattr(archive_session, "_MOST_PATHS", 1)
    assert await asked.session.directory("context", Selection(exclude=("e/f/*",)), asked.sizes.append) is None
    assert (asked.sizes, asked.ends) == ([], [])


def test_what_is_excluded_is_named_as_high_up_as_it_can_be(root: Path) -> None:
    unpack_context(io.BytesIO(tar([*FILES, member("e/f/g", b"123"), member("e/f/h", b"4567")])), root)
    for patterns, found in (
        ((), (25, [])),
        (("e",), (18, [b"e"])),
        (("e/f/h", "l"), (17, [b"l", b"e/f/h"])),
        (("**/g", "Dockerfile"), (9, [b"Dockerfile", b"e/f/g"])),
        (("*",), (0, [b"Dockerfile", b"d", b"e", b"l"])),
        (("e", "!e/f/g"), None),
    ):
        judged = tree_links.excluded(root, archive_session._without(patterns), 10)
        assert (judged and (judged[0], sorted(judged[1]))) == (found and (found[0], sorted(found[1]))), patterns


async def test_what_is_excluded_is_left_out(root: Path) -> None:
    asked = Asked(root, [member("a/b/c"), member("a/d"), member("e")])
    assert await asked.sync(exclude=("a",)) == {"e"}
    assert await asked.sync(exclude=("a/b", "e")) == {"a", "a/d"}
    assert await asked.sync(exclude=("a", "!a/b")) == {"a", "a/b", "a/b/c", "e"}
    assert await asked.sync(exclude=("*", "!a/x")) == set()
    assert await asked.sync(exclude=("**/d",), follow=("a",)) == {"a", "a/b", "a/b/c"}


async def test_a_deep_tree_is_linked(root: Path) -> None:
    asked = Asked(root, [member("a")])
    fd = os.open(root, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    await asked.session.sync("context", asked.target, Selection(), asked.sizes.append)
    assert os.listdir(asked.target / "d" / "d") == ["d"]
    for tree in (root, asked.target):
        trees.remove(tree)  # few others can


async def test_there_is_nothing_but_a_context_and_credentials(root: Path) -> None:
    session = ArchiveSession(ContextInUse(root, lambda: None), {"docker.io": Credentials("me", "secret")}.get)
    assert await session.credentials("docker.io") == Credentials("me", "secret")
    assert await session.credentials("localhost:5000") is None
    with pytest.raises(NotFound, match="no local sources enabled: other"):
        await session.sync("other", root, Selection(), lambda _: None)
    with pytest.raises(NotFound, match="no local sources enabled: context"):
        await ArchiveSession(None).sync("context", root, Selection(), lambda _: None)
    with pytest.raises(NotFound):
        await session.secret("x")
