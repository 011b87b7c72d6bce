"""The file of Docker's ``json-file``: a JSON object a line, in files that are rotated, for programs that ship logs."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from wherry.content.threads import in_thread
from wherry.engine.log_drivers.attributes import extra_attributes
from wherry.engine.log_drivers.contract import Entries, Subject
from wherry.engine.log_drivers.options import is_true, segment_size
from wherry.engine.log_drivers.tag import tag_of
from wherry.keeper.records import STDERR

__all__ = ["JsonFileSender", "go_time"]

_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\<>&') + b"\n"
_ESCAPED: Final = (
    (b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"),
)  # fmt: skip # as Go's encoder has them, too
_MODE: Final = 0o640


class JsonFileSender:
    """A `wherry.engine.log_drivers.contract.Sender` whose receiver is a file."""

    retry_wait: float | None = None
    max_retries: int | None = None
    must_answer = True

    def __init__(self, subject: Subject) -> None:
        options = subject.options
        attributes = extra_attributes(subject)
        if options.get("tag"):
            attributes["tag"] = tag_of(subject)
        shown = b'"attrs":' + msgspec.json.encode(dict(sorted(attributes.items()))) + b"," if attributes else b""
        self._after = {1: b'","stream":"stdout",' + shown, STDERR: b'","stream":"stderr",' + shown}
        self.overhead = len(shown)
        self._path = subject.file
        self._most = segment_size(options.get("max-size", "-1"))
        self._files = int(options.get("max-file", "1"))
        self._compresses = is_true(options, "compress")
        self._fd = -1
        self._size = 0

    def encode(self, batch: Sequence[Entries]) -> list[bytes]:
        """Lines of JSON."""
        return [self._encoded(entries) for entries in batch]

    def _encoded(self, entries: Entries) -> bytes:
        begin = b'{"log":"'
        end = self._after[entries.stream] + b'"time":"' + go_time(entries.time) + b'"}\n'
        newline = b"" if entries.part is not None and not entries.part.last else b"\\n"
        if entries.part is None and not entries.data.translate(None, _PLAIN):
            return begin + entries.data[:-1].replace(b"\n", newline + end + begin) + newline + end
        return b"".join(begin + _escaped(line) + newline + end for line in entries.lines())

    async def open(self) -> None:
        """Open the file, and cut off what a crash has left of a line."""
        if self._fd < 0:
            await in_thread(self._open, executor=_threads())

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Write.

        :raises OSError: the disk is full, or fails.
        """
        await in_thread(self._write, pieces, executor=_threads())

    def is_drained(self) -> bool:
        """What is written is there."""
        return True

    async def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    # --- in a thread ------------------------------------------------------------------------------

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, _MODE)
        self._size = _whole(self._fd)
        os.ftruncate(self._fd, self._size)

    def _write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            for lines in self._fitting(piece):
                self._append(lines)

    def _fitting(self, piece: bytes) -> Sequence[bytes]:
        """What fits into one file after the other, in whole lines."""
        if self._most is None or self._size + len(piece) <= self._most:
            return (piece,)
        return piece.splitlines(keepends=True)

    def _append(self, lines: bytes) -> None:
        if self._most is not None and self._size and self._size + len(lines) > self._most:
            self._rotate()
        view = memoryview(lines)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(lines)

    def _rotate(self) -> None:
        suffix = ".gz" if self._compresses else ""
        os.close(self._fd)
        self._fd = -1
        for number in range(self._files - 1, 1, -1):
            for ending in ("", ".gz"):
                self._move(f".{number - 1}{ending}", f".{number}{ending}")
        for ending in ("", ".gz"):
            self._name(f".{self._files}{ending}").unlink(missing_ok=True)
        if self._files == 1:
            self._name("").unlink(missing_ok=True)
        else:
            self._move("", ".1")
            if suffix:
                _compress(self._name(".1"))
        self._open()

    def _move(self, source: str, target: str) -> None:
        if self._name(source).exists():
            os.replace(self._name(source), self._name(target))

    def _name(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)


@cache
def _threads() -> ThreadPoolExecutor:
    """Not the event loop's: a file of a gigabyte takes ten seconds to be compressed."""
    return ThreadPoolExecutor(2, "log-file")


def _compress(path: Path) -> None:
    draft = path.with_name(path.name + ".tmp")
    try:
        with path.open("rb") as source, gzip.open(draft, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except OSError:  # the disk is full, and this would keep it so
        draft.unlink(missing_ok=True)
        raise
    os.replace(draft, path.with_name(path.name + ".gz"))
    path.unlink()


def _whole(fd: int) -> int:
    """The size of a file up to its last newline."""
    end = os.fstat(fd).st_size
    while end:
        begin = max(end - (64 << 10), 0)
        found = os.pread(fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _escaped(line: bytes) -> bytes:
    """The inside of a JSON string; bytes that are not UTF-8 become U+FFFD."""
    text = msgspec.json.encode(line.decode("utf-8", "replace"))[1:-1]
    for letter, escape in _ESCAPED:
        text = text.replace(letter, escape)
    return text


def go_time(ns: int) -> bytes:
    """RFC 3339 in UTC with as many digits as it takes, as Go's ``RFC3339Nano``."""
    seconds, rest = divmod(ns, 1_000_000_000)
    digits = f".{rest:09d}".rstrip("0").rstrip(".")
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f"{digits}Z").encode()
