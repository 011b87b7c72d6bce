"""Git repositories as people name them."""

from __future__ import annotations

import pytest

from wherry.build.front.git_reference import GitReference, git_source
from wherry.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "remote", "reference", "subdirectory"),
    [
        ("https://example.com/r.git", "https://example.com/r.git", "", ""),
        ("https://example.com/r.git#v1:a/b", "https://example.com/r.git", "v1", "a/b"),
        ("https://example.com/r.git#:../../a", "https://example.com/r.git", "", "a"),
        ("https://example.com/r.git?ref=x&subdir=y", "https://example.com/r.git", "x", "y"),
        ("https://example.com/r.git?branch=x", "https://example.com/r.git", "refs/heads/x", ""),
        ("https://example.com/r.git?tag=x#refs/tags/x", "https://example.com/r.git", "refs/tags/x", ""),
        ("git://example.com/r", "git://example.com/r", "", ""),
        ("ssh://git@example.com/r", "ssh://git@example.com/r", "", ""),
        ("git@example.com:a/r.git#x", "git@example.com:a/r.git", "x", ""),
        ("git@example.com:a/r.git?ref=x", "git@example.com:a/r.git", "x", ""),
        ("github.com/a/b#c", "github.com/a/b", "c", ""),
    ],
)
def test_a_repository_is_recognised(text: str, remote: str, reference: str, subdirectory: str) -> None:
    found = GitReference.parse(text)
    assert found is not None
    assert (found.remote, found.reference, found.subdirectory) == (remote, reference, subdirectory)


@pytest.mark.parametrize(
    "text",
    ["", "a/b", "./github.com/a", "../x.git", "https://example.com/r.git/x", "https://example.com/r", "ftp://a/b.git",
     "http://[", "x:y", "file:///a/b.git"],
)  # fmt: skip
def test_anything_else_is_none(text: str) -> None:
    assert GitReference.parse(text) is None


def test_a_repository_on_this_machine_is_for_those_who_may_name_one() -> None:
    found = GitReference.parse("file:///a/b.git#c", local=True)
    assert found is not None
    assert (found.remote, found.reference) == ("file:///a/b.git", "c")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ref=a&ref=b", 'query "ref" has multiple values'),
        ("ref=", 'query "ref" has no value'),
        ("x=1", 'unexpected query "x"'),
        ("tag=a&branch=b", "branch conflicts with tag"),
        ("ref=a&tag=b", 'ref conflicts: "a" vs "refs/tags/b"'),
        ("keep-git-dir=x", 'invalid keep-git-dir value: "x"'),
        ("mtime=x", 'invalid mtime value: "x"'),
        ("&".join(f"a{number}=1" for number in range(99)), "invalid query"),
    ],
)
def test_a_wrong_query_is_an_error(query: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        GitReference.parse(f"https://example.com/r.git?{query}")


def test_all_ways_to_a_repository_have_one_identifier() -> None:
    found = [
        git_source(reference).identifier
        for text in ("https://example.com/a/r.git#x", "ssh://git@example.com/a/r.git#x", "git@example.com:a/r.git#x")
        if (reference := GitReference.parse(text)) is not None
    ]
    assert found == ["git://example.com/a/r.git#x"] * 3


def test_what_is_asked_for_is_in_the_attributes() -> None:
    reference = GitReference.parse(
        "ssh://git@example.com/r?checksum=abc&submodules=0&keep-git-dir&mtime=commit&fetch-by-commit=1"
    )
    assert reference is not None
    assert git_source(reference).attributes == {
        "git.fullurl": "ssh://git@example.com/r",
        "git.authtokensecret": "GIT_AUTH_TOKEN",
        "git.authheadersecret": "GIT_AUTH_HEADER",
        "git.keepgitdir": "true",
        "git.mountsshsock": "default",
        "git.checksum": "abc",
        "git.skipsubmodules": "true",
        "git.mtime": "commit",
        "git.fetchbycommit": "true",
    }
