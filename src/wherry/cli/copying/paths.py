"""Paths of ``cp``: which side they are on, what their ends say, and under which name things arrive.

The rules are ``docker cp``'s: a source that ends in ``/.`` is a directory's content; a destination that is a directory
takes the source under its own name, and one that does not exist becomes its name.
"""

from __future__ import annotations

import os
import posixpath
import stat

from wherry.cli.exit import Exit

__all__ = [
    "Place",
    "asserts_directory",
    "base_of",
    "check_kind",
    "check_output",
    "destination",
    "kept_end",
    "local_place",
    "parent_and_base",
    "split",
]

_MAX_LINKS = 10


class Place:
    """One end of a copy.

    :param path: where it is.
    :param is_there: whether anything is.
    """

    __slots__ = ("is_directory", "is_there", "path")

    def __init__(self, path: str, *, is_there: bool = False, is_directory: bool = False) -> None:
        self.path = path
        self.is_there = is_there
        self.is_directory = is_directory


def split(argument: str) -> tuple[str, str]:
    """Divide an argument into container and path; the container is empty for a path of this machine."""
    container, colon, path = argument.partition(":")
    if argument.startswith("/") or not colon or container.startswith("."):
        return "", argument
    return container, path


def asserts_directory(path: str) -> bool:
    """Whether a path says by its end that it is a directory."""
    return path.endswith("/") or posixpath.basename(path) == "."


def kept_end(cleaned: str, original: str) -> str:
    """A cleaned path with the ``/.`` or ``/`` that the original ends with."""
    if posixpath.basename(original) == ".":
        return f"{cleaned.rstrip('/')}/."
    return f"{cleaned}/" if original.endswith("/") and not cleaned.endswith("/") else cleaned


def parent_and_base(path: str) -> tuple[str, str]:
    """Divide a path into its directory and its last name, ``.`` where it ends in one."""
    cleaned = posixpath.normpath(path)
    if posixpath.basename(path) == ".":
        return cleaned, "."
    return posixpath.dirname(cleaned) or ".", posixpath.basename(cleaned) or "/"


def base_of(path: str) -> str:
    """The last name of a path, as archives of it begin with."""
    return parent_and_base(path)[1]


def local_place(path: str) -> Place:
    """What is at a path of this machine; links are followed, also where one points to nothing.

    :raises OSError: it cannot be said, or not even its directory is there.
    """
    for _ in range(_MAX_LINKS + 1):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            above = os.stat(parent_and_base(path)[0])
            if not stat.S_ISDIR(above.st_mode):
                raise Exit(1, "not a directory") from None
            return Place(path)
        if not stat.S_ISLNK(status.st_mode):
            return Place(path, is_there=True, is_directory=stat.S_ISDIR(status.st_mode))
        path = os.path.join(parent_and_base(path)[0], os.readlink(path))
    raise Exit(1, f"too many symlinks in {path}")


def destination(source: Place, target: Place) -> tuple[str, str]:
    """Where a source arrives: the directory, and the name that it gets there (empty: it keeps its own).

    :raises wherry.cli.exit.Exit: the two do not fit.
    """
    if target.is_there and target.is_directory:
        return target.path, ""
    if target.is_there and source.is_directory:
        raise Exit(1, "cannot copy directory")
    if not target.is_there and not source.is_directory and asserts_directory(target.path):
        raise Exit(1, "no such directory")
    return parent_and_base(target.path)


def check_output(path: str) -> None:
    """Refuse to write where there is no directory, or something that is no file.

    :raises wherry.cli.exit.Exit: such a path.
    """
    directory = os.path.dirname(os.path.normpath(path))
    if directory and not os.path.exists(directory):
        raise Exit(1, f'invalid output path: directory "{directory}" does not exist')
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    check_kind(mode, f'invalid output path: "{path}" must be a directory or a regular file')


def check_kind(mode: int, what: str) -> None:
    """Refuse a destination that is neither a directory nor a file.

    :raises wherry.cli.exit.Exit: it is none.
    """
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        raise Exit(1, f"{what}: got a device")
