"""Resolve the program's user by the container's own /etc/passwd and /etc/group.

The rules and the sentences are those of Docker (``moby/sys/user``): clients match on "no matching entries in passwd
file".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.errors import InvalidInput
from wherry.linux.fd import Fd
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.step import Context, Identity

__all__ = [
    "NO_GROUP",
    "NO_USER",
    "GroupEntry",
    "PasswdEntry",
    "ResolveUser",
    "group_entries",
    "look_up",
    "passwd_entries",
]

NO_USER: Final = "no matching entries in passwd file"
NO_GROUP: Final = "no matching entries in group file"
_DIGITS: Final = 20  #: of what is nobody's number for certain; Python refuses to read more than 4300
_MAXIMUM_ID: Final = 2**31 - 1
#: Far above what a directory service would export, and far below what hurts.
_LARGEST_FILE: Final = 16 << 20


class PasswdEntry(NamedTuple):
    """A line of passwd(5), as far as it matters here."""

    name: str
    uid: int
    gid: int
    home: str


class GroupEntry(NamedTuple):
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...]


class ResolveUser(NamedTuple):
    """Resolve the user, the groups and the home directory.

    :param username: ``user[:group]``, each a name or a number; empty to use the numbers that follow.
    :param extra_groups: names or numbers of further groups, as ``--group-add`` takes them.
    """

    username: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    extra_groups: tuple[str, ...]

    def describe(self) -> str:
        return f"find user {self.username or self.uid}"

    def apply(self, context: Context) -> None:
        passwd = _read(context.root, "/etc/passwd")
        group = _read(context.root, "/etc/group") if self.username or self.extra_groups else ""
        context.identity = self.resolve(passwd, group)
        if not any(entry.startswith("HOME=") and len(entry) > 5 for entry in context.environment):
            context.environment = [entry for entry in context.environment if entry != "HOME="]
            context.environment.append(f"HOME={context.identity.home}")
            context.added_home = True

    def resolve(self, passwd: str, group: str) -> Identity:
        """Answer from the two files' contents; see the class."""
        if self.username:
            found = look_up(self.username, passwd, group)
        else:
            home = next((entry.home for entry in passwd_entries(passwd, str(self.uid)) if entry.uid == self.uid), "")
            found = Identity(self.uid, self.gid, (), home or "/")
        extra = tuple(_group_number(name, group) for name in self.extra_groups)
        # By name, the primary group as well: else a set-group-ID program would get rid of it (CVE-2022-36109). Who
        # gives numbers gives them all.
        primary = (found.gid,) if self.username else ()
        groups = tuple(dict.fromkeys((*primary, *found.groups, *self.groups, *extra)))
        return found._replace(groups=groups)


def look_up(username: str, passwd: str, group: str) -> Identity:
    """Resolve ``user[:group]`` by the contents of the two files.

    A user that is in the file brings its group, its home, and, unless a group is given, all groups that list it as a
    member. A number needs no entry.

    :raises InvalidInput: there is no such user or group, or a number is out of range.
    """
    user_part, _, group_part = username.partition(":")
    entry = _passwd_entry(user_part or "0", passwd)
    if entry is None:
        if not _is_number(user_part):
            raise InvalidInput(f"unable to find user {user_part}: {NO_USER}")
        entry = PasswdEntry("", _in_range(user_part), 0, "/")
    if group_part:
        return Identity(entry.uid, _group_number(group_part, group), (), entry.home or "/")
    members = group_entries(group, entry.name) if entry.name else ()
    groups = tuple(g.gid for g in members if entry.name in g.members)
    return Identity(entry.uid, entry.gid, groups, entry.home or "/")


def _passwd_entry(user: str, passwd: str) -> PasswdEntry | None:
    """Return the first entry that matches: a number is a user ID before it is a name."""
    wanted = int(user) if _is_number(user) else None
    for entry in passwd_entries(passwd, user if wanted is None else str(wanted)):
        if entry.uid == wanted if wanted is not None else entry.name == user:
            return entry
    return None


def _group_number(name: str, group: str) -> int:
    if _is_number(name):
        return _in_range(name)
    for entry in group_entries(group, name):
        if entry.name == name:
            return entry.gid
    raise InvalidInput(f"unable to find group {name}: {NO_GROUP}")


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < _DIGITS


def _in_range(text: str) -> int:
    value = int(text)
    if not 0 <= value <= _MAXIMUM_ID:
        raise InvalidInput(f"uids and gids must be in range 0-{_MAXIMUM_ID}, not {text}")
    return value


def passwd_entries(text: str, containing: str = "") -> Iterator[PasswdEntry]:
    """Read passwd(5); lines that make no sense are skipped, as the C library does.

    :param containing: leave out lines without this text, which saves taking them apart.
    """
    for fields in _lines(text, 4, containing):
        if _is_number(fields[2]) and _is_number(fields[3]):
            yield PasswdEntry(fields[0], int(fields[2]), int(fields[3]), fields[5] if len(fields) > 5 else "")


def group_entries(text: str, containing: str = "") -> Iterator[GroupEntry]:
    """Read group(5); ``containing`` as in :func:`passwd_entries`."""
    for fields in _lines(text, 3, containing):
        if _is_number(fields[2]):
            members = fields[3].split(",") if len(fields) > 3 else []
            yield GroupEntry(fields[0], int(fields[2]), tuple(member for member in members if member))


def _lines(text: str, least: int, containing: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if containing not in line:
            continue
        fields = line.strip().split(":")
        if len(fields) >= least and fields[0] and not fields[0].startswith("#"):
            yield fields


def _read(root: Fd, path: str) -> str:
    """Read a file of the container; one that is missing is empty.

    :raises InvalidInput: it is no regular file (a FIFO would stop us for ever), or it is absurdly large.
    """
    fd = path_in_root.existing(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if fd is None:
        return ""
    with fd:
        status = os.fstat(fd.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path!r} in the container is not a regular file")
        if status.st_size > _LARGEST_FILE:
            raise InvalidInput(f"{path!r} in the container has {status.st_size} bytes", hint="16 MiB are read at most")
        return os.read(fd.fileno(), status.st_size).decode(errors="surrogateescape")
