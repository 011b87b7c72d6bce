"""What criu is asked and answers, as bytes; and what is read of an image's directory, which may lie."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wherry.errors import CorruptData, InvalidInput, NotFound
from wherry.runtime.criu import image
from wherry.runtime.criu.messages import Kind, Options, Response, request
from wherry.runtime.criu.mounts import External
from wherry.runtime.criu.wire import decode, encode, signed


def test_a_message_is_what_protobuf_makes_of_it() -> None:
    # protoc --encode of the same message
    assert encode([(1, 150), (2, "testing"), (3, [(1, 150)]), (4, -1)]).hex() == (
        "089601120774657374696e671a03089601" + "20ffffffffffffffffff01"
    )
    fields = decode(bytes.fromhex("089601120774657374696e67") + b"\x25\1\0\0\0" + b"\x20" + b"\xff" * 9 + b"\1")
    assert fields[1] == 150
    assert fields[2] == b"testing"
    assert isinstance(fields[4], int)
    assert signed(fields[4]) == -1


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x12\x05ab", b"\x0b", b"\x08" + b"\x80" * 11, b"\x25\0", b"\x12" + b"\xff" * 9 + b"\1"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptData):
        decode(data)


def test_a_request_has_its_lists_and_leaves_out_what_is_not_set() -> None:
    options = Options(images_dir_fd=0, pid=7, leave_running=True, shell_job=False, root="")
    options.ext_mnt.append(("/data", "/srv"))
    options.inherit_fd.append(("pipe:[9]", 5))
    options.page_server = ("::1", 27)
    fields = decode(request(Kind.DUMP, options))
    assert fields[1] == Kind.DUMP
    assert isinstance(fields[2], bytes)
    inner = decode(fields[2])
    assert (inner[1], inner[2], inner[3]) == (0, 7, 1)
    assert not {7, 13} & set(inner)
    assert inner[23] == encode([(1, "/data"), (2, "/srv")])
    assert inner[27] == encode([(1, "pipe:[9]"), (2, 5)])
    assert inner[11] == encode([(1, "::1"), (2, 27)])


def test_an_answer_is_read_and_half_of_one_is_not() -> None:
    notified = encode([(1, 6), (2, True), (5, [(1, "post-restore"), (2, 42)])])
    assert Response.read(notified) == Response(6, True, 42, "post-restore")
    assert Response.read(encode([(1, 2), (2, False), (7, 52), (9, "why")])) == Response(2, False, 0, "", 52, "why")
    for wrong in (b"", encode([(1, 2)]), encode([(1, "x"), (2, True)])):
        with pytest.raises(CorruptData):
            Response.read(wrong)


def test_what_stays_outside_is_written_and_read_again(tmp_path: Path) -> None:
    mounts = [External("/data", "/data"), External("/run/a b", "/var/run/a b"), External("/data/sub", "/data", "sub")]
    (tmp_path / "external.json").symlink_to("/etc/passwd")
    with image.opened(str(tmp_path), "image") as images:
        image.write_external(images, mounts)
        assert image.read_external(images) == mounts
        assert image.read_streams(images) == []


@pytest.mark.parametrize(
    "row",
    [
        ["/", "/data", ""],
        ["data", "/data", ""],
        ["/data/../..", "/data", ""],
        ["/data", "/data", "../../etc"],
        ["/data", "/data", "/etc"],
        ["/data", "/data", "a/./b"],
        ["/data\0", "/data", ""],
        ["/data", "/data"],
        "/data",
        [1, 2, 3],
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, row: object) -> None:
    (tmp_path / "external.json").write_text(json.dumps({"mounts": [row]}))
    with image.opened(str(tmp_path), "image") as images, pytest.raises(CorruptData):
        image.read_external(images)


def test_a_link_or_a_fifo_in_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "external.json")
    (tmp_path / "descriptors.json").symlink_to("/dev/zero")
    with image.opened(str(tmp_path), "image") as images:
        with pytest.raises(CorruptData, match="no file"):
            image.read_external(images)
        with pytest.raises(CorruptData, match="cannot be read"):
            image.read_streams(images)
        (tmp_path / "descriptors.json").unlink()
        (tmp_path / "descriptors.json").write_text("[" * 100_000)
        with pytest.raises(CorruptData, match="no JSON"):
            image.read_streams(images)


def test_an_image_is_a_directory_and_no_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="is no directory"):
        image.opened(str(tmp_path / "link"), "image", make=True)
    with pytest.raises(InvalidInput, match="is no directory"):
        image.opened(str(tmp_path / "file"), "image", make=True)
    with pytest.raises(NotFound):
        image.opened(str(tmp_path / "missing"), "image")
    image.opened(str(tmp_path / "link"), "work directory", make=True, links=True).close()
    with image.opened(str(tmp_path / "made/deep"), "image", make=True):
        assert os.stat(tmp_path / "made/deep").st_mode & 0o777 == 0o700
