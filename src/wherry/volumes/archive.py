"""A volume's files as an archive, and back.

What comes out is read by descriptor, as in a copy. What goes in is as hostile as an image's layer, and gets the same
treatment; names that mean deletions in a layer are names like others here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wherry.content.durable import disk_errors
from wherry.errors import SystemFault
from wherry.layers.limits import Limits
from wherry.layers.overlay_view import MergedEntry
from wherry.layers.pack import Packer
from wherry.layers.source import Reader
from wherry.layers.tar.entry import Entry, Kind, clean_name
from wherry.layers.unpack import unpack_files
from wherry.linux.capabilities import CAP, lowered
from wherry.linux.fd import Fd
from wherry.linux.trees import DIRECTORY
from wherry.volumes.drafts import DATA
from wherry.volumes.tree_copy import DirectorySource, Item

__all__ = ["IMPORT_LIMITS", "pack", "unpack"]

#: A volume is as large as people's data; what a bomb looks like is the same.
IMPORT_LIMITS: Final = Limits(max_bytes=1 << 50, max_entries=1 << 32)
_NO_OWNER: Final = 0xFFFFFFFF
#: What a file says that is gone, or of another kind by now.
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL)


def pack(source: str, write: Callable[[bytes], object]) -> None:
    """Write the archive of a directory's files; sockets are left out.

    :param source: the directory; containers may change it meanwhile.
    :param write: takes the archive's bytes, piece by piece.
    :raises TooLarge: a name is longer than readers of archives take.
    """
    with disk_errors("pack a volume"), DirectorySource.open_path(source) as tree:
        packer = Packer(write)
        packer.add_directory(b"./", os.fstat(tree.fileno()))
        path = bytearray()
        while True:
            item = tree.next()
            if item is not None:
                if _add(packer, bytes(path), item) and tree.enter(item):
                    path += item.name + b"/"
            elif tree.leave():
                del path[path.rfind(b"/", 0, -1) + 1 :]
            else:
                break
        packer.finish()


def _add(packer: Packer, path: bytes, item: Item) -> bool:
    """Append one file; returns whether there is more below it. What is gone, or something else by now, is left out."""
    try:
        status = os.stat(item.name, dir_fd=item.directory, follow_symlinks=False)
        packer.add(path + item.name, MergedEntry(item.name, 0, status), item.directory)
    except SystemFault:  # a file was exchanged before it was opened
        return False
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return False
    return stat.S_ISDIR(status.st_mode)


def unpack(stream: Reader, draft: Path, check: Callable[[], object], limits: Limits = IMPORT_LIMITS) -> None:
    """Unpack an archive, compressed or not, into the draft of a volume.

    :param check: called for each entry: raises where the work is not wanted any more.
    :param limits: what it may become.
    :raises CorruptData: the archive is damaged, or ends too early.
    :raises InvalidInput: it wants something that no honest archive wants.
    :raises TooLarge: it is a decompression bomb.
    :raises OutOfSpace: the disk is full.
    """
    with disk_errors("unpack a volume"), Fd(os.open(draft / DATA, DIRECTORY)) as root:

        def prepare(entry: Entry) -> None:
            check()
            if not clean_name(entry.name):
                _dress(root.fileno(), entry)

        with lowered(CAP.SYS_RESOURCE):  # quotas hold
            unpack_files(stream, root.fileno(), limits, prepare)


def _dress(root: int, entry: Entry) -> None:
    """The volume's own directory; an owner that cannot exist is told of when it is a file's."""
    if entry.kind is Kind.DIRECTORY and max(entry.uid, entry.gid) < _NO_OWNER:
        os.fchown(root, entry.uid, entry.gid)
        os.fchmod(root, entry.mode)
