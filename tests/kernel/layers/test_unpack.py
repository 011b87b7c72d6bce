"""Unpacking as root: owners, devices, attributes, whiteouts; and archives that mean harm."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from quiet import in_time
from support.archives import Member, directory, link, member, tar
from support.needs import need
from wherry.content.durable import remove_tree
from wherry.errors import InvalidInput, WherryError
from wherry.layers.tree_digest import tree_digest
from wherry.layers.unpack import Unpacked, unpack
from wherry.linux.trees import Files

pytestmark = need("root")

CAPABILITY = b"\x01\x00\x00\x02" + b"\x00\x20" + bytes(14)


def attributed(name: str, **attributes: bytes) -> Member:
    info, data = member(name, b"x")
    info.pax_headers = {
        "SCHILY.xattr." + key.replace("__", "."): value.decode("utf-8", "surrogateescape")
        for key, value in attributes.items()
    }
    return info, data


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    path.mkdir()
    return path


def put(target: Path, *members: Member, below: tuple[Path, ...] = ()) -> Unpacked:
    return unpack(io.BytesIO(tar(members)), target, [str(path) for path in below])


def opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


# --- honest archives --------------------------------------------------------------------------------------------------


def test_everything_about_a_file_is_kept(target: Path) -> None:
    unpacked = put(
        target,
        directory("d", mode=0o2750, uid=10, gid=20, mtime=1000),
        member("d/suid", b"12345", mode=0o4711, uid=1234, gid=70000, mtime=2000),
        link("d/soft", "/absolute/and/dangling", uid=5, gid=6, mtime=3000),
        link("hard", "d/suid", hard=True),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("pipe", type=tarfile.FIFOTYPE, mode=0o640),
        attributed("able", security__capability=CAPABILITY, user__note=b"\x00\xff"),
    )
    status = (target / "d/suid").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (0o4711, 1234, 70000, 2000)
    assert (target / "hard").stat().st_ino == status.st_ino
    folder = (target / "d").stat()
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid, folder.st_gid, folder.st_mtime) == (0o2750, 10, 20, 1000)
    soft = (target / "d/soft").lstat()
    assert (os.readlink(target / "d/soft"), soft.st_uid, soft.st_gid, soft.st_mtime) == (
        "/absolute/and/dangling", 5, 6, 3000,
    )  # fmt: skip
    null = (target / "null").stat()
    assert (stat.S_ISCHR(null.st_mode), null.st_rdev, stat.S_IMODE(null.st_mode)) == (True, os.makedev(1, 3), 0o666)
    assert stat.S_ISFIFO((target / "pipe").stat().st_mode)
    assert os.getxattr(target / "able", "security.capability") == CAPABILITY
    assert os.getxattr(target / "able", "user.note") == b"\x00\xff"
    assert (unpacked.size, unpacked.entries) == (6, 7)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("owner", [(0, 0), (0, 6), (5, 0), (5, 6)])
def test_owner_and_mode_are_the_archives_whatever_new_files_are_like(
    target: Path, mask: int, owner: tuple[int, int]
) -> None:
    """The process's mask, the group of a directory that hands it on, and a list of rights that it hands on as well."""
    for name, mode in (("plain", 0o755), ("handing-on", 0o2755)):
        (target / name).mkdir()
        os.chown(target / name, 7, 8)
        (target / name).chmod(mode)
    # version 2; the owner rwx, the group rwx, user 9 rwx, the mask rwx, others none
    rights = [(1, 7, 2**32 - 1), (2, 7, 9), (4, 7, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)]
    os.mkdir(target / "listed")
    with suppress(OSError):  # not every file system has them
        value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in rights)
        os.setxattr(target / "listed", "system.posix_acl_default", value)
    modes = (0o000, 0o400, 0o600, 0o644, 0o640, 0o755, 0o777, 0o4755, 0o2711, 0o6644)
    members = []
    for place in ("plain", "handing-on", "listed"):
        for mode in modes:
            info, data = member(f"{place}/{mode:o}", b"x")
            info.mode, info.uid, info.gid = mode, *owner
            members.append((info, data))
    before = os.umask(mask)
    try:
        put(target, *members)
    finally:
        os.umask(before)
    for place in ("plain", "handing-on", "listed"):
        for mode in modes:
            status = (target / place / f"{mode:o}").stat()
            assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, *owner), (place, oct(mode))


