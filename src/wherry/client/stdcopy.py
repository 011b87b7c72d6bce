"""Docker's multiplexed stream: frames of standard output and standard error in one connection.

A frame is ``stream, 0, 0, 0, length (32 bit, big endian)`` and then ``length`` bytes; stream is 0 (standard input), 1
(output), 2 (error) or 3 (an error of the daemon itself). Source: the Engine API, *Attach to a container*.
"""

from __future__ import annotations

__all__ = ["Demultiplexer"]

HEADER = 8


class Demultiplexer:
    """Splits received bytes into runs of one stream each.

    Adjacent frames of the same stream are one run: a program that writes single characters costs one write
    per received buffer, not one per character.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = 1
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Process received bytes.

        :returns: pairs of stream number and bytes, in order.
        :raises ValueError: an invalid header.
        """
        runs: list[tuple[int, list[bytes]]] = []
        if self._header:
            data = self._header + data
            self._header = b""
        at, size = 0, len(data)
        while at < size:
            if not self._left:
                if size - at < HEADER:
                    self._header = data[at:]
                    break
                self._open(data[at : at + HEADER])
                at += HEADER
                continue
            end = min(size, at + self._left)
            self._left -= end - at
            if runs and runs[-1][0] == self._stream:
                runs[-1][1].append(data[at:end])
            else:
                runs.append((self._stream, [data[at:end]]))
            at = end
        return [(stream, b"".join(pieces)) for stream, pieces in runs]

    def _open(self, header: bytes) -> None:
        stream = header[0]
        if stream > 3 or header[1:4] != b"\0\0\0":
            raise ValueError(f"bad frame header {header!r} in the container's output")
        self._stream = stream
        self._left = int.from_bytes(header[4:8], "big")
