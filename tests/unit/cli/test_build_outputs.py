"""``wherry build --output``: what the flag means, and files of others' that come to this side."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from wherry.cli.build.outputs import outputs_of, unpack, unpack_layout
from wherry.cli.build.query import query_of
from wherry.cli.commands.image.build import COMMAND
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import parse
from wherry.errors import CorruptData, InvalidInput, TooLarge, Unavailable, WherryError
from wherry.layers.limits import Limits


def meant(words: str) -> list[tuple[str, dict[str, str], str]]:
    return [(one.kind, one.attributes, one.destination) for one in outputs_of(parse(COMMAND.flags, words.split())[0])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [("moby", {}, "")]),
        ("-o out", [("local", {}, "out")]),
        ("-o -", [("tar", {}, "-")]),
        ("-o type=local,dest=a/b", [("local", {}, "a/b")]),
        ("-o type=tar", [("tar", {}, "-")]),
        ("-o type=oci,dest=x,compression=zstd --squash", [("oci", {"compression": "zstd", "layers": "stage"}, "x")]),
        ("-o type=docker,dest=x", [("docker", {}, "x")]),
        ("-o type=docker", [("moby", {}, "")]),
        ("-o type=oci,dest=x,tar=false,compression=zstd", [("oci", {"compression": "zstd"}, "x")]),
        ("-o type=registry,name=n", [("moby", {"name": "n", "push": "true"}, "")]),
        ("-o out --load", [("local", {}, "out"), ("moby", {}, "")]),
        ("-o out --push", [("local", {}, "out"), ("moby", {"push": "true"}, "")]),
        ("-o type=cacheonly", [("cacheonly", {}, "")]),
        ("-o a -o type=image -o -", [("local", {}, "a"), ("moby", {}, ""), ("tar", {}, "-")]),
    ],
)
def test_places_are_named_as_buildx_has_them(words: str, expected: list[Any]) -> None:
    assert meant(words) == expected


@pytest.mark.parametrize(
    "words",
    [
        "-o type=local", "-o type=local,dest=-", "-o type=x", "-o dest=x", "-o type=image,dest=x", "-o - -o type=oci",
        "-o type=oci,tar=false", "-o type=oci,tar=false,dest=-", "-o type=cacheonly,dest=x", " ".join(["-o x"] * 17),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(words: str) -> None:
    with pytest.raises(Exit):
        meant(words)


def test_the_daemon_does_not_learn_where_files_go_here() -> None:
    options = parse(COMMAND.flags, ["-o", "/very/secret", "-o", "type=tar,dest=/other/secret"])[0]
    query = query_of(options, "", "", outputs_of(options))
    assert json.loads(str(query["outputs"])) == [{"Type": "local", "Attrs": {}}, {"Type": "tar", "Attrs": {}}]
    assert "secret" not in str(query)


# --- OCI layouts ----------------------------------------------------------------------------------


def listed(name: str, number: int) -> dict[str, Any]:
    notes = {"io.containerd.image.name": name} if name else None
    return {"digest": f"sha256:{number:064x}", "size": 1, **({"annotations": notes} if notes else {})}


def layout(*entries: dict[str, Any]) -> bytes:
    """An archive of images, with a blob for each."""
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    blobs = [(f"blobs/sha256/{one['digest'][7:]}", FILE, {"content": b"x"}) for one in entries]
    return archive(("index.json", FILE, {"content": index}), *blobs)


def test_images_in_a_layout_stay_beside_those_that_come(tmp_path: Path) -> None:
    root = str(tmp_path / "layout")
    for entries in ([listed("a", 1), listed("", 2)], [listed("b", 3)], [listed("a", 4)], [listed("", 2)]):
        unpack_layout(pieces(layout(*entries)), root)
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert index == {"schemaVersion": 2, "manifests": [listed("b", 3), listed("a", 4), listed("", 2)]}
    assert len(os.listdir(tmp_path / "layout/blobs/sha256")) == 4
    assert sorted(os.listdir(root)) == ["blobs", "index.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": 1}', '{"manifests": [1]}'])
def test_a_layout_that_is_none_is_found_out_before_the_build(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    options = parse(COMMAND.flags, ["-o", f"type=oci,tar=false,dest={tmp_path}"])[0]
    with pytest.raises(Exit, match=r"index\.json"):
        outputs_of(options)[0].check()


# --- archives of others ---------------------------------------------------------------------------


def archive(*members: tuple[str, bytes, dict[str, Any]]) -> bytes:
    """Members by name, type, and what else there is; ``content`` is a file's."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, more in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o755
            content = more.pop("content", b"")
            for key, value in more.items():
                setattr(member, key, value)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def pieces(content: bytes) -> Iterator[bytes]:
    return iter([content[at : at + 1000] for at in range(0, len(content), 1000)])


