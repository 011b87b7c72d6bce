"""Git repositories as sources: real ones, on this machine's disk and behind a plain web server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.build_sources import ClientSession, content_of, request_for
from support.git_repositories import MOMENT, Git, Repository, git, redirecting, served
from wherry.errors import InvalidInput, NotFound, Unsupported, WherryError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the program git is not here")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def used(tmp_path: Path) -> Git:
    return Git(tmp_path)


async def test_the_head_of_a_repository_is_checked_out_with_the_commits_time(used: Git, repository: Repository) -> None:
    key, snapshot = await used.fetch(repository.url)
    assert content_of(snapshot) == {"Dockerfile": "FROM scratch\n", "sub/file": "two"}
    root = Path(snapshot.layers[0].path)
    assert {path.stat().st_mtime for path in (root, root / "sub", root / "sub/file")} == {MOMENT}
    assert key.pins == ((repository.url, f"sha1:{repository.second}"),)


async def test_branches_tags_and_commits_mean_what_they_mean(used: Git, repository: Repository) -> None:
    for ref, content in (("main", "two"), ("other", "one"), ("v1", "one"), ("refs/tags/v1", "one"),
                         (repository.first, "one"), (repository.second, "two")):  # fmt: skip
        key, snapshot = await used.fetch(f"{repository.url}#{ref}")
        assert content_of(snapshot)["sub/file"] == content, ref
        assert key.pins[0][1].removeprefix("sha1:") in (repository.first, repository.second)


async def test_a_subdirectory_becomes_the_root(used: Git, repository: Repository) -> None:
    _, snapshot = await used.fetch(f"{repository.url}#main:sub")
    assert content_of(snapshot) == {"file": "two"}
    with pytest.raises(NotFound, match="has no directory 'nothing'"):
        await used.fetch(f"{repository.url}#main:nothing")
    with pytest.raises(NotFound, match="has no directory 'Dockerfile'"):
        await used.fetch(f"{repository.url}#main:Dockerfile")


async def test_a_subdirectory_that_is_a_link_stays_inside(used: Git, repository: Repository) -> None:
    (repository.path / "out").symlink_to("/etc")
    (repository.path / "in").symlink_to("/sub")
    repository.commit()
    with pytest.raises(NotFound, match="has no directory 'out'"):
        await used.fetch(f"{repository.url}#main:out")
    _, snapshot = await used.fetch(f"{repository.url}#main:in")
    assert content_of(snapshot) == {"file": "two"}


async def test_what_was_fetched_is_kept_for_the_next_time(used: Git, repository: Repository) -> None:
    await used.fetch(repository.url)
    (repository.path / "new").write_text("3")
    repository.commit()
    _, snapshot = await used.fetch(repository.url)
    assert content_of(snapshot)["new"] == "3"
    assert len(used.directories.paths("source.git.checkout")) == 1


async def test_a_commit_that_is_known_needs_no_server(used: Git, repository: Repository) -> None:
    await used.fetch(f"{repository.url}#{repository.second}")
    repository.path.rename(repository.path.with_name("gone"))
    _, snapshot = await used.fetch(f"{repository.url}#{repository.second}")
    assert content_of(snapshot)["sub/file"] == "two"


async def test_what_a_killed_git_left_is_in_nobodys_way(used: Git, repository: Repository) -> None:
    await used.fetch(repository.url)
    [(_, kept)] = used.directories.paths("source.git.checkout")
    (repository.path / "new").write_text("3")
    repository.commit()
    (kept / "refs/heads/deep").mkdir(parents=True)
    left = (
        "config.lock", "HEAD.lock", "shallow.lock", "packed-refs.lock", "shallow_a1b2", "index-0123",
        "refs/heads/main.lock", "refs/heads/deep/x.lock", "objects/pack/tmp_pack_1", "objects/pack/tmp_idx_1",
        "objects/tmp_obj_1", "objects/pack/pack-1.pack.temp",
    )  # fmt: skip
    for name in left:
        (kept / name).write_text("")
    _, snapshot = await used.fetch(repository.url)
    assert content_of(snapshot)["new"] == "3"
    assert [name for name in left if (kept / name).exists()] == []


async def test_a_checksum_has_to_fit(used: Git, repository: Repository) -> None:
    await used.fetch(f"{repository.url}#main", git__checksum=repository.second[:12])
    with pytest.raises(InvalidInput, match=f"expected checksum to match {repository.first}, got {repository.second}"):
        await used.fetch(f"{repository.url}#main", git__checksum=repository.first)
    with pytest.raises(InvalidInput, match="invalid git checksum"):
        await used.fetch(f"{repository.url}#main", git__checksum="xyz")


async def test_the_git_directory_is_kept_on_demand(used: Git, repository: Repository) -> None:
    for ref, description in (("v1", "v1"), ("main", "")):
        _, snapshot = await used.fetch(f"{repository.url}#{ref}", git__keepgitdir="true")
        root = Path(snapshot.layers[0].path)
        assert git(root, "status", "--porcelain") == ""
        assert git(root, "config", "remote.origin.url") == repository.url
        if description:
            assert git(root, "describe", "--tags") == description
        else:
            assert git(root, "rev-parse", "--abbrev-ref", "HEAD") == "main"


async def test_what_is_not_there_is_told_of(used: Git, repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="repository does not contain ref nothing"):
        await used.fetch(f"{repository.url}#nothing")
    with pytest.raises(WherryError, match="git ls-remote failed"):
        await used.fetch(f"file://{tmp_path}/nowhere")
    with pytest.raises(WherryError, match=r"git fetch failed|has no commit"):
        await used.fetch(f"{repository.url}#{'0' * 40}")


async def test_no_hook_and_no_filter_of_a_repository_runs(used: Git, repository: Repository, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name in ("post-checkout", "post-merge", "pre-auto-gc", "reference-transaction"):
        hook = repository.path / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {trace}\n")
        hook.chmod(0o755)
    git(repository.path, "config", "filter.x.smudge", f"touch {trace}")
    (repository.path / ".gitattributes").write_text("* filter=x\n")
    (repository.path / ".gitconfig").write_text(f"[core]\n\tfsmonitor = touch {trace}\n")
    git(repository.path, "-c", "core.hooksPath=/dev/null", "add", "--all")
    git(repository.path, "-c", "core.hooksPath=/dev/null", "commit", "--quiet", "--message=x")
    trace.unlink(missing_ok=True)
    for attributes in ({}, {"git__keepgitdir": "true"}):
        await used.fetch(repository.url, **attributes)
    assert not trace.exists()


async def test_a_machine_without_git_says_so(
    used: Git, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="need the program git"):
        await used.fetch(repository.url)


def test_transports_that_run_programs_are_refused(used: Git) -> None:
    for address in ("ext::sh -c true", "ext://x/y", "fd::3"):
        with pytest.raises(InvalidInput):
            used.source.open(request_for("git://x/y", git__fullurl=address))


@pytest.mark.slow
@pytest.mark.once
async def test_submodules_come_along_but_none_of_this_machines_files(
    used: Git, repository: Repository, tmp_path: Path
) -> None:
    library = Repository(tmp_path / "library")
    git(library.path, "update-server-info")
    with served(tmp_path) as (address, _):
        git(repository.path, "submodule", "--quiet", "add", f"{address}/library/.git", "lib")
        repository.commit()
        git(repository.path, "update-server-info")
        _, snapshot = await used.fetch(f"{address}/repository/.git#main")
        assert content_of(snapshot)["lib/sub/file"] == "two"
        assert not [name for name in content_of(snapshot) if ".git/" in name or name.endswith("/.git")]
        _, snapshot = await used.fetch(f"{address}/repository/.git#main", git__skipsubmodules="true")
        assert "lib/sub/file" not in content_of(snapshot)
        git(repository.path, "config", "--file=.gitmodules", "submodule.lib.url", library.url)
        repository.commit()
        git(repository.path, "update-server-info")
        with pytest.raises(WherryError, match="git submodule failed"):
            await used.fetch(f"{address}/repository/.git#main")
        with pytest.raises(WherryError, match="git submodule failed"):
            await used.fetch(f"{repository.url}#main")


async def test_credentials_go_to_the_server_and_nowhere_else(used: Git, repository: Repository, tmp_path: Path) -> None:
    git(repository.path, "update-server-info")
    with served(tmp_path) as (address, asked):
        key, _ = await used.fetch(f"{address.replace('://', '://me:secret@')}/repository/.git#main")
        assert asked[-1]["Authorization"].startswith("Basic ")
        assert "secret" not in repr(key)
        session = ClientSession()
        session.secrets["GIT_AUTH_TOKEN"] = b"t0ken"
        _, snapshot = await used.fetch(
            f"{address}/repository/.git#main", session, git__authtokensecret="GIT_AUTH_TOKEN", git__keepgitdir="true"
        )
        assert asked[-1]["Authorization"].startswith("Basic eC1hY2Nlc3MtdG9rZW46")
    stored = [
        path.read_bytes()
        for root in (used.drafts.root, used.directories.root)
        for path in root.rglob("*")
        if path.is_file()
    ]
    assert snapshot.layers
    assert not [data for data in stored if b"t0ken" in data or b"secret" in data]


async def test_credentials_do_not_follow_a_redirect(used: Git, repository: Repository, tmp_path: Path) -> None:
    git(repository.path, "update-server-info")
    with served(tmp_path) as (elsewhere, asked), redirecting(elsewhere) as address:
        _, snapshot = await used.fetch(f"{address}/repository/.git#main")
        assert content_of(snapshot)["sub/file"] == "two"
        asked.clear()
        with pytest.raises(WherryError, match="redirects are not followed: use the address"):
            await used.fetch(f"{address.replace('://', '://me:secret@')}/repository/.git#main")
        assert asked == []


def test_a_wrong_address_does_not_show_its_token(used: Git) -> None:
    for address in ("https://t0ken@h:99999/x", "https://me:t0ken@[::1/x", "https://me:t0/ken@h/x", "https://t0ken@h/"):
        with pytest.raises(InvalidInput) as caught:
            used.source.open(request_for("git://h/x", git__fullurl=address))
        assert "t0" not in str(caught.value)
