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

__all__ = ["pieces", "refuse_terminal", "write_archive"]

PIECE = 1 << 18


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Read a file in pieces."""
    while piece := file.read(PIECE):
        yield piece


def refuse_terminal(path: str) -> None:
    """Refuse to pour an archive into a terminal.

    :raises wherry.cli.leave.Leave: there is no other place to write to.
    """
    if not path and sys.stdout.isatty():
        raise Leave(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect")


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
        with open(unfinished, "xb") as file:
            file.writelines(response.chunks())
        os.rename(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