FILE, LINK, HARD, DIRECTORY = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
HOSTILE: dict[str, list[tuple[str, bytes, dict[str, Any]]]] = {
    "up": [("../outside", FILE, {"content": b"bad"})],
    "far up": [("a/../../outside", FILE, {"content": b"bad"})],
    "absolute": [("{outside}", FILE, {"content": b"bad"})],
    "through a link": [("a", LINK, {"linkname": ".."}), ("a/outside", FILE, {"content": b"bad"})],
    "through an absolute link": [("a", LINK, {"linkname": "{above}"}), ("a/outside", FILE, {"content": b"bad"})],
    "over a link": [("a", LINK, {"linkname": "{outside}"}), ("a", FILE, {"content": b"bad"})],
    "a directory over a link": [
        ("a", LINK, {"linkname": "{above}"}), ("a", DIRECTORY, {}), ("a/outside", FILE, {"content": b"bad"}),
    ],
    "a hard link": [("a", HARD, {"linkname": "../outside"}), ("a", FILE, {"content": b"bad"})],
    "a hard link to a link": [
        ("l", LINK, {"linkname": "{outside}"}), ("a", HARD, {"linkname": "l"}), ("a", FILE, {"content": b"bad"}),
    ],
    "over a link that was there": [("there", FILE, {"content": b"bad"})],
    "through a link that was there": [("above/outside", FILE, {"content": b"bad"})],
    "a mode through a link": [("there", HARD, {"linkname": "above/outside"}), ("outside", FILE, {"mode": 0o6777})],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_outside_of_the_directory_is_touched(name: str, tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.write_text("mine")
    outside.chmod(0o600)
    root.mkdir()
    (root / "there").symlink_to(outside)
    (root / "above").symlink_to(tmp_path)
    before = outside.stat()
    members = [
        (
            path.format(outside=outside),
            kind,
            {key: value.format(outside=outside, above=tmp_path) if isinstance(value, str) else value
             for key, value in more.items()},
        )
        for path, kind, more in HOSTILE[name]
    ]  # fmt: skip
    with suppress(WherryError):  # what cannot be inside may be refused
        unpack(pieces(archive(*members)), str(root))
    assert outside.read_text() == "mine"
    after = outside.stat()
    assert (after.st_mode, after.st_nlink, after.st_mtime_ns) == (before.st_mode, 1, before.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root"]


def test_files_have_no_rights_that_others_gave_them(tmp_path: Path) -> None:
    capability = {"SCHILY.xattr.security.capability": "\x01", "SCHILY.xattr.user.a": "b"}
    content = archive(
        ("tool", FILE, {"mode": 0o6755, "uid": 0, "gid": 0, "content": b"x", "pax_headers": capability}),
        ("shared", DIRECTORY, {"mode": 0o7777}),
        ("closed", DIRECTORY, {"mode": 0o000}),
        ("closed/inside", FILE, {"content": b"y"}),
        ("device", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}),
        ("disk", tarfile.BLKTYPE, {"devmajor": 8, "devminor": 0}),
        ("fifo", tarfile.FIFOTYPE, {}),
        ("again", HARD, {"linkname": "tool"}),
    )
    unpack(pieces(content), str(tmp_path / "root"))
    root = tmp_path / "root"
    assert {path.name: stat.S_IMODE(path.lstat().st_mode) for path in root.iterdir()} == {
        "tool": 0o755, "again": 0o755, "shared": 0o1777, "closed": 0o700,
    }  # fmt: skip
    assert {path.lstat().st_uid for path in root.rglob("*")} == {os.getuid()}
    assert os.listxattr(root / "tool") == []
    assert (root / "closed/inside").read_bytes() == b"y"


def test_an_archive_that_is_cut_off_or_endless_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive(("a", FILE, {"content": bytes(100_000)}), ("b", FILE, {}))
    with pytest.raises(CorruptData):
        unpack(pieces(content[:50_000]), str(tmp_path / "x"))

    def lost() -> Iterator[bytes]:
        yield content
        raise Unavailable("the connection to the daemon was lost")

    with pytest.raises(Unavailable):
        unpack(lost(), str(tmp_path / "y"))
    monkeypatch.setattr("wherry.layers.limits.DEFAULT_LIMITS", Limits(max_bytes=50_000))
    with pytest.raises((InvalidInput, TooLarge)):
        unpack(pieces(content), str(tmp_path / "z"))
