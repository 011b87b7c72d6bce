"""A build's progress as JSON, for wherry's own client (``version=3``): nothing is lost that the builder says.

Each message is ``{"id": "wherry.build", "aux": {...}}``; the aux has a ``type``: ``vertex``, ``transfer``, ``log``,
``warning``, ``shell`` (with the token of one that waits), and the members of `wherry.build.model.progress`; ``build``:
the build itself, as `records` has it.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Final

import msgspec

from wherry.build.dockerfile.excerpt import excerpt
from wherry.build.model.errors import DockerfileError, VertexFailed
from wherry.build.model.progress import (
    LogProgress,
    Progress,
    ShellProgress,
    TransferProgress,
    VertexProgress,
    WarningProgress,
)
from wherry.docker.progress import ErrorDetail, ProgressMessage
from wherry.oci.digest import Digest

__all__ = ["BuildEvents", "detail_of", "message"]


_ID: Final = "wherry.build"


class BuildEvents:
    """Translates events, in their order, into messages.

    :param tokens: of shells, by the vertices that they are in.
    """

    def __init__(self, tokens: Mapping[Digest, str] | None = None) -> None:
        self._tokens = {} if tokens is None else tokens
        self._decoders: dict[tuple[Digest, int], codecs.IncrementalDecoder] = {}

    def take(self, event: Progress) -> ProgressMessage:
        """The message of one event."""
        if isinstance(event, LogProgress):
            return message("log", vertex=str(event.vertex), stream=event.stream, data=self._text(event), at=event.at)
        if isinstance(event, WarningProgress):
            return message(
                "warning",
                vertex=str(event.vertex),
                short=event.short,
                detail=list(event.detail),
                url=event.url,
                excerpt=excerpt(event.file, event.source, event.ranges),
            )
        if isinstance(event, ShellProgress):
            token = self._tokens.get(event.vertex, "")
            return message("shell", vertex=str(event.vertex), error=event.error, token=token)
        assert isinstance(event, VertexProgress | TransferProgress)
        kind = "vertex" if isinstance(event, VertexProgress) else "transfer"
        return message(kind, **msgspec.to_builtins(event, enc_hook=str))

    def _text(self, event: LogProgress) -> str:
        """Output as text; a character may come in two pieces."""
        key = (event.vertex, event.stream)
        if key not in self._decoders:
            self._decoders[key] = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return self._decoders[key].decode(event.data)


def message(kind: str, /, **members: object) -> ProgressMessage:
    """One message."""
    return {"id": _ID, "aux": {"type": kind, **members}}


def detail_of(error: Exception) -> ErrorDetail:
    """What is known of an error beside its sentence: the exit code, and where in which file."""
    if not isinstance(error, DockerfileError | VertexFailed):
        return {}
    shown = excerpt(error.file, error.source, error.ranges)
    found: ErrorDetail = {"excerpt": shown} if shown else {}
    if isinstance(error, VertexFailed) and error.exit_code is not None:
        found["code"] = error.exit_code
    return found
