"""Each line of a log is a frame of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.api.http.lineframes import LargeFrames, LineFrames, frames_for


def cut(stream: bytes) -> list[tuple[int, bytes]]:
    """Cut frames apart: the stream's number and the data."""
    found = []
    while stream:
        length = int.from_bytes(stream[4:8], "big")
        assert stream[1:4] == bytes(3)
        found.append((stream[0], stream[8 : 8 + length]))
        stream = stream[8 + length :]
    return found


def test_each_line_is_a_frame() -> None:
    frames = LineFrames()
    assert cut(frames.feed(1, b"one\n\ntwo\r\nthr")) == [(1, b"one\n"), (1, b"\n"), (1, b"two\r\n")]
    assert frames.has_begun
    assert cut(frames.feed(2, b"error\n")) == [(2, b"error\n")]
    assert cut(frames.feed(1, b"ee\n")) == [(1, b"three\n")]
    assert not frames.has_begun


def test_the_beginning_of_a_line_comes_when_it_is_asked_for() -> None:
    frames = LineFrames()
    assert frames.feed(1, b"login: ") == b""
    assert cut(frames.rest()) == [(1, b"login: ")]
    assert frames.rest() == b""


@pytest.mark.parametrize(
    ("user_agent", "large"),
    [("Docker-Client/28.0.1 (linux)", True), ("wherry/0.1.0", True), ("docker-sdk-python/7.1.0", False),
     ("Python/3.11 aiohttp/3.9", False), ("Go-http-client/1.1", False), ("compose/v2.33.1", False), ("", False)],
)  # fmt: skip
def test_who_joins_all_frames_again_gets_them_large(user_agent: str, large: bool) -> None:
    frames = frames_for(user_agent)
    assert isinstance(frames, LargeFrames) is large
    found = cut(frames.feed(2, b"one\ntwo\nthr") + frames.rest() + frames.feed(1, b"ee\n") + frames.rest())
    assert (found == [(2, b"one\ntwo\nthr"), (1, b"ee\n")]) is large


def test_long_lines_are_frames_too_and_endless_ones_do_not_wait() -> None:
    frames = LineFrames()
    assert cut(frames.feed(1, b"a" * 5000 + b"\nb\n")) == [(1, b"a" * 5000 + b"\n"), (1, b"b\n")]
    assert cut(frames.feed(1, b"c" * 100_000)) == [(1, b"c" * 100_000)]


PIECES = st.binary(max_size=10) | st.sampled_from([b"\n", b"a\n", b"\n\nb", b"x" * 5000])


@given(st.lists(st.tuples(st.sampled_from([1, 2]), PIECES), max_size=12))
def test_no_byte_is_lost_and_no_frame_has_two_lines(chunks: list[tuple[int, bytes]]) -> None:
    frames = LineFrames()
    found = cut(b"".join(frames.feed(stream, data) for stream, data in chunks) + frames.rest())
    for stream in (1, 2):
        given_bytes = b"".join(data for number, data in chunks if number == stream)
        assert b"".join(data for number, data in found if number == stream) == given_bytes
    assert all(b"\n" not in data[:-1] for _, data in found)
