"""A minimal, fast HTTP/1.1 client over a unix socket, for the Engine API.

A :class:`Transport` keeps one idle connection for the next request. A :class:`Response` is read whole, in pieces, or,
after ``101 UPGRADED``, handed over as a raw :class:`Stream`. RFC 9112 has the framing; ``http.client`` would read
the same bytes, but takes 30 ms to import.

The C module ``_socket`` is used for unix sockets: ``socket`` itself needs 4 ms for enumerations.
"""

from __future__ import annotations

import _socket

from wherry import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from wherry.client.address import Address
    from wherry.client.sockets import Socket

__all__ = ["Response", "Stream", "Transport", "query_string"]

#: The version of the API in which containers and images are inspected. The newer ones leave out what people's templates
#: have always asked for (``{{.NetworkSettings.IPAddress}}``), and the docker command that wherry's follows has not.
INSPECT_VERSION = "/v1.51"

RECEIVE = 1 << 18
MAX_HEAD = 1 << 18
LARGE = 1 << 16  #: bytes from which it is worth it not to copy a piece
CHUNK_END = b"\r\n"
ERRORS = (b"HTTP/1.1 4", b"HTTP/1.1 5")  #: how an answer begins after which nobody reads the rest of a request
LOST = "the connection to the daemon was lost"
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/")


