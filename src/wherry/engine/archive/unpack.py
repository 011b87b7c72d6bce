"""PUT: an archive is unpacked into a directory of a container."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable
from typing import Final

from wherry.engine.archive.places import Places
from wherry.engine.archive.view import View, absolute
from wherry.errors import InvalidInput, SystemFault
from wherry.layers.limits import Limits
from wherry.layers.source import Reader
from wherry.layers.tar.entry import Entry, Kind
from wherry.layers.unpack import unpack_files
from wherry.linux.capabilities import CAP, lowered
from wherry.linux.fd import Fd
from wherry.linux.files import openat2_if_there
from wherry.runtime.steps.user import look_up

__all__ = ["unpack"]

#: A client that may copy files into containers may fill the disk anyway; a bomb of deflate's kind is at most 1032.
_LIMITS: Final = Limits(max_bytes=1 << 62, max_ratio=2000, max_entries=1 << 40)
_LARGEST_FILE: Final = 16 << 20
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY

CheckWritable = Callable[[str], None]


def unpack(
    view: View,
    path: str,
    stream: Reader,
    *,
    check: CheckWritable,
    user: str | None = None,
    keep_kinds: bool = False,
) -> None:
    """Unpack an archive, compressed or not, into a directory.

    :param check: called with the directory's path without links; raises where it is read-only.
    :param user: whom all files are to belong to, ``user[:group]`` of the container; None: as the archive has it.
    :param keep_kinds: a directory is not replaced by something else, nor the other way round.
    :raises NotFound: nothing is at the path.
    :raises InvalidInput: it is no directory, or it is read-only, or the archive is not what it should be.
    :raises OutOfSpace: the disk is full.
    """
    whole = absolute(path)
    with view.open(whole, os.O_PATH, path) as place:
        if not stat.S_ISDIR(os.fstat(place.fileno()).st_mode):
            raise InvalidInput("extraction point is not a directory")
    real = view.followed(whole)
    check(real)
    with view.open(whole, _DIRECTORY, path) as top:
        if view.is_kernels(top.fileno()):
            raise InvalidInput(f"{path} is the kernel's: nothing can be copied into it")
        places = Places(view, top, real)
        prepare = _inside(real, None if user is None else _identity(view, user))
        try:
            with lowered(CAP.SYS_RESOURCE):  # quotas hold: of volumes, and of the directories of users
                unpack_files(stream, places, _LIMITS, prepare, in_the_way=_guard(real, keep=keep_kinds))
        finally:
            places.forget()
    while stream.read(1 << 18):  # what stands behind the archive's end
        pass


def _identity(view: View, user: str) -> tuple[int, int]:
    """The numbers of a user of the container, who is looked up in its own files."""
    found = look_up(user, _read(view, "/etc/passwd"), _read(view, "/etc/group"))
    return found.uid, found.gid


def _inside(directory: str, owner: tuple[int, int] | None) -> Callable[[Entry], None]:
    """What is done about each entry: it must belong into the directory, and may get another owner."""

    def prepare(entry: Entry) -> None:
        if _leads_out(entry.name):
            raise InvalidInput(f'"{os.fsdecode(entry.name)}" is outside of "{directory}"')
        if entry.kind is Kind.LINK and _leads_out(entry.target):
            there = posixpath.normpath(os.path.join(directory, os.fsdecode(entry.target)))
            raise InvalidInput(f'invalid hardlink "{there}" -> "{os.fsdecode(entry.target)}"')
        if owner is not None:
            entry.uid, entry.gid = owner

    return prepare


def _leads_out(name: bytes) -> bool:
    """Whether a name leads out of the directory that it begins at; one from the root begins there as well."""
    return b".." in name and posixpath.normpath(name.lstrip(b"/")).split(b"/")[0] == b".."


def _read(view: View, path: str) -> str:
    """A small file of the container; what is none, or not small, counts as empty."""
    with openat2_if_there(view.root, path, os.O_PATH) or Fd(-1) as place:
        if place.closed or not stat.S_ISREG(os.fstat(place.fileno()).st_mode) or view.is_kernels(place.fileno()):
            return ""
        with open(f"/proc/self/fd/{place.fileno()}", "rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8", "surrogateescape")


def _guard(directory: str, *, keep: bool) -> Callable[[bytes, os.stat_result, Entry], None]:
    """What is done about files in the way: nothing, or Docker's two errors."""

    def guard(path: bytes, status: os.stat_result, entry: Entry) -> None:
        is_directory = stat.S_ISDIR(status.st_mode)
        if not keep or is_directory == (entry.kind is Kind.DIRECTORY):
            return
        there = f"{directory.rstrip('/')}/{os.fsdecode(path)}"
        old, new = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
        raise SystemFault(f'cannot overwrite {old} "{there}" with {new} "{directory}"')

    return guard
