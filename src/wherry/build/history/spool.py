"""Everything that happens in a build, from its beginning: kept for whoever reads it late, or twice.

The last of it is in memory, the rest in a file: frames of four bytes of length (big-endian) and MessagePack, a pair of
the kind and the event. Nothing is ever left out, however slow a reader is: it keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from wherry.build.cache.threads import Threads
from wherry.build.model.progress import (
    LogProgress,
    Progress,
    ShellProgress,
    TransferProgress,
    VertexProgress,
    WarningProgress,
    legal_text,
)
from wherry.content.durable import disk_errors, write_all
from wherry.errors import SystemFault, TooLarge, WherryError
from wherry.oci.digest import Digest

__all__ = ["Spool"]

_KINDS: Final = (VertexProgress, TransferProgress, LogProgress, WarningProgress, ShellProgress)
_IN_MEMORY: Final = 512 << 10  # bytes; what is more goes into the file
_WAITING: Final = 4 << 20  # bytes in memory, from which on who writes has to wait
_MOST: Final = 1 << 30  # bytes of output of one build
_CHUNK: Final = 256 << 10  # bytes that are read at once
_FRAME: Final = 64  # bytes that an event takes beside its output, about


class Spool:
    """The events of one build, or of one step that several builds share.

    :param path: of its file, which is made when memory does not suffice.
    :param most: bytes of output that it takes.
    """

    def __init__(self, path: Path, threads: Threads, *, in_memory: int = _IN_MEMORY, most: int = _MOST) -> None:
        self.path: Final = path
        self._threads = threads
        self._in_memory = in_memory
        self._most = most
        self._recent: list[Progress] = []
        self._recent_size = self._total = 0
        self._base = 0  # the number of the first event in memory
        self._file_size = 0
        self._marks: list[tuple[int, int]] = [(0, 0)]  # numbers of events, and where in the file they begin
        self._spilling: asyncio.Task[None] | None = None
        self._error: WherryError | None = None
        self._is_closed = self._is_removed = False
        self._waiting: list[asyncio.Future[None]] = []

    @classmethod
    async def stored(cls, path: Path, threads: Threads) -> Spool:
        """Those of a build of the past."""
        spool = cls(path, threads)
        spool._is_closed = True
        spool._base, spool._file_size = await threads.run(_counted, path)
        return spool

    @property
    def has_file(self) -> bool:
        """Whether there is a file, or will be."""
        return self._file_size > 0 or self._spilling is not None

    # --- writing ----------------------------------------------------------------------------------

    def append(self, event: Progress) -> None:
        """Add an event; never waits."""
        if self._is_closed:
            return
        size = _size(event)
        self._recent.append(event)
        self._recent_size += size
        self._total += size
        if self._recent_size > self._in_memory and self._error is None:
            self._spill_soon()
        self._stir()

    async def room(self) -> None:
        """Wait while there is much that is not on the disk yet. For whoever produces output; no reader is waited for.

        :raises TooLarge: it is more than a build may give.
        :raises OutOfSpace: the disk is full.
        """
        while True:
            if self._error is not None:
                raise self._error
            if self._total > self._most:
                raise TooLarge(f"the output of the build is more than {self._most >> 20} MiB")
            if self._is_closed or self._recent_size <= _WAITING:
                return
            await self._change()

    def close(self) -> None:
        """Nothing is added any more: who reads comes to the end."""
        self._is_closed = True
        self._stir()

    async def store(self) -> None:
        """Write all of it into the file, which is there from now on, and has nothing else in it.

        :raises OutOfSpace: the disk is full.
        """
        if not self.has_file and not self._recent:
            await self._threads.run(_append, self.path, 0, [])
        while self._recent and self._error is None and not self._is_removed:
            self._spill_soon()
            if self._spilling is not None:
                await asyncio.shield(self._spilling)
        if self._error is not None:
            raise self._error

    async def remove(self) -> None:
        """Remove the file, and what is in memory."""
        self.close()
        self._is_removed = True
        if self._spilling is not None:
            await asyncio.shield(self._spilling)
        self._recent.clear()
        if self.has_file:
            await self._threads.finish(_remove, self.path)
        self._stir()

    def _spill_soon(self) -> None:
        if self._spilling is None or self._spilling.done():
            self._spilling = asyncio.get_running_loop().create_task(self._spill(), name="wherry-build-spool")

    async def _spill(self) -> None:
        """Write what is in memory, and what came meanwhile where that is much: who produces output may wait for it."""
        while True:
            count, size = len(self._recent), self._recent_size
            try:
                written = await self._threads.run(_append, self.path, self._file_size, self._recent[:count])
            except Exception as error:  # who produces output must not wait for what will never be written
                whole = SystemFault("cannot write what happens in a build", cause=f"{type(error).__name__}: {error}")
                self._error = error if isinstance(error, WherryError) else whole
            else:
                del self._recent[:count]
                self._recent_size -= size
                self._base += count
                self._file_size += written
                self._marks.append((self._base, self._file_size))
            self._stir()
            if self._error is not None or self._is_removed or self._recent_size <= self._in_memory:
                return

    # --- reading ----------------------------------------------------------------------------------

    async def read(self, *, follow: bool = True) -> AsyncIterator[Progress]:
        """Everything from the beginning, and on until it is closed.

        :param follow: False: only to what there is now.
        """
        number = 0
        last = None if follow else self._base + len(self._recent)
        while True:
            for event in await self._from_file(number) if number < self._base else self._recent_from(number):
                number += 1
                yield event
            if last is not None and number >= last:
                return
            if number >= self._base + len(self._recent):
                if self._is_closed:
                    return
                await self._change()
            elif self._is_removed:
                return

    def _recent_from(self, number: int) -> list[Progress]:
        return self._recent[number - self._base :]

    async def _from_file(self, number: int) -> list[Progress]:
        first, offset = self._marks[bisect_right(self._marks, (number, self._file_size)) - 1]
        events: list[Progress] = []
        while not events and offset < self._file_size and not self._is_removed:
            found, read = await self._threads.run(_read, self.path, offset, self._file_size)
            if not read:
                break
            events = found[max(0, number - first) :]
            first += len(found)
            offset += read
            self._note(first, offset)
        return events

    def _note(self, number: int, offset: int) -> None:
        """Remember a place in the file, so that the next piece is found at once."""
        at = bisect_right(self._marks, (number, offset))
        if self._marks[at - 1] != (number, offset):
            self._marks.insert(at, (number, offset))

    # --- waiting ----------------------------------------------------------------------------------

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def _stir(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)


def _size(event: Progress) -> int:
    """About how many bytes an event takes."""
    return _FRAME + (len(event.data) if isinstance(event, LogProgress) else 0)


# --- the file -------------------------------------------------------------------------------------


def _append(path: Path, size: int, events: list[Progress]) -> int:
    """Write events behind what is there; returns how many bytes they are."""
    encoder = msgspec.msgpack.Encoder(enc_hook=str)
    pieces: list[bytes] = []
    for event in events:
        body = _encoded(encoder, event)
        pieces += (len(body).to_bytes(4), body)
    data = b"".join(pieces)
    with disk_errors("write what happens in a build"):
        begin = 0 if size else os.O_TRUNC  # an earlier build with the same ID may have left it
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | begin, 0o600)
        try:
            os.lseek(fd, size, os.SEEK_SET)  # over what a write that failed has left
            write_all(fd, data)
        finally:
            os.close(fd)
    return len(data)


def _encoded(encoder: msgspec.msgpack.Encoder, event: Progress) -> bytes:
    kind = _KINDS.index(type(event))
    try:
        return encoder.encode((kind, event))
    except UnicodeEncodeError:  # a name of a file that is no text
        legal = {name: _legal(getattr(event, name)) for name in event.__struct_fields__}
        return encoder.encode((kind, msgspec.structs.replace(event, **legal)))


def _legal(value: Any) -> Any:
    if type(value) is tuple:
        return tuple(map(_legal, value))
    return legal_text(value) if type(value) is str else value


def _read(path: Path, offset: int, end: int) -> tuple[list[Progress], int]:
    """Some whole events from a place on, and how many bytes they take."""
    with disk_errors("read what happened in a build"), path.open("rb") as file:
        file.seek(offset)
        data = file.read(min(_CHUNK, end - offset))
        if len(data) >= 4 and (need := 4 + int.from_bytes(data[:4])) > len(data):
            data += file.read(need - len(data))
    events, used = [], 0
    for body in _bodies(data):
        events.append(_decoded(body))
        used += 4 + len(body)
    return events, used


def _bodies(data: bytes) -> Iterator[memoryview]:
    view, at = memoryview(data), 0
    while at + 4 <= len(view):
        length = int.from_bytes(view[at : at + 4])
        if at + 4 + length > len(view):
            return
        yield view[at + 4 : at + 4 + length]
        at += 4 + length


def _decoded(body: memoryview) -> Progress:
    kind, rest = msgspec.msgpack.decode(body, type=tuple[int, msgspec.Raw])
    decoded: Any = msgspec.msgpack.decode(rest, type=_KINDS[kind], dec_hook=_hook)
    found: Progress = decoded
    return found


def _hook(kind: type, value: Any) -> Any:
    return Digest(value) if kind is Digest else value


def _counted(path: Path) -> tuple[int, int]:
    """How many events a file has, and how many bytes these take: a crash may have left half a one at its end.

    There is none where it could not be written.
    """
    count = used = 0
    with disk_errors("read what happened in a build"), suppress(FileNotFoundError), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while len(head := file.read(4)) == 4:
            length = int.from_bytes(head)
            if used + 4 + length > size:
                break
            file.seek(length, os.SEEK_CUR)
            count, used = count + 1, used + 4 + length
    return count, used


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
