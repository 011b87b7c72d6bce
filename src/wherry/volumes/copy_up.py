"""An empty volume gets what the image has at its place, once: whole, or not at all.

The copy is made beside the volume's files, and is theirs only when nothing is missing::

    <volume>/_copy, _links    unfinished: whoever finds them deletes them
    <volume>/_whole           the point of no return: whoever finds it moves what is in it to _data
    <volume>/_place           a link to the directory of the host that the volume is instead of _data, if it is one

So a volume that was half copied when the program died is empty, and is filled by the next container. A running
container may have the empty directory mounted: it keeps that, and sees the files appear. Where not all of a whole copy
can be moved, as on a full disk, the rest stays in ``_whole``, and nobody starts with the volume before it is moved.

Containers may change a directory of the host meanwhile, so nothing is copied there: files only come there by their
names, in one step each, which needs that it is on the mount that the volume's own directory is on.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.content.durable import disk_errors, remove_tree
from wherry.errors import SystemCallError
from wherry.layers.file_content import copy_attributes
from wherry.layers.overlay_view import MergedTree
from wherry.linux.fd import Fd
from wherry.linux.files import renameat2
from wherry.volumes.image_content import go_to
from wherry.volumes.tree_copy import LayersSource, copy_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["UNFINISHED", "WHOLE", "can_be_moved", "copy_up", "finish_copy", "is_empty", "is_half_moved", "is_placed"]

DATA: Final = "_data"
WHOLE: Final = "_whole"
_COPY: Final = "_copy"
_LINKS: Final = "_links"
_PLACE: Final = "_place"
UNFINISHED: Final = frozenset({_COPY, _LINKS, WHOLE})
"""What may be beside a volume's files."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOREPLACE: Final = 1  # RENAME_NOREPLACE


def copy_up(volume: Path, layers: Sequence[str], target: str, *, mounted: bool, place: Path | None = None) -> bool:
    """Fill a volume, if it is empty and the image has a directory there; whether that was done. In a thread.

    Nobody else may fill, mount or remove the volume meanwhile.

    :param volume: its own directory.
    :param layers: the image's, top first.
    :param target: the place in the image.
    :param mounted: somebody has the volume mounted.
    :param place: the directory of the host that it is, to which files can be moved (`can_be_moved`).
    :raises OutOfSpace: the disk is full; the volume is empty as before, or half moved.
    """
    with disk_errors("finish the copy of an image's files"):
        finish_copy(volume, os.listdir(volume))
        if place is not None and not is_placed(volume):
            os.symlink(place, volume / _PLACE)
    if not is_empty(_place_of(volume)):
        return False
    with MergedTree.open(layers) as tree:
        if not go_to(tree, target):
            return False
        try:
            with disk_errors("copy the image's files into the volume"):
                _copy(volume, LayersSource(tree))
                _publish(volume, mounted=mounted or place is not None)
        except BaseException:
            if not is_half_moved(volume):
                finish_copy(volume, os.listdir(volume))
            raise
    return True


def is_empty(directory: Path) -> bool:
    """Whether nothing is in a directory."""
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def can_be_moved(volume: Path, place: Path) -> bool:
    """Whether files come from a volume's own directory to a directory of the host by their names.

    :raises OSError: there is no such directory.
    """
    with Fd(os.open(volume, _DIRECTORY)) as source, _opened(place) as target:
        return _mount_of(source) == _mount_of(target)


def _mount_of(file: Fd) -> str:
    with open(f"/proc/self/fdinfo/{file.fileno()}", encoding="ascii") as lines:
        return next(line for line in lines if line.startswith("mnt_id:"))


def is_placed(volume: Path) -> bool:
    """Whether a volume is known to be a directory of the host."""
    return os.path.lexists(volume / _PLACE)


def _place_of(volume: Path) -> Path:
    return volume / (_PLACE if is_placed(volume) else DATA)


def is_half_moved(volume: Path) -> bool:
    """Whether a part of a whole copy has not come to its place."""
    return os.path.lexists(volume / WHOLE)


def finish_copy(volume: Path, found: Iterable[str]) -> None:
    """Finish what was begun: a whole copy is moved to its place, another one is deleted.

    :param found: what is in the volume's own directory.
    :raises OSError: the disk is full; what is not moved stays for the next time.
    """
    names = set(found)
    for name in (_COPY, _LINKS):
        if name in names:
            remove_tree(volume / name)
    if WHOLE in names:
        _move(volume)


def _copy(volume: Path, source: LayersSource) -> None:
    for name in (_COPY, _LINKS):
        os.mkdir(volume / name, 0o700)
    with Fd(os.open(volume / _COPY, _DIRECTORY)) as into, Fd(os.open(volume / _LINKS, _DIRECTORY)) as links:
        copy_tree(source, into.fileno(), links.fileno())
    remove_tree(volume / _LINKS)


def _publish(volume: Path, *, mounted: bool) -> None:
    os.rename(volume / _COPY, volume / WHOLE)  # the point of no return
    if not mounted:
        with suppress(OSError):  # it is not empty any more, or something is mounted there
            os.rename(volume / WHOLE, volume / DATA)
            return
    _move(volume)


def _move(volume: Path) -> None:
    """Move a copy file by file into the directory that is there; what is there already stays."""
    with Fd(os.open(volume / WHOLE, _DIRECTORY)) as source, _opened(_place_of(volume)) as target:
        status = os.fstat(source.fileno())
        os.fchown(target.fileno(), status.st_uid, status.st_gid)
        copy_attributes(source.fileno(), target.fileno(), ())
        os.fchmod(target.fileno(), status.st_mode & 0o7777)
        for name in os.listdir(source.fileno()):
            _move_one(source, target, name)
    remove_tree(volume / WHOLE)


def _opened(place: Path) -> Fd:
    return Fd(os.open(place, _DIRECTORY if place.name == DATA else _DIRECTORY & ~os.O_NOFOLLOW))


def _move_one(source: Fd, target: Fd, name: str) -> None:
    try:
        renameat2(source, name, target, name, _NOREPLACE)
    except SystemCallError as error:
        if error.errno != errno.EEXIST:
            raise OSError(error.errno, os.strerror(error.errno), name) from error
