"""The streams of a container: FIFOs with names, or a pseudo-terminal's master.

The container's ends of ``stdout`` and ``stderr`` are open for reading and writing, the keeper's for reading; the
reason is in docs/design/output-and-logs.md. Of ``stdin`` the container has the reading end; the keeper holds a writing
end so that the container sees no end of file, and never writes. A FIFO of standard input that was closed has no name
any more: a later keeper, and wherryd, recognise it by that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import termios
from typing import Final, NamedTuple

from wherry.keeper.loop import Loop
from wherry.keeper.records import STDERR, STDOUT
from wherry.keeper.sink import Sink
from wherry.linux.fd import Fd

CHUNK: Final = 256 * 1024
"""Bytes that are read at once."""
BUSY: Final = 64 * 1024
"""A read of so much means that the FIFO, of ordinary size, was full."""
WIDE: Final = 1024 * 1024
"""What a busy FIFO is enlarged to; the limit for ordinary users, ``/proc/sys/fs/pipe-max-size``."""

NAMES: Final = {STDOUT: "stdout", STDERR: "stderr"}


class Fifos(NamedTuple):
    """The two sides of a container's standard streams."""

    theirs: tuple[Fd, Fd, Fd]
    """Standard input, output and error, for the child."""
    ours: dict[int, Fd]
    """The reading ends of output and error, by stream."""
    stdin: Fd | None
    """A writing end of standard input, to be held."""


def make_fifos(directory: str, *, stdin: bool) -> Fifos:
    """Make a container's FIFOs; those of an earlier run are replaced.

    :param stdin: whether the container gets a standard input; else it is ``/dev/null``.
    :raises OSError: the directory is not there, or the disk is full.
    """
    outputs = {stream: _make_output(os.path.join(directory, name)) for stream, name in NAMES.items()}
    theirs, held = _make_input(os.path.join(directory, "stdin"), wanted=stdin)
    return Fifos(
        (theirs, outputs[STDOUT][1], outputs[STDERR][1]), {stream: ours for stream, (ours, _) in outputs.items()}, held
    )


def reopen_fifos(directory: str) -> tuple[dict[int, Fd], Fd | None]:
    """Open the keeper's ends of a running container's FIFOs again: outputs by stream; standard input if it is open."""
    outputs: dict[int, Fd] = {}
    for stream, name in NAMES.items():
        try:
            outputs[stream] = _open(os.path.join(directory, name), os.O_RDONLY)
        except FileNotFoundError:
            continue  # it has a terminal
    try:
        return outputs, _open(os.path.join(directory, "stdin"), os.O_WRONLY)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO):  # closed by us; by the container
            raise
        return outputs, None


def remove_fifos(directory: str) -> None:
    """Remove a container's FIFOs, as far as there are any."""
    for name in ("stdin", *NAMES.values()):
        _remove(os.path.join(directory, name))


def remove_stdin(directory: str) -> None:
    """Note that standard input was closed: it has no name any more."""
    _remove(os.path.join(directory, "stdin"))


def _make_output(path: str) -> tuple[Fd, Fd]:
    _make(path)
    return _open(path, os.O_RDONLY), _open_theirs(path, os.O_RDWR)


def _open_theirs(path: str, mode: int) -> Fd:
    """Open the container's end of a FIFO that was made just now, in a directory that only root enters.

    Without O_NOFOLLOW: the kernel keeps that flag, and criu opens the descriptor again with all its flags, by its name
    in /proc/self/fd, which is a link.
    """
    return Fd(os.open(path, mode | os.O_CLOEXEC))


def _make_input(path: str, *, wanted: bool) -> tuple[Fd, Fd | None]:
    if not wanted:
        _remove(path)
        return Fd(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)), None
    _make(path)
    theirs = _open_theirs(path, os.O_RDONLY | os.O_NONBLOCK)
    held = _open(path, os.O_WRONLY)
    os.set_blocking(theirs.fileno(), True)
    return theirs, held


