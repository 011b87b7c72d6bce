"""The paths that an operation's source means: wildcards, links, ``--parents``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.build.files.rooted import MAX_PATH, Place, locate, parts
from wherry.build.model.graph import Copy
from wherry.errors import InvalidInput, NotFound, TooLarge
from wherry.linux.fd import FdLike
from wherry.linux.trees import Descent
from wherry.oci.go_patterns import path_pattern

__all__ = ["Wanted", "clean", "encoded", "expand", "open_source", "wanted"]

#: What wildcards may mean at most; the names are in memory.
_MOST: Final = 1_000_000
_MAX_PARTS: Final = 512


class Wanted(NamedTuple):
    """What a copy takes: a pattern, and from what it leads to, what fits these.

    :param source: with wildcards, if the copy allows them.
    """

    source: str
    include: tuple[str, ...]


def wanted(copy: Copy) -> Wanted:
    """What a copy takes; with ``--parents``, the path is a pattern below the part in front of its ``/./``."""
    if not copy.parents:
        return Wanted(copy.source, copy.include)
    before, pivot, behind = copy.source.partition("/./")
    base, pattern = (before or "/", behind) if pivot else ("/", copy.source)
    return Wanted(base, (*copy.include, os.fsdecode(clean(pattern))))


def clean(path: str) -> bytes:
    """A path from the root, without ``.`` and ``..``; as long as the kernel takes.

    :raises InvalidInput: it is longer, or has a NUL.
    """
    return b"/".join(parts(encoded(path)))


def encoded(text: str) -> bytes:
    """A path, or the target of a link, as the kernel takes it.

    :raises InvalidInput: it is longer than that, has a NUL, or is no text.
    """
    try:
        found = os.fsencode(text)
    except UnicodeEncodeError:
        found = b"\0"
    if len(found) > MAX_PATH or b"\0" in found:
        raise InvalidInput(f"invalid path {text[:100]!r}")
    return found


def expand(
    root: FdLike, source: str, *, wildcards: bool, follow: bool, check: Callable[[], object] = lambda: None
) -> list[bytes]:
    """The paths that a source means, sorted; itself, where it has no wildcards, whether it is there or not.

    :param follow: whether links in the part without wildcards are followed to the last.
    :param check: called for each directory: raises where the work is not wanted any more.
    :raises NotFound: the part without wildcards is not there.
    :raises InvalidInput: it is no pattern.
    """
    names = clean(source).split(b"/")
    first = next((at for at, name in enumerate(names) if _is_pattern(name)), len(names)) if wildcards else len(names)
    fixed, patterns = names[:first], names[first:]
    if not patterns:
        return [b"/".join(fixed)]
    if len(patterns) > _MAX_PARTS:
        raise InvalidInput("the pattern has too many parts")
    fits = [path_pattern(os.fsdecode(name)) for name in patterns]
    with locate(root, b"/".join(fixed), follow=follow) as base:
        if base.status is None:
            raise NotFound(f"lstat /{os.fsdecode(b'/'.join(fixed))}: no such file or directory")
        if not base.is_directory:
            return []
        found: list[bytes] = []
        with Descent(base.open_directory()) as way:
            for path in _below(way, fits, base.path, check):
                found.append(path)
                if len(found) > _MOST:
                    raise TooLarge(f"{source} means more than {_MOST} files")
    return found


def _is_pattern(name: bytes) -> bool:
    """As Go's tools look for wildcards: a backslash takes the next character as it is."""
    escaped = False
    for character in name:
        if escaped:
            escaped = False
        elif character == 0x5C:
            escaped = True
        elif character in b"*?[":
            return True
    return False


def _below(
    way: Descent, fits: Sequence[Callable[[str], bool]], path: bytes, check: Callable[[], object]
) -> Iterator[bytes]:
    """The paths below the present directory whose names fit, one pattern for each directory further down."""
    pending = [_matching(way, fits[0], path, last=len(fits) == 1)]
    trail = [path]
    while pending:
        name = pending[-1].pop() if pending[-1] else None
        if name is None:
            pending.pop()
            trail.pop()
            if pending:
                way.leave()
            continue
        here = trail[-1] + b"/" + name if trail[-1] else name
        if len(pending) == len(fits):
            yield here
            continue
        check()
        with suppress(NotADirectoryError, FileNotFoundError):
            way.enter(name)
            pending.append(_matching(way, fits[len(pending)], here, last=len(pending) + 1 == len(fits)))
            trail.append(here)


def _matching(way: Descent, fits: Callable[[str], bool], path: bytes, *, last: bool) -> list[bytes]:
    """The fitting names in the present directory, the last one first; only directories where more is to follow."""
    with os.scandir(way.fileno()) as scan:
        names = [
            os.fsencode(entry.name)
            for entry in scan
            if (last or entry.is_dir(follow_symlinks=False)) and fits(entry.name)
        ]
    if len(names) > _MOST:
        raise TooLarge(f"/{os.fsdecode(path)} has more than {_MOST} files")
    return sorted(names, reverse=True)


def open_source(root: FdLike, path: bytes, *, follow: bool) -> Place:
    """What is at a source's path.

    :raises NotFound: nothing is.
    """
    place = locate(root, path, follow=follow)
    if place.status is None:
        place.close()
        raise NotFound(f"lstat /{os.fsdecode(path)}: no such file or directory")
    return place
