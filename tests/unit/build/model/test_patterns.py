"""Patterns of paths."""

from __future__ import annotations

import pytest

from wherry.build.model.patterns import NO_MATCH, Pattern, PatternMatcher, parse_ignore_file
from wherry.errors import InvalidInput

MATCHING = [
    ("**", "x"),
    ("**/", "a/b"),
    ("a/**", "a/b/c"),
    ("**/a", "a"),
    ("**/a", "x/y/a"),
    ("**/a", "x/a/below"),
    ("**a", "xa"),
    ("**/a/*", "x/a/y"),
    ("a/**/c", "a/c"),
    ("a/**/c", "a/b/b/c"),
    ("a**/*.txt", "ab/c/d.txt"),
    ("*.py", "x.py"),
    ("*", ".hidden"),
    ("a?c", "aéc"),
    ("[a-c]x", "bx"),
    ("[^a-c]x", "dx"),
    ("[\\]]x", "]x"),
    ("\\*", "*"),
    ("a+b(c).{d}|$^", "a+b(c).{d}|$^"),
    ("a//b/../c/", "a/c"),
    ("  a  ", "a"),
    ("a", "a/below/it"),
]
NOT_MATCHING = [
    ("a/**", "a"),
    ("a", "b/a"),
    ("a", "ab"),
    ("a.c", "abc"),
    ("a*c", "a/c"),
    ("a?c", "a/c"),
    ("**/a", "xa"),
    ("a/*/c", "a/b/b/c"),
    ("[a-c]x", "dx"),
    ("\\*", "x"),
    ("/a", "a"),
]


@pytest.mark.parametrize(("pattern", "path"), MATCHING)
def test_a_pattern_matches(pattern: str, path: str) -> None:
    assert PatternMatcher([pattern]).matches(path)


@pytest.mark.parametrize(("pattern", "path"), NOT_MATCHING)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not PatternMatcher([pattern]).matches(path)


@pytest.mark.parametrize(
    ("patterns", "matching", "others"),
    [
        (["*", "!a"], ["b", "b/a"], ["a", "a/b"]),
        (["*", "!a", "a/b"], ["a/b", "a/b/c"], ["a", "a/c"]),
        (["docs", "!docs/README*"], ["docs", "docs/x"], ["docs/README.md"]),
        (["!a", "a"], ["a"], []),
        (["**/*.md", "!README.md"], ["x.md", "sub/README.md"], ["README.md"]),
        (["a", "", "  "], ["a"], ["b"]),
        ([], [], ["a"]),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: list[str], matching: list[str], others: list[str]) -> None:
    matcher = PatternMatcher(patterns)
    assert [path for path in matching + others if matcher.matches(path)] == matching


def test_a_walk_by_states_says_the_same_as_whole_paths() -> None:
    matcher = PatternMatcher(["a*", "!ab/c*", "ab/c/x", "**/z", "!ab/q/z"])
    for path in ("a", "ab/c/x/y", "ab/c/w", "ab/d", "b/z/q", "ab/q/z", "ab/q/z/z", "c"):
        state = NO_MATCH
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            state = matcher.state("/".join(parts[:count]), state)
        assert matcher.is_match(state) == matcher.matches(path), path


@pytest.mark.parametrize(
    ("patterns", "directory", "may_change"),
    [
        (["a"], "a", False),
        (["a", "!a/b/c"], "a", True),
        (["a", "!a/b/c"], "a/b", True),
        (["a", "!a/b/c"], "a/x", False),
        (["!a/b", "a"], "a", False),
        (["*", "!*/keep"], "x", True),
        (["*", "!*/keep"], "x/y", False),
        (["*", "!x/**/keep"], "x/y/z", True),
        (["*", "!x/**/keep"], "y", False),
        (["*", "!**/keep"], "x/y/z", True),
        (["*", "![x]/keep"], "y", True),
        (["a/b"], "a", True),
        (["a/b"], "c", False),
        (["a/*/c"], "a/b", True),
        (["a/*/c"], "a/b/c", False),
        (["a/b"], "", True),
        (["*.py"], "a", False),
        (["x/" * 40 + "y"], "/".join("x" * 35), True),
    ],
)
def test_a_directory_below_which_nothing_can_differ_is_known(
    patterns: list[str], directory: str, may_change: bool
) -> None:
    matcher = PatternMatcher(patterns)
    state = NO_MATCH
    parts = directory.split("/") if directory else []
    for count in range(1, len(parts) + 1):
        state = matcher.state("/".join(parts[:count]), state)
    assert matcher.may_change_below(directory, state) == may_change


@pytest.mark.parametrize("pattern", ["[", "a[", "[]a]", "[-]", "[x-]", "[^", "[a-b-c]", "a\\", "!["])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="syntax error in pattern"):
        PatternMatcher([pattern])
    with pytest.raises(InvalidInput, match=r'^syntax error in pattern "x/\[a"$'):
        PatternMatcher(["x", " !x/[a "])


def test_an_exclamation_mark_alone_is_refused() -> None:
    with pytest.raises(InvalidInput, match='illegal exclusion pattern: "!"'):
        PatternMatcher([" ! "])


def test_patterns_are_kept_clean() -> None:
    matcher = PatternMatcher(["a/./b/", "! c"])
    assert matcher.patterns == (Pattern("a/b"), Pattern("c", inverts=True))
    assert matcher.has_inverting
    assert not PatternMatcher(["a"]).has_inverting


def test_names_that_are_not_utf_8_and_have_newlines_match_wildcards() -> None:
    assert PatternMatcher(["a*z"]).matches("a\udcff\nz")
    assert PatternMatcher(["**/z*"]).matches("a\n/z")


@pytest.mark.parametrize(
    "patterns",
    [["**/a" * 65], ["a" * 5000], ["a"] * 10_001, ["*a" * 60] * 600],
    ids=["wildcards", "length", "count", "wildcards together"],
)
def test_patterns_are_bounded(patterns: list[str]) -> None:
    with pytest.raises(InvalidInput):
        PatternMatcher(patterns)


def test_patterns_with_many_wildcards_do_not_go_back_and_try_again() -> None:
    matcher = PatternMatcher(["*a" * 60 + "b", "**/a" * 30 + "/b"])
    assert not matcher.matches("a" * 4000)
    assert not matcher.matches("/".join("a" * 200))


def test_an_ignore_file_is_read() -> None:
    text = b"\xef\xbb\xbf# comment\r\n\r\n /a/b/ \r\n!  /c \n  #d\n/\n!\n./x/../y\n**/*.o"
    assert parse_ignore_file(text) == ["a/b", "!c", "#d", "/", "!", "y", "**/*.o"]


def test_an_ignore_file_with_an_endless_line_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too long"):
        parse_ignore_file(b"a" * 70_000)
