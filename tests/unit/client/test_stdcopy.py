"""Frames are put together again, wherever the network cut them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.client.stdcopy import Demultiplexer

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=12)


def framed(frames: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in frames)


def merged(runs: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    result: list[tuple[int, bytes]] = []
    for stream, data in runs:
        if not data:
            continue
        if result and result[-1][0] == stream:
            result[-1] = (stream, result[-1][1] + data)
        else:
            result.append((stream, data))
    return result


@given(FRAMES, st.integers(1, 50))
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    demultiplexer, runs = Demultiplexer(), []
    data = framed(frames)
    for at in range(0, len(data), size):
        runs += demultiplexer.feed(data[at : at + size])
    assert merged(runs) == merged(frames)


def test_neighbours_of_one_stream_leave_as_one_run() -> None:
    assert Demultiplexer().feed(framed([(1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")])) == [
        (1, b"ab"),
        (2, b"c"),
        (1, b"d"),
    ]


@pytest.mark.parametrize("header", [b"\x04\0\0\0\0\0\0\x01", b"\x01\0\x01\0\0\0\0\x01", b"HTTP/1.1"])
def test_what_is_no_frame_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="bad frame header"):
        Demultiplexer().feed(header + b"x")
