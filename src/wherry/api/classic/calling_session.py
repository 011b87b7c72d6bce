"""The session of wherry's own client (``version=3``): an archive, and what the client answers when it is called."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.build.exporters.tree import pack_directory
from wherry.build.sources.archive_session import ArchiveSession
from wherry.content.thread_stream import pieces_of

if TYPE_CHECKING:
    from wherry.api.classic.calls import ClientCalls
    from wherry.build.model.session import Credentials

__all__ = ["CallingSession"]

_ARCHIVE: Final = "application/x-tar"


class CallingSession(ArchiveSession):
    """A session over an unpacked context, whose client takes outputs.

    :param calls: of the build.
    :param takes: the numbers of the outputs that the client takes.
    :param root: see `ArchiveSession`, for this and what follows.
    """

    def __init__(
        self,
        calls: ClientCalls,
        root: Path | None,
        credentials: Callable[[str], Credentials | None],
        secret_values: Mapping[str, bytes],
        *,
        takes: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(root, credentials, secret_values)
        self._calls = calls
        self._takes = takes

    async def send_file(self, exporter: str, attributes: dict[str, str], pieces: AsyncIterator[bytes]) -> None:
        """Send an archive to the client."""
        if exporter not in self._takes:
            await super().send_file(exporter, attributes, pieces)
        async with self._calls.call("output", number=exporter) as answer:
            await answer.send(pieces, _ARCHIVE)

    async def send_tree(self, exporter: str, root: Path, *, prefix: str = "", modified: int | None = None) -> None:
        """Send a directory's content to the client, as an archive."""
        if exporter not in self._takes:
            await super().send_tree(exporter, root, prefix=prefix, modified=modified)
        pack = partial(pack_directory, root=root, prefix=os.fsencode(prefix), modified=modified)
        async with self._calls.call("output", number=exporter) as answer, aclosing(pieces_of(pack)) as pieces:
            await answer.send(pieces, _ARCHIVE)
