"""Who shall own what an operation makes: numbers, or names that an input's /etc/passwd and /etc/group know."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.build.files.rooted import locate
from wherry.build.model.graph import Chown, Owner
from wherry.errors import InvalidInput, NotFound
from wherry.linux.fd import Fd, FdLike

__all__ = ["Ids", "ids_of"]

#: As BuildKit has it: what is behind this is not looked at.
_MOST: Final = 10 << 20
_LONGEST_LINE: Final = 65536
_MAX_ID: Final = 0xFFFFFFFE
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Ids(NamedTuple):
    """A user's and a group's number."""

    uid: int
    gid: int


def ids_of(chown: Chown | None, root_of: Callable[[int], FdLike]) -> Ids | None:
    """The numbers that an operation asks for; None: it leaves owners as they are.

    A user without a group brings its own: the one of its line, or of the same number. A name that is not known is 0,
    as in BuildKit.

    :param root_of: the root of an input, by its number.
    :raises InvalidInput: a number cannot be an owner's, or the file with the names is none.
    """
    if chown is None or (chown.user is None and chown.group is None):
        return None
    uid = gid = 0
    if chown.user is not None:
        uid, gid = _user(chown.user, root_of)
    if chown.group is not None:
        gid = _group(chown.group, root_of)
    if max(uid, gid) > _MAX_ID or min(uid, gid) < 0:
        raise InvalidInput(f"invalid owner {uid}:{gid}")
    return Ids(uid, gid)


def _user(owner: Owner, root_of: Callable[[int], FdLike]) -> tuple[int, int]:
    if owner.id is not None:
        return owner.id, owner.id
    for fields in _lines(root_of(owner.input), b"etc/passwd"):
        if fields[0] == os.fsencode(owner.name):
            return _number(fields, 2), _number(fields, 3)
    return 0, 0


def _group(owner: Owner, root_of: Callable[[int], FdLike]) -> int:
    if owner.id is not None:
        return owner.id
    for fields in _lines(root_of(owner.input), b"etc/group"):
        if fields[0] == os.fsencode(owner.name):
            return _number(fields, 2)
    return 0


def _number(fields: list[bytes], position: int) -> int:
    """A field as a number; 0 where there is none."""
    text = fields[position] if position < len(fields) else b""
    return int(text) if text.isdigit() and len(text) <= 10 else 0


def _lines(root: FdLike, path: bytes) -> Iterator[list[bytes]]:
    """The lines of a file of an input, as their fields; none where it is missing."""
    with suppress(NotFound), locate(root, path, call="open") as place:
        if place.status is None:
            return
        if not stat.S_ISREG(place.status.st_mode):
            raise InvalidInput(f"/{os.fsdecode(path)} is not a regular file")
        try:
            fd = Fd(os.open(place.name, _OPEN, dir_fd=place.directory.fileno()))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return
            raise
        with fd:
            data = _read(fd)
        for line in data.split(b"\n"):
            stripped = line.strip()
            if stripped and not stripped.startswith(b"#") and len(stripped) <= _LONGEST_LINE:
                yield stripped.split(b":")


def _read(fd: Fd) -> bytes:
    pieces, left = [], _MOST
    while left and (piece := os.read(fd.fileno(), left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
