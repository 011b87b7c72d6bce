"""Places for a step's mounts, where its root lacks them: in a layer at the very bottom of the root.

The runtime makes a place that is missing in the root's writable directory, which becomes a layer of the image. Places
at the bottom are seen only where nothing else is, and are no change of the step's. Only where a layer has removed such
a place, or has a link in its way, does the runtime make it all the same.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from wherry.content.durable import remove_tree
from wherry.engine.container import etc_files
from wherry.engine.container.mount_point import normal_path
from wherry.errors import InvalidInput, SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2_if_there

__all__ = ["PlaceLayers", "Places", "places_of", "remove_places"]

Places = Mapping[str, bool | None]
"""The places, as paths in the root, and whether each is a directory; None where that is not known: it is not made."""

_EVERYWHERE: Final = {"/dev": True, "/proc": True, "/sys": True} | {f"/etc/{name}": False for name in etc_files.NAMES}
_NO_LINKS: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS)
_MOST: Final = 64  # layers that are kept
_LONGEST_NAME: Final = 255  # bytes, NAME_MAX
_LONGEST_PATH: Final = 4095 - 256  # bytes, PATH_MAX without what is before it on the host


def places_of(targets: Iterable[tuple[str, bool | None]]) -> dict[str, bool | None]:
    """The places that a step needs in its root, and not in what is mounted there.

    :param targets: of its own mounts, and whether a directory is mounted on each.
    :raises InvalidInput: there can be no such path.
    """
    wanted: dict[str, bool | None] = dict(_EVERYWHERE)
    for target, is_directory in targets:
        wanted.setdefault(normal_path(target), is_directory)
    covers = [f"{place}/" for place in wanted]
    found = {place: kind for place, kind in wanted.items() if place != "/" and not place.startswith(tuple(covers))}
    for place in found:
        _check_length(place)
    return found


def _check_length(place: str) -> None:
    """Check that there can be such a path, below a directory of the engine's as well."""
    if len(os.fsencode(place)) > _LONGEST_PATH or max(map(len, map(os.fsencode, place.split("/")))) > _LONGEST_NAME:
        raise InvalidInput(f"cannot mount anything on {place[:64]!r}...: the path is too long")


class PlaceLayers:
    """Layers of places, shared by the steps that need the same ones; used from several threads.

    :param directory: where they are made, and nothing else is: what an earlier daemon has left there goes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[frozenset[tuple[str, bool | None]], str] = {}
        self._making = threading.Lock()

    def layer(self, places: Places, own: Path) -> str:
        """The directory of a layer with these places.

        :param own: where to make it if there are too many already.
        :raises OSError: the disk is full, for one.
        """
        key = frozenset(places.items())
        known = self._made.get(key)
        if known is not None:
            return known
        with self._making:
            if key not in self._made and len(self._made) < _MOST:
                self._made[key] = self._new(places)
        if key not in self._made:
            _make(own, places)
            return str(own)
        return self._made[key]

    def _new(self, places: Places) -> str:
        if not self._made:
            remove_tree(self._directory)
            self._directory.mkdir(parents=True, mode=0o700)
        made = self._directory / secrets.token_hex(8)
        try:
            _make(made, places)
        except BaseException:
            remove_tree(made)
            raise
        return str(made)

    def remove(self) -> None:
        """Remove all of them; no step runs any more."""
        with self._making:
            self._made.clear()
            remove_tree(self._directory)


def remove_places(upper: str, lower: Iterable[str], places: Iterable[str]) -> None:
    """Remove the places that the runtime had to make in a root's writable directory, which was empty before.

    What a mount lies on cannot be changed by the step: where there is an empty file or directory now, it is the
    runtime's. A directory that was copied up for it goes as well, unless the step has changed it.

    :param lower: the layers below, top first.
    """
    below = tuple(lower)
    with Fd(os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for place in places:
            path = place if _remove_empty(root, place, _is_place) else "/"
            while (path := os.path.dirname(path)) != "/":
                if not _remove_empty(root, path, partial(_is_copy, below, path)):
                    break


def _remove_empty(root: Fd, path: str, may: Callable[[os.stat_result], bool]) -> bool:
    """Remove an empty file or directory; whether it was there and is gone."""
    parent = _opened(root, os.path.dirname(path), os.O_DIRECTORY)
    if parent is None:
        return False
    with parent, suppress(OSError):  # not there, or not empty
        name = os.path.basename(path)
        status = os.stat(name, dir_fd=parent.fileno(), follow_symlinks=False)
        if may(status):
            (os.rmdir if stat.S_ISDIR(status.st_mode) else os.unlink)(name, dir_fd=parent.fileno())
            return True
    return False


def _opened(root: Fd, path: str, flags: int) -> Fd | None:
    """Open what is there, if no link leads to it: a step may have put one in the way."""
    try:
        return openat2_if_there(root, path, os.O_PATH | flags, _NO_LINKS)
    except SystemCallError:
        return None


def _is_place(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size == 0)


def _is_copy(lower: Sequence[str], path: str, status: os.stat_result) -> bool:
    """Whether this is a directory that looks as it does below, or is not there."""
    if not stat.S_ISDIR(status.st_mode):
        return False
    for layer in lower:
        with Fd(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            below = _opened(directory, path, os.O_NOFOLLOW)
            if below is None:
                continue
            with below:
                other = os.fstat(below.fileno())
            if not stat.S_ISDIR(other.st_mode):
                return True  # removed below: it was made anew
            return (other.st_mode, other.st_uid, other.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    return True


def _make(directory: Path, places: Places) -> None:
    """Make a layer with these places, as deep as they may be; looking up no name twice, a deep one takes no longer."""
    with _directory(str(directory)) as top:
        for place, is_directory in sorted(places.items()):
            if is_directory is not None:
                _make_place(top.duplicate(), place.strip("/").split("/"), is_directory)


def _make_place(parent: Fd, names: Sequence[str], is_directory: bool) -> None:
    """Make one place below a directory, which is closed; nobody else writes there."""
    *above, name = names
    for each in above:
        with parent:
            below = _directory(each, parent)
        parent = below
    with parent:
        if is_directory:
            _directory(name, parent).close()
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        with Fd(os.open(name, flags, 0o644, dir_fd=parent.fileno())) as file:
            os.fchmod(file.fileno(), 0o644)


def _directory(name: str, parent: Fd | None = None) -> Fd:
    """Make a directory if it is not there, for all to enter, and open it."""
    above = parent.fileno() if parent is not None else None
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
        os.chmod(name, 0o755, dir_fd=above)
    return Fd(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above))
