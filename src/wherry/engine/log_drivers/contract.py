"""The contract of a log driver.

Whatever the driver, the keeper writes a container's output into segments (`wherry.keeper.log_writer`), and ``attach``
reads it there. So a driver is data: which options it takes, how much of the segments is kept, and whether ``docker
logs`` may read them. One that sends logs elsewhere has a sender, too: `wherry.engine.delivery` follows the segments in
the daemon, from a position that is kept on disk, and gives it what it reads.

The words: an *entry* is what the receiver gets as one message, a line or a *part* of a long one; a *receiver* is the
program, or the file, that the entries go to; a *sender* speaks its protocol.

A driver is one file beside this one and one line in the table of `wherry.engine.log_drivers.table`. Its sender is a
file of its own, imported by the first container that has it. Nothing outside this package knows a driver by its name:
what differs between drivers is asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

__all__ = ["Entries", "LogBounds", "LogDriver", "OptionCheck", "Options", "Part", "Sender", "Subject"]

Options = Mapping[str, str]

OptionCheck = Callable[[str], object]
"""Checks the value of an option: raises ``InvalidInput`` or ``Unsupported``."""


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How much of a container's output the keeper keeps.

    :ivar max_size: bytes of a segment; None for no limit.
    :ivar max_files: segments that are kept.
    :ivar blocking: whether the container waits when its log is full, rather than lose output.
    """

    max_size: int | None
    max_files: int
    blocking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The container whose log it is, as receivers are told of it.

    :ivar argv: entrypoint and command, put together.
    :ivar created: RFC 3339.
    :ivar options: those that hold for its log.
    :ivar file: where a driver that writes a file writes it.
    """

    id: str
    name: str
    image: str
    image_id: str
    argv: Sequence[str]
    created: str
    env: Sequence[str]
    labels: Mapping[str, str]
    options: Options
    file: Path


class Part(NamedTuple):
    """Which part of a long line an entry is; Docker's ``PartialLogMetaData``."""

    id: str
    ordinal: int
    last: bool


class Entries(NamedTuple):
    """Whole lines of one stream that were read at the same time; or one part of a long line."""

    stream: int
    time: int
    """Nanoseconds since the epoch."""
    data: bytes
    """Each line ends with a newline; a part has none."""
    part: Part | None = None

    def lines(self) -> list[bytes]:
        """The lines, or the part, without newlines."""
        return self.data[:-1].split(b"\n") if self.part is None else [self.data]


class Sender(Protocol):
    """Sends the entries of one container to a receiver. One call at a time; `encode` is called in a thread.

    :ivar retry_wait: seconds until the next try, if there is a fixed time; else it grows.
    :ivar max_retries: after so many failures what was to be sent is given up; None: never.
    :ivar must_answer: whether a container cannot start while the receiver does not answer.
    :ivar overhead: bytes that go along with each entry: an image may have a command or labels of a megabyte.
    """

    retry_wait: float | None
    max_retries: int | None
    must_answer: bool
    overhead: int

    def encode(self, batch: Sequence[Entries]) -> list[bytes]:
        """What goes to the receiver for these entries, in pieces."""

    async def open(self) -> None:
        """Reach the receiver. No harm if it is reached already.

        :raises OSError: it does not answer.
        :raises WherryError: it cannot be reached, in Docker's words.
        """

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Send; returns when there is room for more. What has failed will be sent again.

        :raises OSError: the receiver is gone.
        """

    def is_drained(self) -> bool:
        """Whether the receiver has all that was sent, as far as its protocol and the kernel can tell.

        :raises OSError: the receiver is gone, and has not.
        """

    async def close(self) -> None:
        """Let go of the receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDriver:
    """One log driver.

    :ivar name: as in ``--log-driver`` and in the API.
    :ivar title: what it is called in the error about an unknown option.
    :ivar checks: its options, with the checks of their values.
    :ivar quote: around the option in that error.
    :ivar check_all: checks options that depend on each other.
    :ivar bounds: the bounds that the effective options set.
    :ivar retention: how much is kept with these options, for ``docker info``.
    :ivar defaults: options that hold where neither the container nor the daemon has them.
    :ivar shows_defaults: whether ``inspect`` shows the options that hold, rather than those that were asked for.
    :ivar is_readable: whether ``docker logs`` can read the log, with these options.
    :ivar is_spool: the segments only bridge the time until attached clients have read them: they lie under the exec
        root, and ``inspect`` shows the options as they were asked for.
    :ivar sends: whether the log goes elsewhere, with these options.
    :ivar sender: the class of what sends it, in a module beside this one: ``"syslog_sender.SyslogSender"``. It is made
        of a `Subject`.
    :ivar writes_file: whether `Subject.file` is written, with these options: it is the ``LogPath`` then.
    :ivar has_log_path: whether ``inspect`` shows a ``LogPath`` else, as Docker's driver of that name has one.
    """

    name: str
    title: str
    checks: Mapping[str, OptionCheck]
    bounds: Callable[[Options], LogBounds]
    retention: Callable[[Options], str]
    quote: str = "'"
    check_all: Callable[[Options], None] = lambda options: None
    defaults: Options = field(default_factory=dict)
    shows_defaults: bool = True
    is_readable: Callable[[Options], bool] = lambda options: True
    is_spool: bool = False
    sends: Callable[[Options], bool] = lambda options: False
    sender: str = ""
    writes_file: Callable[[Options], bool] = lambda options: False
    has_log_path: bool = True
