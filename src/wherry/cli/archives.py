"""Archives on their way between a file and the daemon."""

from __future__ import annotations

import os
import sys

from wherry.cli.leave import Leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from wherry.client.transport import Response

__all__ = ["check_output", "pieces", "write_archive"]

PIECE = 1 << 18


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Read a file in pieces."""
    while piece := file.read(PIECE):
        yield piece


def check_output(path: str, what: str) -> None:
    """Refuse to pour an archive into a terminal, or to where no file can be, before anything is asked for.

    :param what: how it begins when that is said: "failed to save image".
    :raises wherry.cli.leave.Leave: there is no such place.
    """
    if not path:
        if sys.stdout.isatty():
            raise Leave(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect")
        return
    directory = os.path.dirname(path) or "."
    try:
        os.stat(os.path.join(directory, "."))
    except OSError as error:
        raise Leave(
            1, f"{what}: invalid output path: stat {directory}: {os.strerror(error.errno or 0).lower()}"
        ) from error
    if os.path.isdir(path):
        raise Leave(1, f"{what}: cannot write to a directory")


def write_archive(response: Response, path: str) -> None:
    """Write a body to a file, or to standard output where there is no path.

    A file appears under its name only when it is whole.
    """
    if not path:
        from wherry.cli.streams import write_all

        for piece in response.chunks():
            write_all(1, piece)
        return
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as special:  # a device, a FIFO: nothing to rename
            special.writelines(response.chunks())
        return
    _write_then_rename(response, path)


def _write_then_rename(response: Response, path: str) -> None:
    unfinished = f"{path}.tmp-{os.getpid()}"
    try:
        # for nobody else's eyes, as Docker has it: images may hold secrets
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.writelines(response.chunks())
        os.rename(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
