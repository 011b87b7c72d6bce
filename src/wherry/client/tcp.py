"""Connections over TCP with TLS: the daemon listens there with mutual TLS only."""

from __future__ import annotations

import socket
import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.address import Address, TLSFiles
    from wherry.client.sockets import Socket

__all__ = ["connect"]

CONNECT_SECONDS = 30.0


def connect(address: Address) -> Socket:
    """Connect over TCP, with TLS if the address has certificates.

    :raises OSError: no connection, or the certificate is not trusted.
    """
    sock = socket.create_connection((address.host, address.port), timeout=CONNECT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls is None:
        sock.settimeout(None)
        return sock
    try:
        return TLSSocket(sock, _context(address.tls), address.host)
    except BaseException:
        sock.close()
        raise


def _context(files: TLSFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if files.cert and files.key:
        context.load_cert_chain(files.cert, files.key)
    return context


class TLSSocket:
    """TLS with half-close: one direction can end while the other goes on.

    ``ssl.SSLSocket`` cannot: its ``shutdown`` forgets the keys. A container's standard input ends long before its
    output does, so the close_notify alert is sent through memory buffers here (RFC 8446, 6.1 allows the half-close).
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._pending = b""
        self._handshake()
        sock.settimeout(None)

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
                continue
            self._flush()
            return

    def _fill(self) -> None:
        data = self._sock.recv(1 << 18)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def _flush(self) -> None:
        self._pending += self._out.read()
        while self._pending:
            sent = self._sock.send(self._pending)
            self._pending = self._pending[sent:]

    def recv(self, size: int, /) -> bytes:
        """Receive decrypted bytes; BlockingIOError on a non-blocking socket when there are none."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def send(self, data: bytes, /) -> int:
        """Send data; BlockingIOError while earlier data is still unsent."""
        self._flush()
        sent = self._tls.write(data[:16384])
        try:
            self._flush()
        except BlockingIOError:
            return sent  # encrypted already; the next call sends the rest
        return sent

    def sendall(self, data: bytes, /) -> None:
        """Send everything."""
        while data:
            data = data[self.send(data) :]

    def shutdown(self, how: int, /) -> None:
        """Send close_notify, and end this direction."""
        self._sock.setblocking(True)
        try:
            self._tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # the peer's own close_notify comes later
        finally:
            self._flush()

    def setblocking(self, flag: bool, /) -> None:
        """See :meth:`socket.socket.setblocking`."""
        self._sock.setblocking(flag)

    def settimeout(self, seconds: float | None, /) -> None:
        """See :meth:`socket.socket.settimeout`."""
        self._sock.settimeout(seconds)

    def fileno(self) -> int:
        """See :meth:`socket.socket.fileno`."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()
