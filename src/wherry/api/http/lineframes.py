"""A log in the multiplexed form, a frame for each line: clients that read frames (docker-py, aiodocker) yield lines.

What dockerd's log drivers keep is lines. Ours keep bytes, so lines are cut here, for the price of a list and a join.
The commands ``docker`` and ``wherry`` put all frames together again, at a price for each: they get them large, and are
done many times sooner.
"""

from __future__ import annotations

from typing import Final, Protocol

from wherry.api.http.hijack import frame

__all__ = ["Frames", "LargeFrames", "LineFrames", "frames_for"]

_SHORT: Final = 4096  #: bytes of lines whose heads are made once
_PATIENCE: Final = 65_536  #: bytes without an end of line that are held back
_JOIN_FRAMES: Final = ("Docker-Client/", "wherry/")  #: beginnings of their User-Agents; libraries call themselves else


class Frames(Protocol):
    """Cuts output into frames."""

    @property
    def has_begun(self) -> bool:
        """Whether something is held back."""

    def feed(self, stream: int, data: bytes) -> bytes:
        """Return the frames that are complete now."""

    def rest(self) -> bytes:
        """Return frames of what is held back."""


def frames_for(user_agent: str) -> Frames:
    """Return the frames that a client is best served with.

    :param user_agent: what it calls itself, RFC 9110 section 10.1.5.
    """
    return LargeFrames() if user_agent.startswith(_JOIN_FRAMES) else LineFrames()


class LargeFrames:
    """Makes a frame of each piece, however many lines are in it; holds nothing back."""

    has_begun: Final = False

    def feed(self, stream: int, data: bytes) -> bytes:
        """Return the piece as a frame, or as several when it is longer than one may be."""
        return b"".join(frame(stream, data))

    def rest(self) -> bytes:
        """Return nothing."""
        return b""


class LineFrames:
    """Cuts output into frames. The beginning of a line waits for its end, or until somebody asks for it."""

    def __init__(self) -> None:
        self._heads: dict[int, list[bytes]] = {}
        self._begun: dict[int, bytes] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the beginning of a line is held back."""
        return bool(self._begun)

    def feed(self, stream: int, data: bytes) -> bytes:
        """Return the frames of all lines that are complete now."""
        if begun := self._begun.pop(stream, b""):
            data = begun + data
        lines = data.split(b"\n")
        rest = lines.pop()
        out = self._framed(stream, lines)
        if len(rest) >= _PATIENCE:
            out += b"".join(frame(stream, rest))
        elif rest:
            self._begun[stream] = rest
        return out

    def rest(self) -> bytes:
        """Return the frames of lines that have no end yet."""
        out = b"".join(piece for stream, data in sorted(self._begun.items()) for piece in frame(stream, data))
        self._begun.clear()
        return out

    def _framed(self, stream: int, lines: list[bytes]) -> bytes:
        """Frames of lines that are without their ends."""
        if not lines:
            return b""
        heads = self._heads.get(stream) or self._heads.setdefault(stream, _heads(stream))
        try:
            return b"\n".join([heads[len(line)] + line for line in lines]) + b"\n"
        except IndexError:  # one is longer
            return b"".join(piece for line in lines for piece in frame(stream, line + b"\n"))


def _heads(stream: int) -> list[bytes]:
    """The heads of frames by the length of the line that follows, whose end counts."""
    return [bytes((stream, 0, 0, 0)) + (length + 1).to_bytes(4, "big") for length in range(_SHORT)]
