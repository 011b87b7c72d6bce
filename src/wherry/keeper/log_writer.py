"""The writing side of a log: append, rotate, and continue after a crash.

There is one writer per log, the keeper, so nothing here locks. Readers need no agreement with it: a record counts
once all of it is there, and a segment is finished once its successor exists. Only readers who must not miss anything
say where they are (:attr:`LogWriter.held`); then the log does not grow beyond its bound before they have come along.
"""

from __future__ import annotations

import errno
import os
import time as clock
from collections.abc import Callable
from typing import Final

from wherry.keeper.records import (
    BEGINS_LINE,
    BLOCK,
    DROPPED,
    MARK,
    NOTE,
    RECORD_HEADER,
    SEGMENT_HEADER,
    SMALLEST,
    STDERR,
    STDOUT,
    Position,
    header_of_segment,
    is_record,
    next_record,
    records_in,
    segment_name,
    segment_number,
    time_of_segment,
)

SMALLEST_SEGMENT: Final = 4096
"""A smaller limit is raised to this: below it the segments' headers and inodes would outweigh the log."""

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
HELD: Final = errno.EAGAIN
"""The next segment would cost one that a reader has not come to."""
NEWLINE: Final = ord("\n")

StrPath = str | os.PathLike[str]

_LOOK_BACK: Final = 4
"""Blocks that are read, when a log is continued, to learn whether a stream stopped within a line."""