def escape(text: str) -> str:
    """Percent-encode a text for a path or a query (RFC 3986); slashes stay."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in data)


def query_string(query: Mapping[str, object] | None) -> str:
    """Encode a query in the form of the Engine API.

    None and False are omitted, True becomes ``1``, dicts become JSON, lists repeat the
    parameter.
    """
    if not query:
        return ""
    parts: list[str] = []
    for key, value in query.items():
        parts.extend(f"{key}={escape(text)}" for text in _texts(value))
    return "?" + "&".join(parts) if parts else ""


def _texts(value: object) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return ["1"]
    if isinstance(value, dict):
        from wherry.client.codec import encode

        return [encode(value).decode()] if value else []
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return [str(value)]


class Stream:
    """A hijacked connection: raw bytes both ways.

    :ivar multiplexed: whether the bytes have Docker's 8-byte frame headers, by the content type.
    """

    def __init__(self, sock: Socket, initial: bytes, content_type: str) -> None:
        self.sock = sock
        self._initial = initial
        self.multiplexed = content_type.endswith("multiplexed-stream")

    def recv(self, size: int = RECEIVE) -> bytes:
        """Receive at most ``size`` bytes; empty at the end."""
        if self._initial:
            initial, self._initial = self._initial[:size], self._initial[size:]
            return initial
        return self.sock.recv(size)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    @property
    def buffered(self) -> bool:
        """Whether there are buffered bytes, which poll(2) does not report."""
        return bool(self._initial)

    def close_write(self) -> None:
        """End the sending direction (the daemon then closes the container's standard input)."""
        try:
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            return  # the daemon has closed the connection already

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()


class Response:
    """A response: its head has been read, its body has not.

    :ivar status: the status code.
    :ivar headers: names in lower case.
    """

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self.status, self.reason, self.headers = connection.read_head()
        while self.status in (100, 102, 103):
            self.status, self.reason, self.headers = connection.read_head()
        self._bodiless = method == "HEAD" or self.status in (204, 304)
        self._done = self._bodiless
        if self._bodiless:
            self._finish()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finish(self) -> None:
        self._done = True
        keep = self.headers.get("connection", "").lower() != "close" and self._framed()
        self._connection.release(keep=keep)

    def _framed(self) -> bool:
        return self._bodiless or "content-length" in self.headers or self._chunked()

    def _chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    def chunks(self) -> Iterator[bytes]:
        """Read the body in chunks, each as soon as it arrives.

        :raises wherry.errors.Unavailable: the connection ended in the middle.
        """
        if self._done:
            return
        try:
            yield from self._pieces()
        except BaseException:
            self.close()  # also when the caller stops half-way: the rest is not the next response
            raise
        self._finish()

    def _pieces(self) -> Iterator[bytes]:
        if self._chunked():
            return self._connection.read_chunked()
        if "content-length" in self.headers:
            return self._connection.read_exactly(int(self.headers["content-length"]))
        return self._connection.read_to_end()

    def read(self) -> bytes:
        """Read the whole body."""
        return b"".join(self.chunks())

    def json(self) -> Any:
        """Read the whole body as one JSON value; an empty one is None.

        :raises wherry.errors.Unavailable: it is not JSON.
        """
        body = self.read()
        if not body.strip():
            return None
        from wherry.client.codec import decode

        try:
            return decode(body)
        except ValueError as error:
            raise _unavailable(f"the daemon's response is not JSON: {error}") from error

    def json_values(self) -> Iterator[Any]:
        """Read the body as a stream of JSON values, each as soon as it is complete."""
        from wherry.client.ndjson import values

        return values(self.chunks())

    def hijack(self) -> Stream:
        """Hijack the connection, after 101, or 200 with a raw stream."""
        self._done = True
        return self._connection.detach(self.headers.get("content-type", ""))

    def settimeout(self, seconds: float) -> None:
        """Set the timeout for each further chunk of the body; then TimeoutError."""
        self._connection.sock.settimeout(seconds)

    def close(self) -> None:
        """Discard the unread body by closing the connection."""
        if not self._done:
            self._done = True
            self._connection.release(keep=False)


class Connection:
    """A connected socket, and the bytes that were received but not consumed."""

    def __init__(self, sock: Socket, transport: Transport) -> None:
        self.sock = sock
        self.transport = transport
        self._is_cut = False  # a request has not been sent to its end
        self._buffer = b""
        self._at = 0  # offset of the unread bytes; trimming the buffer for each small chunk would be quadratic

    def send(self, head: str, body: bytes | Iterable[bytes] | None) -> None:
        """Send a request; a body that is not bytes goes out in chunks, until the answer is an error."""
        if body is None or isinstance(body, bytes):
            self.sock.sendall(head.encode("latin-1") + (body or b""))
            return
        self.sock.sendall(head.encode("latin-1"))
        end = b""  # of the chunk before: it goes with the next one's size, so that large pieces need not be copied
        for piece in body:
            if self._is_refused():
                self._is_cut = True
                return
            if len(piece) >= LARGE:
                self.sock.sendall(b"%b%x\r\n" % (end, len(piece)))
                self.sock.sendall(piece)
                end = CHUNK_END
            elif piece:
                self.sock.sendall(b"%b%x\r\n%b\r\n" % (end, len(piece), piece))
                end = b""
        self.sock.sendall(end + b"0\r\n\r\n")

    def _is_refused(self) -> bool:
        """Whether the daemon has answered with an error already; over TLS that cannot be seen beforehand.

        Other answers may begin before a request ends: progress does.
        """
        if not isinstance(self.sock, _socket.socket):
            return False
        try:
            return self.sock.recv(len(ERRORS[0]), _socket.MSG_PEEK | _socket.MSG_DONTWAIT).startswith(ERRORS)
        except BlockingIOError:
            return False

    def _receive_more(self) -> bool:
        data = self.sock.recv(RECEIVE)
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        return bool(data)

    def _unread(self) -> int:
        return len(self._buffer) - self._at

    def _read_until(self, delimiter: bytes) -> bytes:
        """Consume bytes up to and including a delimiter."""
        while (end := self._buffer.find(delimiter, self._at)) < 0:
            if self._unread() > MAX_HEAD or not self._receive_more():
                raise _unavailable(LOST)
        found = self._buffer[self._at : end]
        self._at = end + len(delimiter)
        return found

    def read_head(self) -> tuple[int, str, dict[str, str]]:
        """Read a status line and the header fields.

        :raises wherry.errors.Unavailable: the response is not HTTP, or the connection ended.
        """
        lines = self._read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not code.isdigit():
            raise _unavailable(f"the daemon's response is not HTTP: {lines[0][:80]!r}")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(code), reason, headers

    def read_exactly(self, size: int) -> Iterator[bytes]:
        """Read a body of known size."""
        while size:
            if not self._unread() and size >= LARGE:  # it need not go through the buffer
                piece = self.sock.recv(min(size, RECEIVE))
            elif self._unread() or self._receive_more():
                piece = self._buffer[self._at : self._at + size]
                self._at += len(piece)
            else:
                piece = b""
            if not piece:
                raise _unavailable(LOST)
            size -= len(piece)
            yield piece

    def read_chunked(self) -> Iterator[bytes]:
        """Read a chunked body (RFC 9112, 7.1); small chunks that arrived together leave together."""
        ready: list[bytes] = []
        while size := self._chunk_size():
            for piece in self.read_exactly(size):
                ready.append(piece)
                if self._unread() <= len(CHUNK_END):
                    yield b"".join(ready)
                    ready = []
            self._read_until(b"\n")
        if ready:
            yield b"".join(ready)
        while self._read_until(b"\n").strip():
            pass  # trailer fields

    def _chunk_size(self) -> int:
        line = self._read_until(b"\n").partition(b";")[0].strip()
        try:
            return int(line, 16)
        except ValueError:
            raise _unavailable(f"bad chunk size {line[:20]!r} in the daemon's response") from None

    def read_to_end(self) -> Iterator[bytes]:
        """Read a body that ends with the connection."""
        while self._unread() or self._receive_more():
            piece = self._buffer[self._at :]
            self._at = len(self._buffer)
            yield piece

    def detach(self, content_type: str) -> Stream:
        """Detach the socket, with the bytes already received."""
        return Stream(self.sock, self._buffer[self._at :], content_type)

    def release(self, *, keep: bool) -> None:
        """Return the connection to its transport, or close it."""
        if keep and not self._is_cut and not self._unread() and self.transport.idle is None:
            self.transport.idle = self
        else:
            self.sock.close()


class Transport:
    """Sends requests to one daemon.

    :param address: where it listens.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.idle: Connection | None = None

    def connect(self) -> Socket:
        """Open a connection.

        :raises OSError: no daemon listens there, or access is denied.
        """
        if self.address.ssh:
            from wherry.client.ssh import connect as connect_by_ssh

            return connect_by_ssh(self.address)
        if self.address.path is None:
            from wherry.client.tcp import connect

            return connect(self.address)
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.connect(self.address.path)
        except OSError:
            sock.close()
            raise
        return sock

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send a request and read the head of the answer.

        :param path: already escaped, beginning with a slash.
        :param query: see :func:`query_string`.
        :param body: the whole body, or its chunks (sent chunked).
        :param timeout: seconds to wait for each part of the response; None waits for ever.
        :raises OSError: no connection.
        :raises wherry.errors.Unavailable: the connection broke, or the response is not HTTP.
        """
        head = self._head(method, path + query_string(query), body, headers)
        connection, self.idle = self.idle, None
        if connection is not None and (body is None or isinstance(body, bytes)):
            response = self._reuse(connection, method, head, body)
            if response is not None:
                return response
        elif connection is not None:
            connection.sock.close()  # a body that cannot be sent again gets a connection that is surely there
        connection = Connection(self.connect(), self)
        if timeout is not None:
            connection.sock.settimeout(timeout)
        return self._exchange(connection, method, head, body)

    def _reuse(self, connection: Connection, method: str, head: str, body: bytes | None) -> Response | None:
        """Reuse an idle connection; None when the daemon has closed it before this request."""
        if _is_closed(connection.sock):
            connection.sock.close()
            return None
        return self._exchange(connection, method, head, body)

    def _exchange(
        self, connection: Connection, method: str, head: str, body: bytes | Iterable[bytes] | None
    ) -> Response:
        try:
            connection.send(head, body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon may have answered (an error) without reading all of the body
        except BaseException:
            connection.sock.close()
            raise
        try:
            return Response(connection, method)
        except BaseException:
            connection.sock.close()
            raise

    @staticmethod
    def _head(method: str, target: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str] | None) -> str:
        lines = [f"{method} {target} HTTP/1.1\r\nHost: wherry\r\nUser-Agent: wherry/{__version__}\r\n"]
        if isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}\r\n")
        elif body is not None:
            lines.append("Transfer-Encoding: chunked\r\n")
        elif method in ("POST", "PUT"):
            lines.append("Content-Length: 0\r\n")
        lines += [f"{name}: {value}\r\n" for name, value in (headers or {}).items()]
        lines.append("\r\n")
        return "".join(lines)

    def close(self) -> None:
        """Close the idle connection."""
        if self.idle is not None:
            self.idle.sock.close()
            self.idle = None


def _is_closed(sock: Socket) -> bool:
    """Whether the daemon has closed an idle connection: only its end can be read from it."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.setblocking(True)
    return True


def _unavailable(message: str) -> Exception:
    from wherry.errors import Unavailable

    return Unavailable(message)
