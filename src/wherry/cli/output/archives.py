"""Archives: read from a file, written to a file or standard output."""

from __future__ import annotations

import os
import sys

from wherry.cli.exit import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from wherry.client.transport import Response

__all__ = ["check_output", "read_chunks", "write_archive"]

CHUNK_SIZE = 1 << 18


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Read a file in chunks."""
    while piece := file.read(CHUNK_SIZE):
        yield piece


def check_output(path: str, what: str) -> None:
    """Refuse to write an archive to a terminal, or to an invalid path, before the request is sent.

    :param what: the beginning of the error message: "failed to save image".
    :raises wherry.cli.exit.Exit: the path is invalid.
    """
    if not path:
        if sys.stdout.isatty():
            raise Exit(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect")
        return
    directory = os.path.dirname(path) or "."
    try:
        os.stat(os.path.join(directory, "."))
    except OSError as error:
        raise Exit(
            1, f"{what}: invalid output path: stat {directory}: {os.strerror(error.errno or 0).lower()}"
        ) from error
    if os.path.isdir(path):
        raise Exit(1, f"{what}: cannot write to a directory")


def write_archive(response: Response, path: str) -> None:
    """Write a body to a file, or to standard output when the path is empty.

    The file is written under a temporary name, and renamed when it is complete.
    """
    if not path:
        from wherry.cli.terminal.streams import write_all

        for piece in response.chunks():
            write_all(1, piece)
        return
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as special:  # a device, a FIFO: nothing to rename
            special.writelines(response.chunks())
        return
    _write_then_rename(response, path)


def _write_then_rename(response: Response, path: str) -> None:
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        # readable by the owner only, as with Docker: images may hold secrets
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.writelines(response.chunks())
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
