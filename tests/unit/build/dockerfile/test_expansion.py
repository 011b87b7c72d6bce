"""Variables in words."""

from __future__ import annotations

import pytest

from wherry.build.dockerfile.expansion import GROWTH_LIMIT, Lexer
from wherry.errors import InvalidInput

ENV = {"A": "aa", "EMPTY": "", "PATH": "/x/y:/z", "FILE": "lib.tar.gz", "SPACED": "one  two", "STAR": "a*b", "1": "no"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$A", "aa"),
        ("${A}b", "aab"),
        ("$A$A", "aaaa"),
        ("$Ab", ""),
        ("$A.b", "aa.b"),
        ("$none", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$1x", "nox"),
        ("$12", ""),
        ("$@x", "x"),
        (r"\$A", "$A"),
        (r"\\$A", r"\aa"),
        (r"a\b", "ab"),
        ("a\\", "a"),
        ("'$A'", "$A"),
        ('"$A"', "aa"),
        ('"\\$A"', "$A"),
        ('"a\\b"', "a\\b"),
        ('"a\\"b"', 'a"b'),
        ("'a\\'", "a\\"),
        ('"it\'s"', "it's"),
        ("x'y'\"z\"", "xyz"),
        ("${none:-w}", "w"),
        ("${EMPTY:-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${none-w}", "w"),
        ("${A:-w}", "aa"),
        ("${A:+w}", "w"),
        ("${EMPTY:+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${none+w}", ""),
        ("${A:?no}", "aa"),
        ("${EMPTY?no}", ""),
        ("${none:-${A:-b}}", "aa"),
        ("${none:-${none:-'c d'}}", "c d"),
        ("${none:-a\\}b}", "a}b"),
        ("${PATH#/x}", "/y:/z"),
        ("${PATH#*/}", "x/y:/z"),
        ("${PATH##*/}", "z"),
        ("${PATH%/*}", "/x/y:"),
        ("${PATH%%/*}", ""),
        ("${FILE%.*}", "lib.tar"),
        ("${FILE%%.*}", "lib"),
        ("${FILE#???}", ".tar.gz"),
        ("${FILE#x}", "lib.tar.gz"),
        ("${STAR#a\\*}", "b"),
        ("${PATH/\\//-}", "-x/y:/z"),
        ("${PATH//\\//-}", "-x-y:-z"),
        ("${PATH//x*:/}", "//z"),
        ("${A//a/b}", "bb"),
        ("${none/a/b}", ""),
        ("${A//*/x}", "x"),
        ("$ключ", ""),
        ("a<b", "a<b"),
    ],
)
def test_a_word_is_expanded(word: str, expected: str) -> None:
    assert Lexer().word(word, ENV).text == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("'", "looking for matching single-quote"),
        ('"a', "looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${A:-", "syntax error: missing '}'"),
        ("${A/x", "syntax error: missing '/' in ${}"),
        ("${A/x/y", "syntax error: missing '}'"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${{A}}", "bad substitution"),
        ("${A=b}", "unsupported modifier (=) in substitution"),
        ("${A:b}", "unsupported modifier (:b) in substitution"),
        ("${A:#b}", "unsupported modifier (:#) in substitution"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${none:?say $A}", "none: say aa"),
        ("${A#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"),
        ("${A:-" * 60, "nested too deep"),
    ],
)
def test_a_wrong_word_is_refused(word: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Lexer().word(word, ENV)
    assert caught.value.message.startswith('failed to process "')
    assert message in caught.value.message


def test_what_was_found_and_what_was_not_is_said() -> None:
    expansion = Lexer().word("$A ${B:-$C} $A ${EMPTY:+x}", ENV)
    assert expansion.matched == ("A", "EMPTY")
    assert expansion.unmatched == ("C", "B")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        (" a\tb ", ["a", "b"]),
        ("'a b' c", ["a b", "c"]),
        ("$SPACED", ["one", "two"]),
        ('"$SPACED"', ["one  two"]),
        ("x$SPACED.y", ["xone", "two.y"]),
        ("a\\ b", ["a b"]),
        ("abc${none:-x}", ["abcx"]),
        ("''", []),
        ("$EMPTY a", ["a"]),
        ("cat << EOF", ["cat", "<< EOF"]),
    ],
)
def test_words_are_split_after_expansion(text: str, words: list[str]) -> None:
    assert Lexer().words(text, ENV) == tuple(words)


def test_quotes_may_stay() -> None:
    assert Lexer(raw_quotes=True).word("'a' \"b$A\"", ENV).text == "'a' \"baa\""


def test_escapes_may_stay() -> None:
    assert Lexer(raw_escapes=True).word(r"\a\$A", ENV).text == r"\a\$A"


def test_what_is_not_set_may_stay() -> None:
    lexer = Lexer(skip_unset=True)
    assert lexer.word("$x ${x} ${x:-y} ${x/a/b} $A", ENV).text == "$x ${x} ${x:-y} ${x/a/b} aa"


def test_quotes_mean_nothing_in_heredocs() -> None:
    assert Lexer(process_quotes=False).word('it\'s "$A" \\$A\n', ENV).text == 'it\'s "aa" $A\n'


def test_the_escape_character_may_be_a_backtick() -> None:
    assert Lexer("`").word("C:\\$A`$A", ENV).text == "C:\\aa$A"


def test_a_word_does_not_grow_without_end() -> None:
    with pytest.raises(InvalidInput, match="longer"):
        Lexer().word("$X" * 20, {"X": "x" * (GROWTH_LIMIT // 10)})


def test_replacements_do_not_grow_without_end() -> None:
    with pytest.raises(InvalidInput, match="too long"):
        Lexer().word("${X//x/$Y}", {"X": "x" * 2000, "Y": "y" * 2000})


def test_patterns_share_one_amount_of_work() -> None:
    lexer = Lexer()
    with pytest.raises(InvalidInput, match="take too long"):
        lexer.word("${X#b" + "a" * 4000 + "}", {"X": "a" * 50_000})


def test_patterns_do_not_go_back_and_try_again() -> None:
    assert Lexer().word("${X##" + "*a" * 60 + "b}", {"X": "a" * 3000}).text == "a" * 3000
