"""A command ``docker`` that is wherry, where docker's own client is not installed.

It is a script of two lines, whose second one says who made it: what somebody else has put there is neither replaced nor
removed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys

from wherry.errors import Conflict, NotFound

__all__ = ["DEFAULT_FOLDER", "NAME", "install", "uninstall"]

DEFAULT_FOLDER = "/usr/local/bin"
#: Searched beside the path, which may be another one than ssh's.
OTHER_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/snap/bin")
NAME = "docker"
NAME_OF_OURS = "wherry"
MARK = "# made by 'wherry system install --docker-names'; remove it with 'wherry system uninstall --docker-names'"
_MOST = 4096


def install(folder: str) -> str:
    """Install the name. :returns: the path.

    :raises Conflict: there is another command of that name, here or elsewhere on the path.
    """
    path = os.path.join(folder, NAME)
    _refuse_others(path)
    unfinished = f"{path}.{os.getpid()}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f'#!/bin/sh\n{MARK}\nexec {_command()} "$@"\n')
            os.fchmod(descriptor, 0o755)
        if os.path.lexists(path):
            os.rename(unfinished, path)
            return path
        os.link(unfinished, path)  # unlike a rename it fails when somebody else was faster
    except FileExistsError:
        raise _taken(path) from None
    finally:
        if os.path.lexists(unfinished):
            os.unlink(unfinished)
    return path


def uninstall(folder: str) -> str:
    """Remove the name. :returns: the path.

    :raises NotFound: it is not there.
    :raises Conflict: somebody else has put it there.
    """
    path = os.path.join(folder, NAME)
    if not os.path.lexists(path):
        raise NotFound(f"{path} is not installed")
    if not _is_ours(path):
        raise Conflict(f"{path} was not made by wherry, and stays")
    os.unlink(path)
    return path


def _refuse_others(path: str) -> None:
    if os.path.lexists(path) and not _is_ours(path):
        raise _taken(path)
    for folder in dict.fromkeys((*os.environ.get("PATH", "").split(":"), *OTHER_FOLDERS)):
        found = shutil.which(NAME, path=folder) if folder else None
        if found and not _is_ours(found):
            raise _taken(found)


def _taken(path: str) -> Conflict:
    return Conflict(
        f"{path} is there already, and wherry does not take its place",
        hint="docker's own client talks to wherry through DOCKER_HOST or a context",
    )


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return MARK.encode() in file.read(_MOST).split(b"\n")[1:2]
    except OSError:
        return False


def _command() -> str:
    """The words that run this very wherry, from any folder: an installed command, or the script of a clone."""
    program = os.path.abspath(sys.argv[0])
    clone = os.path.join(program.partition("/src/wherry/cli/")[0], NAME_OF_OURS)
    for path in (program, clone):
        if os.path.basename(path) == NAME_OF_OURS and os.path.isfile(path) and os.access(path, os.X_OK):
            return shlex.quote(path)
    return f"{shlex.quote(sys.executable)} -P -m wherry.cli.main"  # no module of the folder that it is called in
