"""Our reader and writer of tar archives against the standard library's and GNU tar's."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.archives import directory, link, member, tar
from wherry.errors import CorruptData, InvalidInput, TooLarge, Unsupported, WherryError
from wherry.layers.compression import Compression, detect
from wherry.layers.limits import Limits
from wherry.layers.source import Source
from wherry.layers.tar import writer
from wherry.layers.tar.entry import Entry, Kind, clean_name
from wherry.layers.tar.numeric import format_number, parse_number
from wherry.layers.tar.reader import TarReader

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = "d/" * 60 + "n" * 150


def read(data: bytes, limits: Limits | None = None) -> list[tuple[Entry, bytes]]:
    with Source(io.BytesIO(data)) as source:
        reader = TarReader(source, limits or Limits())
        found = [(entry, b"".join(reader.body())) for entry in reader]
        source.drain()
    return found


@pytest.mark.parametrize("archive_format", FORMATS)
def test_every_format_and_kind_is_read(archive_format: int) -> None:
    members = [
        directory("dir", mode=0o1777),
        member("dir/file", b"x" * 1000, mode=0o4755, mtime=123),
        link("dir/soft", "/etc/passwd"),
        link("dir/hard", "dir/file", hard=True),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=1),
        member("pipe", type=tarfile.FIFOTYPE),
    ]
    found = read(tar(members, archive_format))
    assert [(e.name.rstrip(b"/"), e.kind) for e, _ in found] == [
        (b"dir", Kind.DIRECTORY), (b"dir/file", Kind.FILE), (b"dir/soft", Kind.SYMLINK), (b"dir/hard", Kind.LINK),
        (b"null", Kind.CHARACTER), (b"disk", Kind.BLOCK), (b"pipe", Kind.FIFO),
    ]  # fmt: skip
    assert found[1][1] == b"x" * 1000
    assert (found[1][0].mode, found[1][0].mtime) == (0o4755, 123_000_000_000)
    assert (found[2][0].target, found[3][0].target) == (b"/etc/passwd", b"dir/file")
    assert [found[4][0].device, found[5][0].device] == [(1, 3), (8, 1)]


@pytest.mark.parametrize("archive_format", FORMATS[1:])
def test_long_names_large_numbers_and_odd_bytes_are_read(archive_format: int) -> None:
    found = read(tar([member(LONG, uid=3_000_000_000), link("l", LONG), member("ünï\udcff")], archive_format))
    assert found[0][0].name == LONG.encode()
    assert found[0][0].uid == 3_000_000_000
    assert found[1][0].target == LONG.encode()
    assert found[2][0].name == "ünï".encode() + b"\xff"


def test_pax_times_are_exact_and_attributes_are_bytes() -> None:
    info, _ = member("f")
    info.pax_headers = {"mtime": "1234567890.123456789", "SCHILY.xattr.user.a=b": "v\0w"}
    entry = read(tar([(info, b"")]))[0][0]
    assert entry.mtime == 1234567890123456789
    # A keyword ends at the first "=": what follows belongs to the value.
    assert entry.xattrs == {"user.a": b"b=v\0w"}


def test_an_archive_may_end_without_its_mark_but_not_within_a_file() -> None:
    data = tar([member("f", b"x" * 600)])
    for cut in (512 + 1024, 512 + 600, 512 + 700):  # without the last file's padding: Go reads it, and the CLI sends it
        assert [body for _, body in read(data[:cut])] == [b"x" * 600]
    for cut in (100, 512 + 10, 512 + 599):
        with pytest.raises(CorruptData, match="ends too early"):
            read(data[:cut])


def test_nothing_may_follow_a_block_of_zeros_but_another() -> None:
    """GNU tar stops at the first, others go on: what one sees the other does not. Go, and so dockerd, refuses it."""
    entry = header(size=1) + b"x".ljust(512, b"\0")
    assert len(read(entry + bytes(512))) == 1
    assert len(read(entry + bytes(1024) + header(b"g"))) == 1
    for rest in (header(b"g") + bytes(1024), b"x" * 512):
        with pytest.raises(CorruptData, match="no tar archive"):
            read(entry + bytes(512) + rest)
    with pytest.raises(CorruptData, match="ends too early"):
        read(entry + bytes(512) + b"x" * 100)


def test_only_v7_archives_call_a_directory_a_file_with_a_slash() -> None:
    found = [read(header(b"f/", kind) + bytes(1024))[0][0].kind for kind in (b"0", b"7", b"\0")]
    assert found == [Kind.FILE, Kind.FILE, Kind.DIRECTORY]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda b: b.replace(b"ustar", b"ustaR", 1), CorruptData),
        (lambda b: b"\0" * 100 + b[100:], CorruptData),
        (lambda b: b"not a tar archive at all" * 100, CorruptData),
    ],
)
def test_what_is_no_archive_is_refused(change: object, error: type[WherryError]) -> None:
    with pytest.raises(error, match="no tar archive"):
        read(change(tar([member("f")])))  # type: ignore[operator]


def header(name: bytes = b"f", kind: bytes = b"0", size: int = 0, size_field: bytes | None = None) -> bytes:
    block = bytearray(writer.header(Entry(name, size=size)))
    block[156:157] = kind
    if size_field is not None:
        block[124:136] = size_field.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_names_of_four_gigabytes_are_refused_without_reading_them() -> None:
    for kind in (b"L", b"K", b"x", b"g"):
        with pytest.raises(TooLarge, match="extended header of 4294967296 bytes"):
            read(header(kind=kind, size_field=b"\x80" + (4 << 30).to_bytes(11, "big")))


@pytest.mark.parametrize("size", [b"\xff" * 12, b"7x", b"-1", b"9", b"+7", b"0o7", b"1_0"])
def test_nonsense_in_numbers_is_refused(size: bytes) -> None:
    with pytest.raises(CorruptData):
        read(header(size_field=size))


def test_unknown_types_of_entries_are_refused() -> None:
    with pytest.raises(Unsupported, match="unknown type"):
        read(header(kind=b"Z"))


@pytest.mark.parametrize(
    "body",
    [b"x", b"5 a=b\n", b"99 a=b\n", b"6 a=b", b"6 abc\n", b"0 a=b\n", b"-6 a=b\n", b"11 size=-1\n", b"12 mtime=a\n"],
)
def test_malformed_pax_records_are_refused(body: bytes) -> None:
    with pytest.raises(CorruptData):
        read(header(kind=b"x", size=len(body)) + body.ljust(512, b"\0") + header() + bytes(1024))


def test_a_limit_on_entries_holds() -> None:
    with pytest.raises(TooLarge, match="more than the 5 entries"):
        read(tar([member(str(number)) for number in range(6)]), Limits(max_entries=5))
    bomb = (header(kind=b"x", size=6) + b"6 a=b\n".ljust(512, b"\0")) * 50
    with pytest.raises(TooLarge, match="too many extended headers"):
        read(bomb, Limits(max_entries=5))


@pytest.mark.parametrize("kind", [b"x", b"L"])
def test_extended_headers_without_an_entry_do_not_fill_the_memory(kind: bytes) -> None:
    body = (b"1048576 a=".ljust((1 << 20) - 1, b"x") + b"\n") if kind == b"x" else b""
    bomb = (header(kind=kind, size=len(body)) + body) * (5 if body else 9000)
    with pytest.raises(TooLarge, match="too many extended headers"):
        read(bomb + header() + bytes(1024))


@pytest.mark.parametrize("begin", [b"", b"1000\n"])
def test_a_map_of_a_sparse_file_that_does_not_end_is_not_read_to_its_end(begin: bytes) -> None:
    records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.realsize=10\n"
    body = begin + b"0" * ((2 << 20) - len(begin))
    archive = header(kind=b"x", size=len(records)) + records.ljust(512, b"\0") + header(size=len(body)) + body
    with Source(io.BytesIO(archive + bytes(1024))) as source:
        with pytest.raises(CorruptData, match="no list of numbers"):
            next(iter(TarReader(source)))
        assert len(source.take(2 << 20)) > 1 << 20, "most of it was not read"


@pytest.mark.parametrize("at", [136, 329])
def test_times_and_devices_beyond_all_numbers_are_refused(at: int) -> None:
    block = bytearray(header(kind=b"3"))
    block[at : at + 8] = b"\x80" + b"\x7f" * 7
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(CorruptData, match="cannot be"):
        read(bytes(block) + bytes(1024))


@pytest.mark.parametrize("version", ["old", "0.0", "0.1", "1.0"])
def test_gnu_tars_sparse_files_are_read(tmp_path: Path, version: str) -> None:
    if shutil.which("tar") is None:
        pytest.skip("needs GNU tar")
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for number in range(30):
            file.seek(number * 1_000_000)
            file.write(b"%02d" % number * 3000)
        file.truncate(40_000_000)
    form = ["--format=gnu"] if version == "old" else ["--format=posix", f"--sparse-version={version}"]
    command = ["tar", "-C", str(tmp_path), "--sparse", *form, "-cf", "-", "sparse"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    [(entry, stored)] = read(packed)
    assert (entry.name, entry.full_size) == (b"sparse", 40_000_000)
    assert entry.sparse is not None
    whole, position = bytearray(entry.full_size), 0
    for offset, length in entry.sparse:
        whole[offset : offset + length] = stored[position : position + length]
        position += length
    assert bytes(whole) == path.read_bytes()


def test_clean_names_stay_inside() -> None:
    assert clean_name(b"./a//b/../c/") == b"a/c"
    assert clean_name(b"/a") == b"a"
    assert clean_name(b"./") == b""
    for up, inside in ((b"..", b""), (b"../a", b"a"), (b"a/../../b", b"b"), (b"/../a", b"a"), (b"../../a/..", b"")):
        assert clean_name(up) == inside
        with pytest.raises(InvalidInput):
            clean_name(up, strict=True)
    for bad in (b"n" * 5000, b"a/" * 3000):
        with pytest.raises(InvalidInput):
            clean_name(bad)


ENTRIES = st.builds(
    Entry,
    name=st.binary(min_size=1, max_size=300).filter(
        # an archive begins with its first name: one like the head of a compressed stream is taken for that
        lambda n: b"\0" not in n and b"\n" not in n and not n.endswith(b"/") and detect(n) is Compression.PLAIN
    ),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(10**9), 2**33).map(lambda seconds: seconds * 1_000_000_000),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "security.capability"]), st.binary(max_size=50)),
)


@pytest.mark.slow
@given(ENTRIES, st.binary(max_size=1500))
def test_what_the_writer_writes_the_reader_reads(entry: Entry, data: bytes) -> None:
    entry.size = entry.full_size = len(data)
    packed = writer.header(entry) + data + writer.padding(len(data)) + writer.END
    assert read(packed) == [(entry, data)]


@given(ENTRIES)
def test_what_the_writer_writes_the_standard_library_reads(entry: Entry) -> None:
    packed = writer.header(entry) + writer.END
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        [info] = archive.getmembers()
    assert info.name.encode("utf-8", "surrogateescape") == entry.name
    assert (info.mode, info.uid, info.gid) == (entry.mode, entry.uid, entry.gid)
    assert int(info.mtime) * 1_000_000_000 == entry.mtime


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_archive_gives_an_error_of_ours_or_nothing_worse(data: st.DataObject) -> None:
    packed = bytearray(tar([directory("d"), member(LONG, b"y" * 700), link("d/l", "x" * 200)]))
    for _ in range(data.draw(st.integers(1, 8))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(packed[: data.draw(st.integers(0, len(packed)))]), Limits(max_entries=100))
    except WherryError:
        return


@given(st.integers(0, 2**63), st.sampled_from([8, 12]))
def test_numbers_survive(value: int, width: int) -> None:
    if value < 2 ** (8 * width - 9):
        assert parse_number(format_number(value, width)) == value


@pytest.mark.slow
def test_many_entries_are_read_quickly() -> None:
    packed = tar([member(f"d{number % 100}/f{number}", b"x") for number in range(10_000)])
    before = os.times()
    assert len(read(packed)) == 10_000
    after = os.times()
    assert after.user + after.system - before.user - before.system < 2
