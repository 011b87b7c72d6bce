"""Copy a container's output to standard output and error, and standard input to the container."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.terminal.detach_keys import Detacher
    from wherry.client.transport import Stream

__all__ = ["Pump", "write_all"]

READ = 1 << 16
_NAMES = {1: "stdout", 2: "stderr"}


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes, in as many calls as it takes.

    :raises wherry.cli.console.OutputError: it cannot be written.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except OSError as error:
            from wherry.cli.console import OutputError

            raise OutputError(_NAMES.get(fd, str(fd)), error) from None


class Output:
    """Writes received bytes to standard output and error.

    :param tty: True for raw bytes of a terminal, False for multiplexed frames.
    """

    def __init__(self, *, tty: bool) -> None:
        self._frames = None
        if not tty:
            from wherry.client.stdcopy import Demultiplexer

            self._frames = Demultiplexer()

    def write(self, data: bytes) -> None:
        """Write received bytes to standard output and standard error.

        :raises wherry.errors.SystemFault: the daemon reports an error.
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
    """Copies bytes until the container's output ends, or the user detaches.

    :param stream: the connection.
    :param tty: True when the container has a terminal.
    :param stdin: pass standard input on.
    :param detacher: finds the detach keys, or None.
    """

    def __init__(self, stream: Stream, *, tty: bool, stdin: bool, detacher: Detacher | None = None) -> None:
        self._stream = stream
        self._output = Output(tty=tty)
        self._stdin = stdin
        self._detacher = detacher
        self._unsent = b""
        self.detached = False

    def run(self) -> bool:
        """Copy bytes. :returns: True when the user detached."""
        if self._stdin:
            self._copy_both_ways()
        else:
            while data := self._stream.recv():
                self._output.write(data)
        return self.detached

    def _copy_both_ways(self) -> None:
        """Poll both directions: a blocking send would deadlock with a program that echoes its input."""
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
        """Receive all available bytes. :returns: True at the end."""
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
