"""Compressed layers: every kind, damaged, cut short, in several members, and bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import CorruptData, SystemFault, TooLarge
from wherry.layers import limits
from wherry.layers.compression import PIECE, Compression, decompress, detect
from wherry.layers.limits import Limits
from wherry.layers.source import Source
from wherry.oci.digest import Digest

PACKERS = {
    Compression.PLAIN: lambda data: data,
    Compression.GZIP: lambda data: gzip.compress(data, mtime=0),
    Compression.ZSTD: zstandard.ZstdCompressor(write_checksum=True).compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
}
DATA = bytes(range(256)) * 300 + os.urandom(40_000)
COMPRESSED = [kind for kind in Compression if kind is not Compression.PLAIN]


def unpacked(packed: bytes, size: int = 1000) -> bytes:
    chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
    return b"".join(decompress(detect(packed[:6]), chunks))


@pytest.mark.parametrize("kind", Compression)
def test_every_kind_is_recognised_and_unpacked(kind: Compression) -> None:
    packed = PACKERS[kind](DATA)
    assert detect(packed[:6]) is kind
    assert unpacked(packed) == DATA
    assert unpacked(packed, size=7) == DATA


@pytest.mark.parametrize("kind", COMPRESSED)
def test_members_follow_each_other_with_padding_between(kind: Compression) -> None:
    one, two = PACKERS[kind](b"one"), PACKERS[kind](b"two")
    assert unpacked(one + two) == b"onetwo"
    assert unpacked(one + bytes(512) + two + bytes(100)) == b"onetwo"


def test_zstd_frames_that_are_to_be_skipped_are_skipped() -> None:
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    assert unpacked(skipped + PACKERS[Compression.ZSTD](b"x") + skipped) == b"x"


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_stream_that_is_cut_short_is_an_error(kind: Compression) -> None:
    packed = PACKERS[kind](DATA)
    for cut in (10, len(packed) // 2, len(packed) - 1):
        with pytest.raises(CorruptData):
            unpacked(packed[:cut])


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_damaged_stream_is_an_error(kind: Compression) -> None:
    packed = bytearray(PACKERS[kind](DATA))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(CorruptData):
        unpacked(bytes(packed))
    with pytest.raises(CorruptData):
        unpacked(PACKERS[kind](DATA) + b"garbage")


@pytest.mark.parametrize(
    ("kind", "size", "most"),
    [
        (Compression.GZIP, 12, 1),
        (Compression.BZIP2, 12, 1),
        (Compression.XZ, 12, 1),
        (Compression.ZSTD, 160, 65),  # what one spoonful stands for, and a piece
    ],
)
def test_pieces_stay_small_whatever_the_ratio(kind: Compression, size: int, most: int) -> None:
    packed = PACKERS[kind](bytes(size * PIECE))
    tracemalloc.start()
    for piece in decompress(kind, [packed]):
        assert len(piece) <= most * PIECE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (2 * most + 16) * PIECE  # one is made while the one before is there; a dictionary has 8 MiB


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.ZSTD])
def test_a_bomb_is_stopped_while_it_goes_off(kind: Compression, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits._HARMLESS == 256 << 20
    monkeypatch.setattr(limits, "_HARMLESS", 16 * PIECE)
    packed = PACKERS[kind](bytes(40 * PIECE))
    with pytest.raises(TooLarge, match="400 times its size"), Source(io.BytesIO(packed)) as source:
        source.drain()
    with pytest.raises(TooLarge, match="more than the 1000 bytes"), Source(io.BytesIO(packed), Limits(1000)) as source:
        source.drain()


@pytest.mark.parametrize("kind", Compression)
def test_a_source_knows_both_digests_and_sizes(kind: Compression) -> None:
    packed = PACKERS[kind](DATA)
    with Source(io.BytesIO(packed)) as source:
        assert source.take(5) == DATA[:5]
        assert b"".join(source.pieces(300_000)) == DATA[5:300_005]
        source.drain()
        assert source.diff_id == Digest.from_bytes(DATA)
        assert source.digest == Digest.from_bytes(packed)
        assert (source.packed_size, source.size, source.compression) == (len(packed), len(DATA), kind)


def test_a_source_that_is_left_early_ends_its_thread() -> None:
    with Source(io.BytesIO(bytes(50 * PIECE))) as source:
        source.take(1)
        thread = source._thread
    assert not thread.is_alive()


def test_a_stream_that_breaks_is_not_called_corrupt() -> None:
    class Broken:
        def read(self, _size: int) -> bytes:
            raise ConnectionResetError("the client has left")

    with pytest.raises(SystemFault, match="the client has left") as caught, Source(Broken()) as source:
        source.drain()
    assert not isinstance(caught.value, CorruptData)


@given(st.binary(max_size=200))
def test_any_bytes_are_unpacked_or_an_error_of_ours(data: bytes) -> None:
    for magic in (b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0"):
        with pytest.raises(CorruptData):
            unpacked(magic + data)
