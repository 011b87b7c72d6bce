"""Between a container's streams and ours: output to our descriptors, our standard input to it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.detach import Detacher
    from wherry.client.transport import Stream

__all__ = ["Pump", "write_all"]

READ = 1 << 16


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however little the other side takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Output:
    """Where received bytes go.

    :param tty: True when the bytes are a terminal's and not frames.
    """

    def __init__(self, *, tty: bool) -> None:
        self._frames = None
        if not tty:
            from wherry.client.stdcopy import Demultiplexer

            self._frames = Demultiplexer()

    def write(self, data: bytes) -> None:
        """Write what was received to standard output and standard error.

        :raises wherry.errors.SystemFault: the daemon reports that it can't go on.
        """
        if self._frames is None:
            write_all(1, data)
            return
        for stream, piece in self._frames.feed(data):
            if stream == 3:
                from wherry.errors import SystemFault

                raise SystemFault(f"error from daemon in stream: {piece.decode('utf-8', 'replace').strip()}")
            write_all(2 if stream == 2 else 1, piece)


class Pump:
    """Moves bytes until the container's output ends, or the person detaches.

    :param stream: the connection.
    :param tty: True when the container has a terminal.
    :param stdin: pass our standard input on.
    :param detacher: recognises the keys that detach, or None.
    """

    def __init__(self, stream: Stream, *, tty: bool, stdin: bool, detacher: Detacher | None = None) -> None:
        self._stream = stream
        self._output = Output(tty=tty)
        self._stdin = stdin
        self._detacher = detacher
        self._unsent = b""
        self.detached = False

    def run(self) -> bool:
        """Move bytes. :returns: True when the person detached."""
        if self._stdin:
            self._both_ways()
        else:
            while data := self._stream.recv():
                self._output.write(data)
        return self.detached

    def _both_ways(self) -> None:
        """Neither direction may wait for the other: a program that echoes would block both sides for good."""
        import select

        self._stream.sock.setblocking(False)
        poll = select.poll()
        sock = self._stream.sock.fileno()
        ended = self._receive() if self._stream.buffered else False
        while not ended and not self.detached:
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            if self._stdin and not self._unsent:
                poll.register(0, select.POLLIN)
            ready = dict(poll.poll())
            if self._stdin and not self._unsent:
                poll.unregister(0)
            if ready.get(0):
                self._read_stdin()
            if ready.get(sock, 0) & select.POLLOUT or self._unsent:
                self._send()
            if ready.get(sock, 0) & ~select.POLLOUT:
                ended = self._receive()

    def _receive(self) -> bool:
        """Take all that is there. :returns: True at the end."""
        while True:
            try:
                data = self._stream.recv()
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            if not data:
                return True
            self._output.write(data)

    def _read_stdin(self) -> None:
        try:
            data = os.read(0, READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal that went away (EIO) is an end of file
        if not data:
            self._stdin = False
            self._stream.close_write()
            return
        if self._detacher is not None:
            data, self.detached = self._detacher.feed(data)
        self._unsent += data

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._stream.sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._unsent = b""
            self._stdin = False  # the container reads no more; its output may go on
