"""Addresses of git repositories."""

from __future__ import annotations

import pytest

from wherry.build.sources.git_url import is_commit, parse
from wherry.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "remote", "ref", "subdir"),
    [
        ("https://example.com/a.git", "https://example.com/a.git", "", ""),
        ("https://example.com/a.git#main", "https://example.com/a.git", "main", ""),
        ("https://example.com/a.git#main:sub/dir", "https://example.com/a.git", "main", "sub/dir"),
        ("https://example.com/a.git#:../../sub", "https://example.com/a.git", "", "sub"),
        ("HTTP://example.com:8080/a.git", "http://example.com:8080/a.git", "", ""),
        ("ssh://git@example.com:22/a.git#v1", "ssh://git@example.com:22/a.git", "v1", ""),
        ("git@example.com:team/a.git#v1", "git@example.com:team/a.git", "v1", ""),
        ("file:///srv/a.git", "file:///srv/a.git", "", ""),
        ("https://[::1]:8080/a.git", "https://[::1]:8080/a.git", "", ""),
    ],
)
def test_an_address_is_taken_apart(text: str, remote: str, ref: str, subdir: str) -> None:
    found = parse(text)
    assert (found.remote, found.ref, found.subdir) == (remote, ref, subdir)


def test_a_password_is_kept_out_of_the_address() -> None:
    found = parse("https://me:s%40crit@example.com:8443/a.git")
    assert (found.username, found.password) == ("me", "s@crit")
    assert found.remote == found.shown == "https://example.com:8443/a.git"
    assert found.origin == "https://example.com:8443/"


@pytest.mark.parametrize(
    "text",
    [
        "ext::sh -c 'touch /tmp/x'",
        "ext://sh",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x@example.com:a",
        "ssh://-oProxyCommand=x/a",
        "ssh://-oProxyCommand=x@example.com/a",
        "example.com:-x",
        "git@-x:a",
        "https:///a",
        "https://example.com",
        "https://example.com:99999/a",
        "file://",
        "/srv/a.git",
        "https://example.com/a\nb",
        "https://example.com/a\0b",
        "fd::17/foo",
        "x" * 10_000,
    ],
)
def test_an_address_that_is_none_or_does_more_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


@pytest.mark.parametrize(
    "ref", ["-x", "--upload-pack=x", "a..b", "a b", "a~1", "a^", "a@{1}", "x.lock", "a//b", "*", "a/"]
)
def test_a_reference_that_is_none_is_refused(ref: str) -> None:
    with pytest.raises(InvalidInput, match="invalid git reference"):
        parse(f"https://example.com/a.git#{ref}")


def test_a_commit_is_known_by_its_whole_id() -> None:
    assert is_commit("a" * 40)
    assert is_commit("0" * 64)
    assert not is_commit("a" * 39)
    assert not is_commit("A" * 40)