def _make(path: str) -> None:
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        _remove(path)
        os.mkfifo(path, 0o600)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _open(path: str, mode: int) -> Fd:
    """Without waiting for the other side, and without following a link in the last component."""
    return Fd(os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))


class Output:
    """Reads one FIFO or terminal into a sink.

    :param fd: the reading end, or a pty's master.
    :param scratch: memory to read into; every stream of a keeper uses the same.
    :param sink: where it goes.
    """

    __slots__ = ("_ended", "_fd", "_is_edge", "_is_pipe", "_is_wide", "_loop", "_scratch", "_sink", "stream")

    def __init__(self, fd: Fd, stream: int, sink: Sink, loop: Loop, scratch: memoryview) -> None:
        os.set_blocking(fd.fileno(), False)
        self._fd = fd
        self.stream = stream
        self._sink = sink
        self._loop = loop
        self._scratch = scratch
        self._is_wide = False
        self._is_pipe = stat.S_ISFIFO(os.fstat(fd.fileno()).st_mode)
        self._is_edge = False
        self._ended = False

    def fileno(self) -> int:
        """The descriptor's number."""
        return self._fd.fileno()

    def start(self) -> None:
        """Read whenever there is something."""
        if self._sink.blocked:
            self._wait_for_room()
        else:
            self._loop.watch(self._fd.fileno(), self._on_ready, select.EPOLLIN)

    def close(self) -> None:
        """Stop reading and close the descriptor."""
        if not self._fd.closed:
            self._loop.unwatch(self._fd.fileno())
            self._fd.close()

    def drain(self) -> bool:
        """Read the remaining output of an ended process; False when the disk is full.

        Not until the end of file: others may hold the other side, and go on writing for ever.
        """
        left = max(self._pending(), 0 if self._is_pipe else CHUNK)  # a pipe tells everything that is in it
        while left > 0 and not self._sink.blocked:
            count = self._read()
            left = left - count if count else 0
        return not self._sink.blocked

    def _on_ready(self, events: int) -> None:
        if self._sink.blocked:
            self._wait_for_room()
            return
        if events == select.EPOLLHUP and self._is_pipe:
            self._ended = True  # empty, and nobody has the other side
            count = 0
        else:
            count = self._read()
        if count == 0 and self._ended and not self._is_edge:
            # Hang-up is a lasting state; edge-triggered it wakes us once, and again when somebody comes back.
            self._is_edge = True
            self._loop.watch(self._fd.fileno(), self._on_ready, select.EPOLLIN | select.EPOLLET)

    def _read(self) -> int:
        """Pass on what is there, a bounded piece; 0 if there is nothing now, or nothing more, or no room."""
        moved = self._move() if self._is_pipe else None
        count = self._copy() if moved is None else moved
        if count >= BUSY and self._is_pipe and not self._is_wide:
            self._widen()
        return count

    def _move(self) -> int | None:
        """Move it from the pipe to the log; None if there is nothing to move, or it must be looked at."""
        pending = self._pending()
        return self._sink.take_from(self.stream, self._fd.fileno(), pending) if pending else None

    def _copy(self) -> int:
        """Read once and pass it on."""
        room = self._sink.room()
        if room == 0:
            return 0
        try:
            count = os.readv(self._fd.fileno(), [self._scratch[:room]])
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EIO:  # a master whose slaves are all closed
                raise
            count = 0
        self._ended = count == 0
        if count:
            self._sink.take(self.stream, self._scratch[:count])
        return count

    def _pending(self) -> int:
        size = bytearray(4)
        fcntl.ioctl(self._fd.fileno(), termios.FIONREAD, size)
        return int(struct.unpack("i", size)[0])

    def _widen(self) -> None:
        self._is_wide = True
        try:
            fcntl.fcntl(self._fd.fileno(), fcntl.F_SETPIPE_SZ, WIDE)
        except OSError:
            return  # the user's limit is reached: it works as it is

    def _wait_for_room(self) -> None:
        self._loop.unwatch(self._fd.fileno())
        self._sink.on_room.append(self.start)
