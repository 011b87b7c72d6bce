"""Names of users and groups, resolved as Docker does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InvalidInput
from wherry.runtime.steps.step import Identity
from wherry.runtime.steps.user import ResolveUser, group_entries, look_up, passwd_entries

PASSWD = """\
# a comment
root:x:0:0:root:/root:/bin/sh

broken line
ann:x:1000:100:Ann:/home/ann:/bin/sh
500:x:7:8::/home/five:
short:x:9:10
again:x:1000:200::/home/again:
bad:x:nan:1::/:
"""
GROUP = "root:x:0:\nusers:x:100:\naudio:x:29:ann,bob\nvideo:x:44:bob,ann\n100:x:777:\nempty\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("root", Identity(0, 0, (), "/root")),
        ("ann", Identity(1000, 100, (29, 44), "/home/ann")),
        ("1000", Identity(1000, 100, (29, 44), "/home/ann")),  # the first entry of that number counts
        ("again", Identity(1000, 200, (), "/home/again")),
        ("ann:audio", Identity(1000, 29, (), "/home/ann")),
        ("ann:5", Identity(1000, 5, (), "/home/ann")),
        ("ann:100", Identity(1000, 100, (), "/home/ann")),  # a number is a group ID, never a name
        ("4242", Identity(4242, 0, (), "/")),
        ("4242:audio", Identity(4242, 29, (), "/")),
        ("short", Identity(9, 10, (), "/")),
        ("500", Identity(500, 0, (), "/")),  # a number is a user ID before it is a name
        (":audio", Identity(0, 29, (), "/root")),
        ("2147483647", Identity(2147483647, 0, (), "/")),
    ],
)
def test_users_are_found(user: str, expected: Identity) -> None:
    assert look_up(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("zoe", "unable to find user zoe: no matching entries in passwd file"),
        ("bad", "unable to find user bad: no matching entries in passwd file"),
        ("ann:nogroup", "unable to find group nogroup: no matching entries in group file"),
        ("2147483648", "uids and gids must be in range 0-2147483647"),
        ("-1", "uids and gids must be in range 0-2147483647"),
        ("0:-5", "uids and gids must be in range 0-2147483647"),
        ("٣", "unable to find user ٣"),
    ],
)
def test_who_is_not_found_is_told_in_dockers_words(user: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        look_up(user, PASSWD, GROUP)
    assert str(caught.value).startswith(text)


def test_numbers_of_the_specification_need_no_files() -> None:
    assert ResolveUser("", 5, 6, (7,), ()).resolve("", "") == Identity(5, 6, (7,), "/")
    assert ResolveUser("", 1000, 6, (), ()).resolve(PASSWD, "") == Identity(1000, 6, (), "/home/ann")


def test_further_groups_are_added_once() -> None:
    found = ResolveUser("ann", 0, 0, (44, 5), ("audio", "5", "users")).resolve(PASSWD, GROUP)
    assert found.groups == (100, 29, 44, 5)


@given(st.text())
def test_no_file_makes_the_parser_fail(text: str) -> None:
    list(passwd_entries(text))
    list(group_entries(text))
