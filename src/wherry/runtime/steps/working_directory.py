"""The working directory: made in the root where the image lacks it, and entered after the pivot."""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemCallError
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.step import Context

__all__ = ["ChangeDirectory", "MakeDirectory", "enter"]


class MakeDirectory(NamedTuple):
    """Make the working directory where the image lacks it."""

    path: str

    def describe(self) -> str:
        return f"make the working directory {self.path}"

    def apply(self, context: Context) -> None:
        try:
            path_in_root.directory(context.root, self.path).fd.close()
        except (OSError, SystemCallError) as error:
            if error.errno not in _UNMAKEABLE:
                raise
            raise InvalidInput(f"the working directory {self.path!r} cannot be made", cause=str(error)) from error


#: The path's fault: through a file, an endless or a magic link, in a file system that has no directories to make.
_UNMAKEABLE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV, errno.ENAMETOOLONG}
)


class ChangeDirectory(NamedTuple):
    """Enter the working directory.

    A path like /proc/self/fd/7 can lead out of the container when a descriptor has leaked (CVE-2024-21626). None has,
    those of directories inside are closed before; and the kernel is asked whether the directory is below the root.
    """

    path: str

    def describe(self) -> str:
        return f"enter the working directory {self.path}"

    def apply(self, context: Context) -> None:
        context.let_go()
        try:
            os.chdir(self.path)
        except PermissionError:
            context.pending_cwd = self.path  # root may be less than the user, on network file systems
        except OSError as error:
            raise _bad_cwd(self.path, error) from error
        else:
            _check_inside(self.path)


def enter(path: str) -> None:
    """Enter a directory that only the program's user may enter; this process is that user by now."""
    try:
        os.chdir(path)
    except OSError as error:
        raise _bad_cwd(path, error) from error
    _check_inside(path)


def _bad_cwd(path: str, error: OSError) -> InvalidInput:
    reason = os.strerror(error.errno or errno.EIO).lower()
    return InvalidInput(f'chdir to cwd ("{path}") set in config.json failed: {reason}')


def _check_inside(path: str) -> None:
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise InvalidInput(f"the working directory {path!r} is outside of the container's root")
