"""Flags are read as pflag reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli.flags.parser import BOOL, FILTER, INT, LIST, STRING, Flag, Options, UsageError, parse

FLAGS = (
    Flag("interactive", "i", BOOL, ""),
    Flag("tty", "t", BOOL, ""),
    Flag("env", "e", LIST, ""),
    Flag("name", "n", STRING, ""),
    Flag("proxy", "", BOOL, "", True),
    Flag("count", "c", INT, ""),
    Flag("filter", "f", FILTER, ""),
)

NINES = "9" * 30


def read(*words: str, interspersed: bool = False) -> tuple[Options, list[str]]:
    return parse(FLAGS, words, interspersed=interspersed)


def test_short_flags_combine_and_the_last_may_take_a_value() -> None:
    options, arguments = read("-ite", "A=1", "-eB=2", "-e=C", "image", "-t")
    assert (options["interactive"], options["tty"]) == (True, True)
    assert options["env"] == ["A=1", "B=2", "C"]
    assert arguments == ["image", "-t"]


def test_long_flags_take_values_in_both_forms() -> None:
    options, _ = read("--name", "a", "--name=b=c", "--env=", "--env", "--name")
    assert options["name"] == "b=c"
    assert options["env"] == ["", "--name"]


def test_a_boolean_takes_its_value_only_after_an_equals_sign() -> None:
    options, arguments = read("--proxy=false", "--tty", "false")
    assert (options["proxy"], options["tty"]) == (False, True)
    assert arguments == ["false"]


def test_defaults_hold_and_what_was_given_is_known() -> None:
    options, _ = read("--count", "0")
    assert options["proxy"] is True
    assert options["env"] == ()
    assert options.given == {"count"}


def test_two_dashes_end_the_flags() -> None:
    assert read("-t", "--", "-i", "--name")[1] == ["-i", "--name"]
    assert read("a", "-t", "--", "-i", interspersed=True)[1] == ["a", "-i"]


def test_a_lone_dash_is_an_argument() -> None:
    assert read("-", "-t", interspersed=True)[1] == ["-"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--foo=x"], "unknown flag: --foo"),
        (["-tz"], "unknown shorthand flag: 'z' in -z"),
        (["-tzi"], "unknown shorthand flag: 'z' in -zi"),
        (["--name"], "flag needs an argument: --name"),
        (["-te"], "flag needs an argument: 'e' in -te"),
        (["--tty=maybe"],
         'invalid argument "maybe" for "-t, --tty" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        (["-c", "x"], 'invalid argument "x" for "-c, --count" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["-c", NINES],
         f'invalid argument "{NINES}" for "-c, --count" flag: strconv.ParseInt: parsing "{NINES}": value out of range'),
        (["-f", "x"], 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)'),
        (["--=x"], "bad flag syntax: --=x"),
    ],
)  # fmt: skip
def test_misuse_is_told_in_pflag_s_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert str(caught.value) == message


def test_asking_for_help_has_no_message() -> None:
    with pytest.raises(UsageError) as caught:
        read("--help")
    assert str(caught.value) == ""


@given(st.lists(st.text(alphabet="-=itenx ", max_size=6)))
def test_no_command_line_does_anything_but_parse_or_be_refused(words: list[str]) -> None:
    try:
        _, arguments = read(*words)
    except UsageError:
        return
    assert set(arguments) <= set(words)
