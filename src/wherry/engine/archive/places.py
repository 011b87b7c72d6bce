"""PUT: the directories of a container that an archive is unpacked into."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from wherry.engine.archive.view import IN_ROOT, View
from wherry.errors import InvalidInput, SystemCallError
from wherry.layers.tar.entry import shown
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2, openat2_if_there

__all__ = ["Places"]

_BELOW: Final = int(RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS)
_ONE_NAME: Final = int(RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_OPEN_AT_ONCE: Final = 64
_MODE: Final = 0o755  # of directories that an archive has no entry for


class Places:
    """Directories by their paths in an archive; see `wherry.layers.unpack.Directories`.

    A link on the way is followed as the container would follow it: from its root, and never out of that.

    :param view: the container's files.
    :param top: where the archive is unpacked; it belongs to the caller.
    :param path: the same as a path.
    """

    def __init__(self, view: View, top: Fd, path: str) -> None:
        self._view = view
        self._top = top
        self._path = os.fsencode(path.rstrip("/"))
        self._open: OrderedDict[bytes, Fd] = OrderedDict()

    def directory(self, path: bytes, *, create: bool = True) -> int:
        """A descriptor of a directory, good until the next but sixty calls.

        :param create: whether to make what is missing, 0755 and root's.
        :raises InvalidInput: something on the way is no directory, or is the kernel's.
        """
        if not path:
            return self._top.fileno()
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known.fileno()
        fd = self._existing(path)
        if fd is None:
            if not create:
                raise InvalidInput(f"hard link target {shown(path)} is not there")
            fd = self._made(path)
        self._open[path] = fd
        if len(self._open) > _OPEN_AT_ONCE:
            self._open.popitem(last=False)[1].close()
        return fd.fileno()

    def forget(self) -> None:
        """Close all directories but the top."""
        while self._open:
            self._open.popitem()[1].close()

    def _existing(self, path: bytes) -> Fd | None:
        """Open a directory; None when nothing is there.

        :raises InvalidInput: it is none, or the kernel's.
        """
        try:
            found = openat2_if_there(self._top, path, _DIRECTORY, _BELOW)
        except SystemCallError as error:
            if error.errno != errno.EXDEV:  # a link that leads somewhere else in the container
                raise _refusal(path, error) from error
            try:
                found = openat2_if_there(self._view.root, self._path + b"/" + path, _DIRECTORY, IN_ROOT)
            except SystemCallError as again:
                raise _refusal(path, again) from again
        if found is not None and self._view.is_kernels(found.fileno()):
            found.close()
            raise InvalidInput(f"{shown(path)} is the kernel's: nothing can be copied into it")
        return found

    def _made(self, path: bytes) -> Fd:
        """Make a directory, and those above it that are missing."""
        names, missing = path.split(b"/"), list[bytes]()
        here: Fd | None = None
        while here is None and names:
            missing.append(names.pop())
            here = self._existing(b"/".join(names)) if names else self._top.duplicate()
        assert here is not None
        while missing:
            name = missing.pop()
            with here:
                with suppress(FileExistsError):  # it is no directory, as opening it tells; or somebody was faster
                    os.mkdir(name, _MODE, dir_fd=here.fileno())
                try:
                    following = openat2(here, name, _DIRECTORY, resolve=_ONE_NAME)
                except SystemCallError as error:
                    raise _refusal(path, error) from error
            here = following
        os.fchmod(here.fileno(), _MODE)
        return here


def _refusal(path: bytes, error: SystemCallError) -> InvalidInput | SystemCallError:
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT):
        cause = os.strerror(error.errno).lower()
        return InvalidInput(f"the archive uses {shown(path)} as a directory", cause=cause)
    return error
