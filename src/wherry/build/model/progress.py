"""What happens during a build, as values; whoever shows a build makes its own form of them.

Times are nanoseconds since the epoch. BuildKit's StatusResponse has the same four kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from wherry.build.model.graph import SourceRange
from wherry.oci.digest import Digest

__all__ = [
    "Cost", "LogProgress", "Progress", "ProgressSink", "ShellProgress", "TransferProgress", "VertexProgress",
    "WarningProgress", "legal_text",
]  # fmt: skip

STDOUT: Final = 1
STDERR: Final = 2


class Cost(Struct, frozen=True):
    """What a step took: CPU time in nanoseconds, peak memory and written data in bytes; None: not known."""

    cpu: int | None = None
    memory: int | None = None
    written: int | None = None


class VertexProgress(Struct, frozen=True, kw_only=True):
    """The present state of a vertex; a later one replaces an earlier one.

    :param group: of `graph.Metadata`.
    :param error: why it failed; empty: it did not.
    :param explanation: why it was run, or taken from the cache: which file, argument or base differs.
    """

    digest: Digest
    name: str
    inputs: tuple[Digest, ...] = ()
    started: int | None = None
    completed: int | None = None
    cached: bool = False
    error: str = ""
    group: tuple[str, str, bool] | None = None
    explanation: str = ""
    cost: Cost | None = None


class TransferProgress(Struct, frozen=True, kw_only=True):
    """The present state of something that a vertex does and that has a length: a layer's download, an upload.

    :param id: unique within the vertex: a later one replaces an earlier one.
    :param total: 0 while it is not known.
    """

    id: str
    vertex: Digest
    name: str = ""
    current: int = 0
    total: int = 0
    at: int = 0
    started: int | None = None
    completed: int | None = None


class LogProgress(Struct, frozen=True, kw_only=True):
    """Output of a step: `stream` is 1 or 2."""

    vertex: Digest
    stream: int
    data: bytes
    at: int


class WarningProgress(Struct, frozen=True, kw_only=True):
    """Something that is probably not meant.

    :param level: 1 and up, as in BuildKit.
    :param short: one line.
    :param source: the file's text.
    """

    vertex: Digest
    level: int
    short: str
    detail: tuple[str, ...] = ()
    url: str = ""
    file: str = ""
    source: bytes = b""
    ranges: tuple[SourceRange, ...] = ()


class ShellProgress(Struct, frozen=True):
    """A step has failed, and a shell in it waits for the client that has asked for one.

    :param error: why it failed.
    """

    vertex: Digest
    error: str
    at: int


Progress = VertexProgress | TransferProgress | LogProgress | WarningProgress | ShellProgress
ProgressSink = Callable[[Progress], None]
"""Takes events in their order, on the event loop; it must not wait."""


def legal_text(text: str) -> str:
    r"""A text that can be written as UTF-8: bytes of a file's name that are none (surrogates here) as ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()
