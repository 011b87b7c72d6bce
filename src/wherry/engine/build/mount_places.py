"""Places for a step's mounts, where its root lacks them: in a layer at the very bottom of the root.

The runtime makes a place that is missing in the root's writable directory, which becomes a layer of the image. Places
at the bottom are seen only where nothing else is, and are no change of the step's. Only where a layer has removed such
a place, or has a link in its way, does the runtime make it all the same.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from wherry.content.durable import remove_tree
from wherry.engine.container import etc_files
from wherry.engine.container.mount_point import normal_path
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2_if_there

__all__ = ["PlaceLayers", "Places", "places_of", "remove_places"]

Places = Mapping[str, bool]
"""The places, as paths in the root, and whether each is a directory."""

_EVERYWHERE: Final = {"/dev": True, "/proc": True, "/sys": True} | {f"/etc/{name}": False for name in etc_files.NAMES}
_NO_LINKS: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS)
_MOST: Final = 64  # layers that are kept


def places_of(targets: Iterable[tuple[str, bool]]) -> dict[str, bool]:
    """The places that a step needs in its root, and not in what is mounted there.

    :param targets: of its own mounts, and whether a directory is mounted on each.
    """
    wanted = dict(_EVERYWHERE)
    for target, is_directory in targets:
        wanted.setdefault(normal_path(target), is_directory)
    covers = [f"{place}/" for place in wanted]
    return {place: kind for place, kind in wanted.items() if place != "/" and not place.startswith(tuple(covers))}


class PlaceLayers:
    """Layers of places, shared by the steps that need the same ones; used from several threads.

    :param directory: where they are made; emptied at the next start.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._prefix = f"places-{secrets.token_hex(8)}"
        self._made: dict[frozenset[tuple[str, bool]], str] = {}

    def layer(self, places: Places, own: Path) -> str:
        """The directory of a layer with these places.

        :param own: where to make it if there are too many already.
        :raises OSError: the disk is full, for one.
        """
        key = frozenset(places.items())
        known = self._made.get(key)
        if known is not None:
            return known
        if len(self._made) >= _MOST:
            _make(own, places)
            return str(own)
        name = f"{self._prefix}-{secrets.token_hex(8)}"
        made = self._directory / name
        try:
            _make(made, places)
        except BaseException:
            remove_tree(made)
            raise
        return self._made.setdefault(key, str(made))


def remove_places(upper: str, lower: Iterable[str], places: Iterable[str]) -> None:
    """Remove the places that the runtime had to make in a root's writable directory, which was empty before.

    What a mount lies on cannot be changed by the step: where there is an empty file or directory now, it is the
    runtime's. A directory that was copied up for it goes as well, unless the step has changed it.

    :param lower: the layers below, top first.
    """
    with Fd(os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for place in places:
            _remove(root, place, tuple(lower))


def _remove(root: Fd, place: str, lower: Sequence[str]) -> None:
    path = place
    while path != "/":
        path, _, name = path.rpartition("/")
        path = path or "/"
        parent = openat2_if_there(root, path, os.O_PATH | os.O_DIRECTORY, _NO_LINKS)
        if parent is None:
            continue  # not there, nor what is below it
        with parent:
            if not _remove_entry(parent, name, lower, f"{path}/{name}", is_place=f"{path.rstrip('/')}/{name}" == place):
                return


def _remove_entry(parent: Fd, name: str, lower: Sequence[str], path: str, *, is_place: bool) -> bool:
    """Remove an empty file or directory, if it is no change of the step's; whether nothing of it is left."""
    try:
        status = os.stat(name, dir_fd=parent.fileno(), follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and is_place and status.st_size == 0:
            os.unlink(name, dir_fd=parent.fileno())
        elif stat.S_ISDIR(status.st_mode) and (is_place or _is_copy(status, lower, path)):
            os.rmdir(name, dir_fd=parent.fileno())
        else:
            return False
    except FileNotFoundError:
        return True
    except OSError:  # not empty
        return False
    return True


def _is_copy(status: os.stat_result, lower: Sequence[str], path: str) -> bool:
    """Whether a directory looks as it does below, or is not there."""
    for layer in lower:
        with Fd(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            below = openat2_if_there(directory, path, os.O_PATH | os.O_NOFOLLOW, _NO_LINKS)
            if below is None:
                continue
            with below:
                other = os.fstat(below.fileno())
            if not stat.S_ISDIR(other.st_mode):
                return True  # removed below: it was made anew
            return (other.st_mode, other.st_uid, other.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    return True


def _make(directory: Path, places: Places) -> None:
    directory.mkdir()
    os.chmod(directory, 0o755)
    for place, is_directory in sorted(places.items()):
        path = directory / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_directory:
            path.mkdir(exist_ok=True)
        else:
            path.touch(mode=0o644)
    for folder, folders, files in os.walk(directory):
        for name in folders:
            os.chmod(os.path.join(folder, name), 0o755)
        for name in files:
            os.chmod(os.path.join(folder, name), 0o644)
