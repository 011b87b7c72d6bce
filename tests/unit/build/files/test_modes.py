"""Symbolic modes do what chmod(1) does."""

from __future__ import annotations

import pytest

from wherry.build.files.modes import mode_change
from wherry.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("u=rwX,go=rX", 0o600, 0o644),
        ("u=rwX,go=rX", 0o700, 0o755),
        ("+x", 0o644, 0o755),
        ("a-w", 0o666, 0o444),
        ("go=", 0o777, 0o700),
        ("g=u", 0o740, 0o770),
        ("o=g-w", 0o760, 0o764),
        ("u+s", 0o755, 0o4755),
        ("g+s", 0o755, 0o2755),
        ("+t", 0o777, 0o1777),
        ("o+t", 0o777, 0o777),
        ("=r", 0o4777, 0o444),
        ("u+rw,g+r,o-rwx", 0o007, 0o640),
        ("=rw,+X", 0o755, 0o777),
        ("-X", 0o755, 0o644),
        ("0755", 0o600, 0o755),
        ("4711", 0o600, 0o4711),
    ],
)
def test_a_mode_is_applied(text: str, before: int, after: int) -> None:
    change = mode_change(-1, text)
    assert change is not None
    assert oct(change(before, False)) == oct(after)


def test_a_directory_can_always_be_searched_where_that_is_asked_for_what_can_be_executed() -> None:
    change = mode_change(-1, "a=rX")
    assert change is not None
    assert (change(0o600, True), change(0o600, False)) == (0o555, 0o444)


def test_a_number_replaces_the_mode_and_none_leaves_it() -> None:
    change = mode_change(0o1750, "")
    assert change is not None
    assert change(0o4000, False) == 0o1750
    assert mode_change(-1, "") is None


@pytest.mark.parametrize("text", ["x", "u", "u=rwz", "u=r,", ",", "88", "u=r go=r", "u" * 5000, "99999"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid chmod parameter"):
        mode_change(-1, text)