def segments_of(directory: StrPath) -> list[int]:
    """The numbers of the segments in a log's directory, in order; none when there is no such directory."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(number for name in names if (number := segment_number(name)) is not None)


class LogWriter:
    """Appends what a process wrote to the segments in a directory.

    Nothing is made on disk before the first byte arrives: a silent container has no log.

    :param directory: made when it is missing, at the first byte.
    :param max_size: bytes at which a segment is followed by the next; None for no limit.
    :param max_files: segments that are kept; None for all of them.
    :param now: nanoseconds since the epoch.
    :raises OSError: an existing log cannot be read or repaired.
    """

    def __init__(
        self,
        directory: StrPath,
        *,
        max_size: int | None = None,
        max_files: int | None = None,
        now: Callable[[], int] = clock.time_ns,
    ) -> None:
        self._directory: Final = directory
        self._max_size: Final = None if max_size is None else max(max_size, SMALLEST_SEGMENT)
        self._max_files: Final = None if max_files is None else max(max_files, 1)
        self._now: Final = now
        self._segments = segments_of(directory)
        self._within_line = [False, False, False]
        self._fd = -1
        self._end = 0
        self._is_full = False
        self.held: int | None = None
        """Segments after this one are wanted by readers, and stay; that one they have open. None: nobody minds."""
        self.may_wait = True
        """Whether a log that is at its bound may fail with `HELD`; else it becomes larger than that."""
        if self._segments:
            self._continue_last()

    @property
    def position(self) -> Position:
        """The end of the log: where the next record will stand."""
        return Position(self._segments[-1] if self._segments else 1, self._end)

    def append(self, stream: int, data: memoryview) -> int:
        """Append bytes of one stream; gives how many are stored, which is less than all when the disk became full.

        :raises OSError: nothing could be stored. The log is as it was; the same call may be made again later. With
            ``errno`` `HELD` not before a reader has gone on.
        """
        now = self._now()
        stored = 0
        while stored < len(data):
            try:
                stored += self._append_to_segment(stream, data[stored:], now)
            except OSError as error:
                if error.errno in NO_SPACE and self._drop_oldest():
                    continue
                if stored == 0:
                    raise
                break
        return stored

    def append_from(self, stream: int, pipe: int, count: int) -> int | None:
        """Move bytes from a pipe into the log; gives how many, or None if their content has to be seen first.

        In that case read them and use :meth:`append`, which ends a segment with a whole line.

        What splice(2) writes to the file and what it takes out of the pipe is the same, even if the process is killed
        meanwhile: output is either still in the pipe or in the log already. What is left then is a record that is
        shorter than its header says, which is put right when the log is continued.

        :param count: bytes that are in the pipe.
        :raises OSError: nothing could be stored, as in :meth:`append`; the bytes are still in the pipe.
        """
        self._make_ready()
        start = next_record(self._end)
        count = min(count, BLOCK - start % BLOCK - RECORD_HEADER.size)
        if count > self._room(count):
            self._check_next()  # what is read has to be written as well
            return None
        fields = (stream, 0 if self._within_line[stream] else BEGINS_LINE, MARK)
        now = self._now()
        data = start + RECORD_HEADER.size
        try:
            self._write_at([bytes(start - self._end), RECORD_HEADER.pack(*fields, count, now)], self._end)
            moved = self._splice(pipe, count, data)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        if moved < count:
            os.ftruncate(self._fd, data + moved if moved else self._end)
        if 0 < moved < count:
            self._write_at([RECORD_HEADER.pack(*fields, moved, now)], start)
        if moved:
            self._end = data + moved
            self._within_line[stream] = os.pread(self._fd, 1, self._end - 1) != b"\n"
        return moved

    def note_dropped(self, count: int) -> None:
        """Leave a note that output was lost here.

        :raises OSError: as in :meth:`append`.
        """
        text = memoryview(str(count).encode())
        self._make_ready()
        self._write(*self._framed(NOTE, text, self._now(), DROPPED))

    @property
    def certain_room(self) -> int | None:
        """Bytes that can be appended without waiting for a reader; None for any number.

        :raises OSError: with `HELD`, if it is none.
        """
        if self.held is None or self._max_size is None or not self.may_wait:
            return None
        headers = RECORD_HEADER.size * (2 + self._max_size // BLOCK)
        room = self._max_size - self._end - headers
        try:
            self._check_next()
        except BlockingIOError:
            if room <= 0 or self._is_full:
                raise
            return room
        # What does not go into this segment goes into the next one, from a line's beginning on: all of it, perhaps.
        return self._max_size - SEGMENT_HEADER.size - headers

    def close(self) -> None:
        """Close the segment that is open; a later append opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append_to_segment(self, stream: int, data: memoryview, now: int) -> int:
        """Append as much as the present segment takes, in one system call."""
        self._make_ready()
        room = self._room(len(data))
        last = len(data) > room
        if last:
            lines = bytes(data[:room]).rfind(b"\n") + 1
            if not lines and not self._within_line[stream] and self._end > SEGMENT_HEADER.size:
                self._next_segment()  # rather than cut a line in two
                return self._append_to_segment(stream, data, now)
            room = lines or room
        flags = 0 if self._within_line[stream] else BEGINS_LINE
        stored = self._write(*self._framed(stream, data[:room], now, flags))
        self._within_line[stream] = data[stored - 1] != NEWLINE
        self._is_full = last and stored == room
        return stored

    def _room(self, wanted: int) -> int:
        """Bytes of data that the segment takes before it has reached its size; at least one."""
        if self._max_size is None:
            return wanted
        headers = RECORD_HEADER.size * (2 + wanted // BLOCK)
        return max(self._max_size - self._end - headers, 1)

    def _framed(
        self, stream: int, data: memoryview, now: int, flags: int
    ) -> tuple[list[bytes | memoryview], list[tuple[int, int]]]:
        """Cut data into records that do not cross a block's end.

        Gives what is to be written, and for each record (bytes of file, bytes of data) up to its end.
        """
        parts: list[bytes | memoryview] = []
        ends: list[tuple[int, int]] = []
        at, done = self._end, 0
        while done < len(data):
            start = next_record(at)
            if start > at:
                parts.append(bytes(start - at))
            piece = data[done : done + BLOCK - start % BLOCK - RECORD_HEADER.size]
            parts += (RECORD_HEADER.pack(stream, flags, MARK, len(piece), now), piece)
            done += len(piece)
            at = start + RECORD_HEADER.size + len(piece)
            ends.append((at - self._end, done))
            flags = flags & ~BEGINS_LINE if piece[-1] != NEWLINE else flags | BEGINS_LINE
        return parts, ends

    def _write(self, parts: list[bytes | memoryview], ends: list[tuple[int, int]]) -> int:
        """Write records at the end of the segment; those that became whole count, the rest of a torn one is cut off."""
        written = os.pwritev(self._fd, parts, self._end)
        size, stored = ends[-1]
        if written < size:
            size, stored = max(((s, d) for s, d in ends if s <= written), default=(0, 0))
            os.ftruncate(self._fd, self._end + size)
        if not stored:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += size
        return stored

    def _splice(self, pipe: int, count: int, offset: int) -> int:
        """Move bytes until there are so many, or the pipe is empty, or the disk is full."""
        moved = 0
        while moved < count:
            try:
                size = os.splice(pipe, self._fd, count - moved, offset_dst=offset + moved, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                break
            except OSError:
                if moved:
                    break
                raise
            if size == 0:
                break
            moved += size
        return moved

    def _write_at(self, parts: list[bytes], offset: int) -> None:
        """Write something small, or raise."""
        if os.pwritev(self._fd, parts, offset) < sum(map(len, parts)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _make_ready(self) -> None:
        """Have a segment open that may be appended to."""
        if not self._segments:
            self._begin_segment(1)
        elif self._is_full or (self._max_size is not None and self._end + SMALLEST > self._max_size):
            self._next_segment()
        elif self._fd < 0:
            self._open_segment(self._segments[-1])
        self._look_for_cut()
        if self._end == 0:
            self._write_header()

    def _look_for_cut(self) -> None:
        """Continue at the file's present end: it may have been truncated, as by logrotate's ``copytruncate``."""
        size = os.fstat(self._fd).st_size
        if size < self._end:
            self._end = self._whole_end(size)
            os.ftruncate(self._fd, self._end)

    def _next_segment(self) -> None:
        self._check_next()
        self._begin_segment(self._segments[-1] + 1)

    def _check_next(self) -> None:
        """Raise if the next segment would cost one that is held."""
        if self._max_files is None or not self.may_wait:
            return
        surplus = len(self._segments) - self._max_files
        if surplus >= 0 and self._is_held(self._segments[surplus]):
            raise BlockingIOError(HELD, "a reader has not come to the oldest segment")

    def _is_held(self, segment: int) -> bool:
        return self.held is not None and segment > self.held

    def _begin_segment(self, number: int) -> None:
        """Go on to a new segment, and drop the oldest ones beyond those to be kept."""
        self._open_segment(number, os.O_CREAT | os.O_TRUNC)
        self._segments.append(number)
        self._end = 0
        self._is_full = False
        while self._max_files is not None and len(self._segments) > self._max_files:
            if self._is_held(self._segments[0]):
                break
            self._unlink_oldest()

    def _open_segment(self, number: int, flags: int = 0) -> None:
        path = os.path.join(self._directory, segment_name(number))
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        self.close()
        self._fd = fd

    def _write_header(self) -> None:
        header = header_of_segment(self._now())
        if os.pwrite(self._fd, header, 0) < len(header):
            os.ftruncate(self._fd, 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end = len(header)

    def _drop_oldest(self) -> bool:
        """Make room by dropping the oldest segment now, if the next rotation would drop it anyway."""
        if self._max_files is None or len(self._segments) < max(self._max_files, 2) or self._is_held(self._segments[0]):
            return False
        self._unlink_oldest()
        return True

    def _unlink_oldest(self) -> None:
        path = os.path.join(self._directory, segment_name(self._segments.pop(0)))
        try:
            os.unlink(path)
        except FileNotFoundError:
            return  # somebody else tidied up: it is gone, which is what was wanted

    def _continue_last(self) -> None:
        """Continue the log that a keeper left behind; what it could not finish writing is cut off."""
        number = self._segments[-1]
        try:
            self._open_segment(number)
        except FileNotFoundError:
            self._segments.pop()
            return
        size = os.fstat(self._fd).st_size
        if size >= SEGMENT_HEADER.size and time_of_segment(os.pread(self._fd, SEGMENT_HEADER.size, 0)) is None:
            self._begin_segment(number + 1)  # not ours to cut: whatever it is, it stays as it is
            return
        self._end = self._whole_end(size)
        if self._end < size:
            os.ftruncate(self._fd, self._end)
        self._recall_lines()
        self.close()

    def _whole_end(self, size: int) -> int:
        """Where the last whole record of the open segment ends."""
        if size < SEGMENT_HEADER.size:
            return 0
        block = (size - 1) // BLOCK * BLOCK
        start = max(block, SEGMENT_HEADER.size)
        end = start
        for record in records_in(os.pread(self._fd, block + BLOCK - start, start), start):
            end = start + record.end
        return size if self._shorten(end, size) else end

    def _shorten(self, offset: int, size: int) -> bool:
        """Make a record that was being filled (:meth:`append_from`) as long as what it got; whether there was one."""
        start = next_record(offset)
        got = size - start - RECORD_HEADER.size
        if got <= 0:
            return False
        stream, flags, mark, length, time = RECORD_HEADER.unpack(os.pread(self._fd, RECORD_HEADER.size, start))
        if not is_record(mark, length, start) or got >= length or stream not in (STDOUT, STDERR):
            return False
        self._write_at([RECORD_HEADER.pack(stream, flags, mark, got, time)], start)
        return True

    def _recall_lines(self) -> None:
        """Learn from the last blocks which streams stopped within a line."""
        unknown = {STDOUT, STDERR}
        last = max(self._end - 1, 0) // BLOCK
        for block in range(last, max(last - _LOOK_BACK, -1), -1):
            start = next_record(block * BLOCK)
            buffer = os.pread(self._fd, (block + 1) * BLOCK - start, start)
            for record in reversed(list(records_in(buffer, start))):
                if record.stream in unknown:
                    unknown.discard(record.stream)
                    self._within_line[record.stream] = buffer[record.end - 1] != NEWLINE
