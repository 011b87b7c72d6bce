"""The source of a layer's bytes: digest, decompression, diff ID and read-ahead in one pass.

A thread of its own reads, hashes and decompresses; all three release the interpreter, so they run beside the unpacking.
Where there is nothing to be done but to read, a thread would only hold up: then who wants the bytes reads them.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

from wherry.errors import CorruptData, SystemFault
from wherry.layers.compression import Compression, decompress, detect
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["Reader", "Source"]

_READ: Final = 256 * 1024
_AHEAD: Final = 8
_READ_ALONE: Final = 1024 * 1024  # what nobody reads ahead: as much as the body of a request gives at once


class Reader(Protocol):
    """A readable stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Source:
    """The uncompressed bytes of a stream, to be taken in order by one thread.

    Use it in a ``with`` block: leaving it ends the thread behind it.

    :param raw: the stream, compressed or not.
    :param limits: what it may expand to.
    :param hashed: whether its digests are wanted; they cost most of the time.
    """

    def __init__(self, raw: Reader, limits: Limits = DEFAULT_LIMITS, *, hashed: bool = True) -> None:
        self.compression = Compression.PLAIN
        self.packed_size = 0
        self.size = 0
        self._limits = limits
        self._hashed = hashed
        self._raw = raw
        self._packed_hash = hashlib.sha256()
        self._hash = hashlib.sha256()
        self._chunk = memoryview(b"")
        self._ended = False
        self._stopped = threading.Event()
        self._alone: Iterator[bytes] | None = None
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._thread: threading.Thread | None = None
        if hashed:
            self._start(self._unpacked())

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes, or fewer where the stream ends."""
        if len(self._chunk) >= count:
            piece, self._chunk = self._chunk[:count], self._chunk[count:]
            return bytes(piece)
        return b"".join(self.pieces(count))

    def pieces(self, count: int) -> Iterator[memoryview]:
        """`count` bytes in pieces, without copying; fewer where the stream ends."""
        while count > 0 and (self._chunk or self._refill()):
            piece, self._chunk = self._chunk[:count], self._chunk[count:]
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        """Pass over `count` bytes.

        :raises CorruptData: the stream ends before.
        """
        for piece in self.pieces(count):
            count -= len(piece)
        if count:
            raise CorruptData("the archive ends too early")

    def drain(self) -> None:
        """Read to the end: the digests cover what stands behind an archive's end, too."""
        while self._refill():
            pass

    @property
    def digest(self) -> Digest:
        """The digest of the stream as it came; of the whole of it, after :meth:`drain`."""
        return self.diff_id if self.compression is Compression.PLAIN else Digest.from_hash(self._packed_hash)

    @property
    def diff_id(self) -> Digest:
        """The digest of the uncompressed bytes; of all of them, after :meth:`drain`."""
        return Digest.from_hash(self._hash)

    def close(self) -> None:
        """End the thread; it may take until the stream has given what was asked of it."""
        self._stopped.set()
        if self._thread is None:
            return
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refill(self) -> bool:
        """Take the next chunk; False at the end."""
        if self._ended:
            return False
        chunk = b""
        try:
            chunk = self._next()
        finally:
            self._chunk, self._ended = memoryview(chunk), not chunk
        return not self._ended

    def _next(self) -> bytes:
        """The next chunk, empty at the end."""
        if self._thread is None and self._alone is None:
            self._begin()
        if self._alone is not None:
            return next(self._alone, b"")
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item or b""

    def _begin(self) -> None:
        """Look at the first bytes: what is compressed gets a thread, what is not is read by who wants it."""
        head, packed = self._head(_READ_ALONE)
        unpacked = self._checked(head, packed)
        if self.compression is Compression.PLAIN:
            self._alone = unpacked
        else:
            self._start(unpacked)

    def _start(self, chunks: Iterator[bytes]) -> None:
        self._thread = threading.Thread(target=self._run, args=(chunks,), name="layer source", daemon=True)
        self._thread.start()

    def _run(self, chunks: Iterator[bytes]) -> None:
        """The thread. Whatever goes wrong is raised where the bytes are wanted, hence the broad except."""
        end: BaseException | None = None
        try:
            for chunk in chunks:
                if self._stopped.is_set():
                    return
                self._queue.put(chunk)
        except BaseException as exc:
            end = exc
        self._queue.put(end)

    def _unpacked(self) -> Iterator[bytes]:
        yield from self._checked(*self._head(_READ))

    def _head(self, size: int) -> tuple[bytes, Iterator[bytes]]:
        """The first bytes, by which the compression is known, and the others, `size` at a time."""
        packed = self._packed(size)
        head = next(packed, b"")
        while len(head) < 6 and (more := next(packed, b"")):
            head += more
        self.compression = detect(head)
        return head, packed

    def _checked(self, head: bytes, packed: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in decompress(self.compression, self._counted(head, packed)):
            if self._hashed:
                self._hash.update(chunk)
            self.size += len(chunk)
            self._limits.check_expansion(self.packed_size, self.size)
            yield chunk

    def _packed(self, size: int) -> Iterator[bytes]:
        while not self._stopped.is_set() and (chunk := self._read(size)):
            self.packed_size += len(chunk)
            yield chunk

    def _read(self, size: int) -> bytes:
        try:
            return self._raw.read(size)
        except OSError as exc:
            raise SystemFault("cannot read the archive", cause=str(exc)) from exc

    def _counted(self, head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
        """All packed bytes; those of a plain stream are hashed once only, as the diff ID."""
        for chunk in chain([head] if head else [], rest):
            if self._hashed and self.compression is not Compression.PLAIN:
                self._packed_hash.update(chunk)
            yield chunk