def test_the_result_is_what_gnu_tar_makes(tmp_path: Path, target: Path) -> None:
    packed = subprocess.run(
        ["tar", "-C", "/", "--sparse", "--xattrs", "-cf", "-", "etc", "usr/lib/terminfo", "usr/share/perl5"],
        check=False, capture_output=True,
    ).stdout  # fmt: skip
    unpack(io.BytesIO(packed), target)
    reference = tmp_path / "reference"
    reference.mkdir()
    subprocess.run(["tar", "-xpf", "-", "--xattrs", "-C", str(reference)], input=packed, check=True)
    listing = ["find", ".", "-mindepth", "2", "-printf", "%p %m %U %G %s %T@ %l %y %n\n"]
    ours, theirs = (
        sorted(subprocess.run(listing, cwd=at, check=True, capture_output=True).stdout.splitlines())
        for at in (target, reference)
    )
    # Directories that have no entry of their own get the time of unpacking.
    assert [line for line in ours if b"./usr" not in line[:7]] == [line for line in theirs if b"./usr" not in line[:7]]
    assert subprocess.run(["diff", "-r", "--no-dereference", str(target), str(reference)], check=False).returncode == 0


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([member("a", b"1"), member("a", b"22")], b"22"),
        ([link("a", "b"), member("a", b"3")], b"3"),
        ([directory("a"), member("a/x"), member("a", b"4")], b"4"),
        ([member("b", b"old"), link("a", "b", hard=True), member("a", b"new")], b"new"),
        ([member("p/q"), link("a", "p", hard=False), member("a", b"5")], b"5"),
    ],
)
def test_the_last_of_several_entries_counts(target: Path, members: list[Member], expected: bytes) -> None:
    put(target, *members)
    assert (target / "a").read_bytes() == expected
    assert not (target / "a").is_symlink()
    if (target / "b").exists():
        assert (target / "b").read_bytes() == b"old"


def test_a_directory_over_a_directory_keeps_its_content(target: Path) -> None:
    put(target, directory("a", mode=0o700), member("a/x", b"1"), directory("a", mode=0o755, mtime=7))
    assert (target / "a/x").read_bytes() == b"1"
    assert (stat.S_IMODE((target / "a").stat().st_mode), (target / "a").stat().st_mtime) == (0o755, 7)


def test_parents_without_an_entry_look_as_in_the_layers_below(tmp_path: Path, target: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    put(
        below,
        directory("srv", mode=0o1770, uid=3, gid=4),
        directory("srv/www", mode=0o711, uid=5),
        link("lib", "usr/lib"),
    )
    put(target, member("srv/www/new/index", b"x"), member("lib/libx.so", b"y"), below=(below,))
    status = (target / "srv").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o1770, 3, 4)
    assert (target / "srv/www").stat().st_uid == 5
    assert stat.S_IMODE((target / "srv/www/new").stat().st_mode) == 0o755
    assert (target / "usr/lib/libx.so").read_bytes() == b"y"
    assert not (target / "lib").exists(), "a link of the layer below has to stay visible"


# --- deletions --------------------------------------------------------------------------------------------------------


def test_marks_of_deletion_become_overlayfs_own(target: Path) -> None:
    put(target, member("d/.wh.gone"), member("o/.wh..wh..opq"), member("o/kept"), member(".wh..wh.plnk"))
    assert whiteout(target / "d/gone")
    assert opaque(target / "o")
    assert sorted(os.listdir(target)) == ["d", "o"]


def test_a_mark_does_not_touch_what_its_own_layer_has(target: Path) -> None:
    put(
        target,
        member("before", b"1"), member(".wh.before"),
        member(".wh.after"), member("after", b"2"),
        directory("dir"), member("dir/x"), member(".wh.dir"),
        member(".wh.tree"), member("tree/y"),
        member(".wh.again"), directory("again"),
    )  # fmt: skip
    assert (target / "before").read_bytes() == b"1"
    assert (target / "after").read_bytes() == b"2"
    assert opaque(target / "dir")
    assert (target / "dir/x").exists()
    assert opaque(target / "tree")
    assert opaque(target / "again")


# --- archives that mean harm ------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("untouched")
    return path


def escapes(outside: Path) -> dict[str, list[Member]]:
    up = "../" * 12 + str(outside).lstrip("/")
    return {
        "a name with ..": [member("../outside/evil", b"x")],
        "a name with .. inside": [member("a/../../outside/evil", b"x")],
        "an absolute name with ..": [member("/../outside/evil", b"x")],
        "a file through an absolute link": [link("l", str(outside)), member("l/secret", b"x")],
        "a file through a relative link": [link("l", up), member("l/secret", b"x")],
        "a file through two links": [link("a", up), link("b", "a"), member("b/secret", b"x")],
        "a file over a link": [link("l", f"{outside}/secret"), member("l", b"x")],
        "a directory over a link": [link("l", str(outside)), directory("l", mode=0o777), member("l/secret", b"x")],
        "a hard link to the outside": [link("h", "../outside/secret", hard=True), member("h", b"x")],
        "a hard link to an absolute path": [link("h", f"{outside}/secret", hard=True), member("h", b"x")],
        "a hard link through a link": [link("l", str(outside)), link("h", "l/secret", hard=True)],
        "a hard link to a link": [link("l", f"{outside}/secret"), link("h", "l", hard=True), member("h", b"x")],
        "a whiteout through a link": [link("l", str(outside)), member("l/.wh.secret")],
        "an opaque mark through a link": [link("l", str(outside)), member("l/.wh..wh..opq")],
        "a whiteout of the parent": [member("d/.wh...")],
        "a whiteout of itself": [member("d/.wh..")],
        "a whiteout of nothing": [member("d/.wh.")],
        "a node through a link": [link("l", str(outside)), member("l/secret", type=tarfile.FIFOTYPE)],
        "times through a link": [directory("d", mtime=5), member("d/x"), link("d", str(outside), mtime=5)],
    }


