"""Regular expressions and path patterns of callers are Go's, and none of them can keep the daemon busy."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InvalidInput
from wherry.oci.go_patterns import EXPRESSION_LIMIT, Expression, any_of, path_pattern

PATIENCE = 60.0  #: seconds; what goes back and tries again would take years


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
    ],
)
def test_what_is_no_expression_is_refused_in_gos_words(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Expression(text)
    assert str(refusal.value) == f"error parsing regexp: {said}"


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [("b", "abc", True), ("^b", "abc", False), ("c$", "abc\n", False), ("a.c", "a/abc", True), (r"\d+", "a1", True),
     ("(?i)ABC", "abc", True), ("", "abc", True), ("ä", "bär", True), ("^/web_1$", "/web_1", True)],
)  # fmt: skip
def test_an_expression_matches_anywhere(text: str, value: str, found: bool) -> None:
    assert Expression(text).found_in(value) == found


def test_no_expression_goes_back_and_tries_again() -> None:
    evil = ["(a+)+b$", "(a|a)*b$", "(a|aa)+b$", "(.*a){20}b$", "a*" * 100 + "b$"]
    within_patience(lambda: [Expression(text).found_in("a" * 5000) for text in evil])


def test_no_path_pattern_goes_back_and_tries_again() -> None:
    within_patience(lambda: path_pattern("*a" * 60 + "*b")("a" * 5000))


def test_expressions_are_measured_before_one_is_compiled() -> None:
    refused = []

    def ask() -> None:
        try:
            any_of([rf"\pL{{20}}{number}" * 80 for number in range(5000)])
        except InvalidInput as error:
            refused.append(error.message)

    within_patience(ask)
    assert refused == [f"error parsing regexp: expression is longer than {EXPRESSION_LIMIT} bytes"]


def test_what_one_expression_quotes_ends_with_it() -> None:
    fits = any_of([r"\Q(", "^b.$", "(?i)C."])
    assert [value for value in ("a(", "bx", "xcy", "a", "abx") if fits(value)] == ["a(", "bx", "xcy"]


def test_many_short_expressions_are_within_the_bound() -> None:
    assert any_of(["."] * 3 + [f"{letter}." for letter in "abc" * 1000] + ["x|"])("b1")
    assert any_of([chr(0x100 + number) + "." for number in range(3000)])("\u01002")


def test_an_expression_has_a_bound() -> None:
    with pytest.raises(InvalidInput, match="longer than"):
        Expression(r"\pL" * EXPRESSION_LIMIT)
    with pytest.raises(InvalidInput, match="longer than"):
        any_of([f"a{number}*" for number in range(EXPRESSION_LIMIT)])
    with pytest.raises(InvalidInput, match="too large"):
        Expression(r"\pL{1000}\pN{999}")


def test_one_of_several_values_is_enough() -> None:
    assert any_of(["web", "^db$"])("/db-web")
    assert any_of(["web", "^db$"])("db")
    assert not any_of(["web", "^db$"])("db2")


def test_a_value_that_is_no_expression_matches_itself_only() -> None:
    assert any_of(["("])("(")
    assert not any_of(["("])("a(")
    assert not any_of(["a)|(b"])("a"), "two halves do not become an expression when they are put together"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [("a*", "abc", True), ("a*", "a/b", False), ("a?c", "abc", True), ("a?c", "a/c", False), ("[a-c]x", "bx", True),
     ("[^a]x", "ax", False), ("a\\*", "a*", True), ("a\\*", "ab", False), ("a.b", "axb", False), ("*", "", True),
     ("[\\]]", "]", True), ("[a^]", "^", True), ("a+", "aa", False), ("[z-a]", "z", False), ("(a)", "(a)", True)],
)  # fmt: skip
def test_path_patterns_match_as_gos_do(pattern: str, text: str, matches: bool) -> None:
    assert path_pattern(pattern)(text) == matches


@pytest.mark.parametrize("text", ["[", "[]", "[a", "[-a]", "[a-]", "[a-]]", "[a--]", "a\\", "[a\\"])
def test_what_is_no_path_pattern_is_refused_in_gos_words(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^syntax error in pattern$"):
        path_pattern(text)


@given(st.text(), st.text())
def test_any_text_is_an_expression_or_refused(text: str, value: str) -> None:
    any_of([text])(value)
    for make in (Expression, path_pattern):
        try:
            make(text)
        except InvalidInput:
            continue


def test_plain_words_do_without_the_library() -> None:
    program = (
        "import sys; from wherry.oci.go_patterns import Expression, any_of, path_pattern;"
        "any_of(['web_1'])('/web_1'); path_pattern('a/b:1')('a'); assert 're2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def within_patience(work: object) -> None:
    """Run something in a thread that may be left behind."""
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the expression is still being matched"
