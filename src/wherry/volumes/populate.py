"""An empty volume that is mounted, or a part of one, gets what the image has at its place, once.

Nothing but the volume is on its file system, so the copy is made in it, and is the volume's only when nothing is
missing::

    .wherry-copy, .wherry-links   unfinished: whoever finds them deletes them
    .wherry-whole                 the point of no return: whoever finds it moves what is in it one directory up

Somebody else may have the volume at the same time, a container or another machine, and do what it likes there: all is
done by descriptor, name by name, no link is followed, and what comes to lie in the volume is all that may be wrong.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.content.durable import disk_errors
from wherry.errors import OutOfSpace, SystemCallError, SystemFault
from wherry.layers.file_content import copy_attributes
from wherry.layers.overlay_view import MergedTree
from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, renameat2
from wherry.linux.trees import DIRECTORY
from wherry.volumes.image_content import go_to
from wherry.volumes.tree_copy import LayersSource, copy_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["can_be_populated", "finish", "populate"]

COPY: Final = ".wherry-copy"
LINKS: Final = ".wherry-links"
WHOLE: Final = ".wherry-whole"


def can_be_populated(top: Fd) -> bool:
    """Whether a directory is empty, and may be written to."""
    if os.fstatvfs(top.fileno()).f_flag & os.ST_RDONLY:
        return False
    with os.scandir(top.fileno()) as entries:
        return next(entries, None) is None


def populate(top: Fd, layers: Sequence[str], path: str) -> bool:
    """Fill a directory, if it can be populated and the image has a directory there; whether that was done.

    :param top: the directory.
    :param layers: the image's, top first.
    :param path: in the image.
    :raises OutOfSpace: the disk is full; the directory is empty as before, or `finish` completes it.
    :raises SystemFault: the file system does not take what the image has: owners, on a server that squashes root.
    """
    if not can_be_populated(top):
        return False
    with MergedTree.open(layers) as tree:
        if not go_to(tree, path):
            return False
        try:
            with disk_errors("copy the image's files into the volume"):
                _copy(top, LayersSource(tree))
                os.rename(COPY, WHOLE, src_dir_fd=top.fileno(), dst_dir_fd=top.fileno())  # the point of no return
                _move(top)
        except BaseException as error:
            with suppress(OSError):  # what is whole stays, for `finish`
                _delete(top, COPY, LINKS)
            if isinstance(error, OutOfSpace) or not isinstance(error, SystemFault):
                raise
            hint = "with volume-nocopy, it gets nothing of the image"
            raise SystemFault(error.message, cause=error.cause, hint=hint) from error
    return True


def finish(top: Fd) -> None:
    """Bring to an end what was begun: a whole copy is moved to its place, another one is deleted.

    To be called only where one is known to have been begun: else the names are a container's own.

    :raises OutOfSpace: the disk is full; what is not moved stays for the next time.
    """
    with disk_errors("finish the copy of an image's files"):
        _delete(top, COPY, LINKS)
        if _is_there(top, WHOLE):
            try:
                _move(top)
            except NotADirectoryError:  # somebody has put something else in its place
                _delete(top, WHOLE)


def _copy(top: Fd, source: LayersSource) -> None:
    for name in (COPY, LINKS):
        os.mkdir(name, 0o700, dir_fd=top.fileno())
    with _opened(top, COPY) as into, _opened(top, LINKS) as links:
        copy_tree(source, into.fileno(), links.fileno())
    _delete(top, LINKS)


def _move(top: Fd) -> None:
    """Move a whole copy up; what is there already stays, and what is left is deleted."""
    with _opened(top, WHOLE) as source:
        status = os.fstat(source.fileno())
        os.fchown(top.fileno(), status.st_uid, status.st_gid)
        copy_attributes(source.fileno(), top.fileno(), ())
        os.fchmod(top.fileno(), stat.S_IMODE(status.st_mode))
        for name in os.listdir(source.fileno()):
            _move_one(source, top, name)
    _delete(top, WHOLE)


def _move_one(source: Fd, target: Fd, name: str) -> None:
    try:
        renameat2(source, name, target, name, RENAME.NOREPLACE)
    except SystemCallError as error:
        if error.errno == errno.EEXIST:
            return
        if error.errno != errno.EINVAL:  # network file systems know no flags
            raise OSError(error.errno, os.strerror(error.errno), name) from error
        if not _is_there(target, name):
            os.rename(name, name, src_dir_fd=source.fileno(), dst_dir_fd=target.fileno())


def _delete(top: Fd, *names: str) -> None:
    for name in names:
        trees.remove(Path(name), dir_fd=top.fileno(), one_mount=True)


def _is_there(top: Fd, name: str) -> bool:
    try:
        os.stat(name, dir_fd=top.fileno(), follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _opened(top: Fd, name: str) -> Fd:
    return Fd(os.open(name, DIRECTORY, dir_fd=top.fileno()))