@pytest.mark.parametrize("attack", escapes(Path("/x")))
def test_nothing_outside_is_ever_touched(target: Path, outside: Path, attack: str) -> None:
    before = [
        (path.lstat().st_mtime_ns, path.lstat().st_mode, path.lstat().st_nlink)
        for path in (outside, outside / "secret")
    ]
    with suppress(InvalidInput):  # what is not refused has to stay inside
        put(target, *escapes(outside)[attack])
    after = [
        (path.lstat().st_mtime_ns, path.lstat().st_mode, path.lstat().st_nlink)
        for path in (outside, outside / "secret")
    ]
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == "untouched"
    assert after == before
    assert sorted(os.listdir(target.parent)) == ["layer", "outside"]


def sparse(size: int) -> Member:
    """A file of nothing but holes, in GNU tar's words."""
    info, data = member("s", b"1\n0\n0\n".ljust(512, b"\0"))
    claims = {"major": "1", "minor": "0", "name": "s", "realsize": str(size)}
    info.pax_headers = {f"GNU.sparse.{key}": value for key, value in claims.items()}
    return info, data


REFUSED: dict[str, list[Member]] = {
    "a file in the place of the root": [member("..")],
    "a name that is too long": [member("n" * 300)],
    "a path that is too long": [member("d/" * 3000 + "x")],
    "links that go in a circle": [link("a", "b"), link("b", "a"), member("a/x")],
    "a file as a directory": [member("f"), member("f/x")],
    "a hard link to nothing": [link("h", "nothing", hard=True)],
    "a hard link to a directory": [directory("d"), link("h", "d", hard=True)],
    "a hard link to itself": [member("h"), link("h", "h", hard=True)],
    "a hard link to the root": [link("h", "/", hard=True)],
    "a hard link to what is deleted": [member(".wh.gone"), link("h", "gone", hard=True)],
    "an impossible owner": [member("f", uid=2**32 - 1)],
    "a link without a target": [link("l", "")],
    "holes that are too large": [sparse(1 << 62)],
    "holes beyond all numbers": [sparse(1 << 70)],
    "holes of a negative size": [sparse(-5)],
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused_with_a_sentence(target: Path, what: str) -> None:
    with pytest.raises(WherryError) as caught:
        put(target, *REFUSED[what])
    assert len(str(caught.value)) < 500
    shutil.rmtree(target)


def test_directories_are_as_deep_as_a_name_is_long(target: Path) -> None:
    deep = "d/" * 2000
    put(
        target,
        member(deep + "x", b"1"),
        member(deep + "y/z"),
        member(deep + "y/../w"),
        directory(deep + "y", mode=0o700),
    )
    files = Files(target)
    assert {files.path(name) for name, status in files if not stat.S_ISDIR(status.st_mode)} == {
        f"{deep}x", f"{deep}y/z", f"{deep}w",
    }  # fmt: skip
    first = tree_digest(target)
    put(target, member("d"))  # what an earlier entry made is cleared away
    assert [path.name for path in target.iterdir()] == ["d"]
    assert tree_digest(target) != first


def test_longer_names_than_any_entry_has_are_not_made_through_links_either(target: Path) -> None:
    deep = "d/" * 1500
    with pytest.raises(InvalidInput, match="too long"):
        put(target, member(deep + "x"), link("l", deep), member("l/" + deep + "y"))
    remove_tree(target)


def test_attributes_that_steer_overlayfs_are_dropped(target: Path) -> None:
    put(target, attributed("f", trusted__overlay__redirect=b"/etc", user__overlay__opaque=b"y", user__fine=b"1"))
    assert os.listxattr(target / "f") == ["user.fine"]


def test_writing_to_a_hard_link_does_not_change_the_file_behind_it(target: Path) -> None:
    put(target, member("a", b"1"), link("b", "a", hard=True), member("b", b"2"))
    assert ((target / "a").read_bytes(), (target / "b").read_bytes()) == (b"1", b"2")


def test_ten_thousand_entries_are_unpacked_quickly(target: Path) -> None:
    packed = tar([member(f"d{number % 200}/s{number % 7}/f{number}", b"x" * 100) for number in range(10_000)])
    before = time.process_time()
    assert unpack(io.BytesIO(packed), target).entries == 10_000
    spent = time.process_time() - before
    # Generous: the file system's own share varies by a factor of ten on a disk that is in use.
    in_time(spent < 15, f"{spent:.1f} s of processor time")


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    script = (
        "import io, sys; from pathlib import Path; from wherry.layers.unpack import unpack\n"
        "from wherry.errors import OutOfSpace\n"
        "try: unpack(io.BytesIO(sys.stdin.buffer.read()), Path('/mnt/layer'))\n"
        "except OutOfSpace as error: print(error); sys.exit(0)\n"
        "sys.exit(1)\n"
    )
    command = 'mount -t tmpfs -o size=1m none /mnt && mkdir /mnt/layer && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", command, sys.executable, script],
        input=tar([member("big", b"x" * 3_000_000)]), capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"no space left on device" in done.stdout
