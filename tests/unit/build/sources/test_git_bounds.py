"""Repositories that want more than anybody has."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

import pytest

from support.build_sources import content_of
from support.git_repositories import Git, Repository, git, served
from wherry.build.sources import git_bounds, git_checkout
from wherry.build.sources.git_bounds import DiskBounds, Survey
from wherry.build.sources.git_program import GitProgram
from wherry.errors import TooLarge
from wherry.layers.limits import Limits

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the program git is not here")

LIMITS = Limits(max_bytes=1 << 20, max_entries=1000)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def used(tmp_path: Path) -> Git:
    return Git(tmp_path, LIMITS)


def is_empty(used: Git) -> bool:
    """Whether nothing was kept of what was too much."""
    [(_, kept)] = used.directories.paths("source.git.checkout")
    return os.listdir(kept) == []


async def refused(used: Git, url: str, words: str) -> None:
    with pytest.raises(TooLarge, match=words):
        await used.fetch(url)
    assert is_empty(used)


async def test_what_is_within_the_bounds_is_fetched(used: Git, repository: Repository) -> None:
    _, snapshot = await used.fetch(repository.url)
    assert content_of(snapshot)["sub/file"] == "two"
    await used.fetch(repository.url, git__keepgitdir="true")


async def test_a_few_directories_that_stand_for_a_million_files_are_refused_before_they_are_made(
    used: Git, repository: Repository
) -> None:
    here = repository.path
    entry = f"100644 blob {git(here, 'hash-object', '-w', '--stdin', given='bomb')}"
    for _ in range(6):
        tree = git(here, "mktree", given="".join(f"{entry}\tn{number}\n" for number in range(10)))
        entry = f"040000 tree {tree}"
    git(here, "update-ref", "refs/heads/bomb", git(here, "commit-tree", "-m", "x", tree))
    await refused(used, f"{repository.url}#bomb", "more than the 1000 files allowed")
    assert not any(used.drafts.root.rglob("n0"))


async def test_a_file_that_is_small_only_in_the_pack_is_refused(used: Git, repository: Repository) -> None:
    (repository.path / "zeros").write_bytes(bytes(2 << 20))
    repository.commit()
    await refused(used, repository.url, "more than the 1048576 bytes allowed")
    assert not any(used.drafts.root.rglob("zeros"))


async def test_a_pack_that_is_too_large_is_refused_while_it_comes(used: Git, repository: Repository) -> None:
    (repository.path / "noise").write_bytes(random.Random(1).randbytes(2 << 20))
    repository.commit()
    await refused(used, repository.url, r"takes more than this machine gives it|more than the 1048576 bytes allowed")


async def test_directories_that_are_too_deep_for_a_path_are_refused(used: Git, repository: Repository) -> None:
    here = repository.path
    entry = f"100644 blob {git(here, 'hash-object', '-w', '--stdin', given='bomb')}"
    for _ in range(20):
        tree = git(here, "mktree", given=f"{entry}\t{'d' * 200}\n")
        entry = f"040000 tree {tree}"
    git(here, "update-ref", "refs/heads/deep", git(here, "commit-tree", "-m", "x", tree))
    await refused(used, f"{repository.url}#deep", "path of more than the 3072 bytes allowed")


@pytest.mark.slow
@pytest.mark.once
async def test_submodules_in_each_other_come_to_an_end(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = Git(tmp_path)
    with served(tmp_path) as (address, _):
        url = f"{address}/repository/.git"
        git(repository.path, "update-server-info")
        git(repository.path, "submodule", "--quiet", "add", url, "lib")
        commits = [repository.commit()]
        for _ in range(3):
            git(repository.path, "update-index", "--cacheinfo", f"160000,{commits[-1]},lib")
            git(repository.path, "commit", "--quiet", "--message=x")
            commits.append(git(repository.path, "rev-parse", "HEAD"))
        git(repository.path, "update-server-info")
        _, snapshot = await used.fetch(f"{url}#{commits[1]}")
        assert "lib/lib/sub/file" in content_of(snapshot)
        monkeypatch.setattr(git_checkout, "_DEEPEST", 2)
        with pytest.raises(TooLarge, match="submodules in each other, more than the 2 levels allowed"):
            await used.fetch(f"{url}#{commits[3]}")
        assert is_empty(used)
        monkeypatch.setattr(git_checkout, "_MOST_SUBMODULES", 0)
        with pytest.raises(TooLarge, match="more than the 0 submodules allowed"):
            await used.fetch(f"{url}#{commits[0]}")


async def test_git_is_ended_when_it_has_filled_its_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_bounds, "_INTERVAL", 0.01)
    for limits, words in ((Limits(max_entries=3), "the 3 files"), (Limits(max_bytes=3), "the 3 bytes")):
        directory = tmp_path / words
        directory.mkdir()
        program = GitProgram(["file"], bounds=DiskBounds(limits))
        program.bounds.watch(directory)
        fill = f"!for n in 1 2 3 4; do echo > '{directory}/'$n; done; sleep 600"
        with pytest.raises(TooLarge, match=words):
            await asyncio.wait_for(program.run("-c", f"alias.fill={fill}", "fill"), 60)


async def test_gits_children_have_its_limits() -> None:
    program = GitProgram(["file"], bounds=DiskBounds(Limits(max_bytes=1 << 20)))
    told = (await program.run("-c", "alias.told=!ulimit -f; ulimit -d", "told")).split()
    assert told == [b"2048", b"4194304"]


def test_a_list_is_read_however_it_is_cut() -> None:
    lines = [f"100644 blob {'0' * 40} {'7':>7}\tfile", f"160000 commit {'0' * 40} {'-':>7}\ta\nb"]
    for size in (1, 7, 1000):
        survey, data = Survey(Limits(max_bytes=7)), b"".join(line.encode() + b"\0" for line in lines)
        for start in range(0, len(data), size):
            survey.take(data[start : start + size])
        assert survey.submodules == [b"a\nb"]
    with pytest.raises(TooLarge):
        survey.take(data)
