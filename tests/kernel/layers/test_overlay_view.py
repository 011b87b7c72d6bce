"""Chains of layers read without mounting them, compared with what overlayfs shows of the same."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.archives import directory, link, member, tar
from support.needs import need
from wherry.content.durable import remove_tree
from wherry.errors import TooLarge
from wherry.layers.diff import changes, write_layer
from wherry.layers.export import export
from wherry.layers.overlay_paths import OverlayMount, make_directories
from wherry.layers.unpack import unpack

pytestmark = need("root", "overlay")

LAYERS = [
    [
        directory("etc"), member("etc/passwd", b"root"), member("etc/old", b"old"), directory("srv/web/deep"),
        member("srv/web/deep/file", b"1"), member("bin/sh", b"sh", mode=0o4755), link("bin/ash", "sh"),
        link("bin/dash", "bin/sh", hard=True), member("pipe", type=tarfile.FIFOTYPE), directory("opaque"),
        member("opaque/below", b"b"), member("replaced", b"file"), directory("emptied"), member("emptied/x"),
    ],
    [
        member("etc/.wh.old"), member("opaque/.wh..wh..opq"), member("opaque/above", b"a"), member(".wh.replaced"),
        member("replaced/now/a/directory", b"d"), member("srv/web/added", b"2", uid=1000),
    ],
]  # fmt: skip

WORK = """
rm etc/passwd; echo new > etc/new; chmod 700 srv; rm -r srv/web/deep; mkdir srv/web/deep; echo 1 > srv/web/deep/other
ln etc/new etc/linked; mkdir -p brand/new/tree; touch brand/new/tree/leaf; rm -r emptied; echo > emptied; rm bin/ash
mv opaque/above opaque/moved; mknod brand/null c 1 3; chown 5:6 srv/web/added; ln -s /etc brand/link; touch bin
setfattr -n user.note -v hello etc/new 2>/dev/null; rm -r replaced; mkdir replaced
"""


@pytest.fixture
def mount(tmp_path: Path) -> OverlayMount:
    lower: list[str] = []
    for number, members in enumerate(LAYERS):
        path = tmp_path / str(number)
        path.mkdir()
        unpack(io.BytesIO(tar(members)), path, lower)
        lower.insert(0, str(path))
    made = OverlayMount("/", tuple(lower), str(tmp_path / "upper"), str(tmp_path / "work"))
    make_directories([made])
    (tmp_path / "merged").mkdir()
    return made


def mounted(mount: OverlayMount, command: str) -> bytes:
    """Run a command in the mounted tree, in a mount namespace of its own."""
    options = f"lowerdir={':'.join(mount.lower)},upperdir={mount.upper},workdir={mount.work}"
    merged = Path(mount.upper).parent / "merged"
    script = f"mount -t overlay overlay -o {options} {merged} && cd {merged} && {command}"
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], check=True, capture_output=True
    ).stdout


def listing(archive: bytes, skip: tuple[str, ...] = ()) -> dict[str, tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = {}
        for info in opened:
            name = info.name.removeprefix("./")
            body = opened.extractfile(info) if info.isreg() else None
            kind = (info.type, info.mode, info.uid, info.gid, int(info.mtime), info.devmajor, info.devminor)
            notes = {k: v for k, v in info.pax_headers.items() if k.startswith("SCHILY")}
            target = info.linkname.removeprefix("./") if info.islnk() else info.linkname
            if name not in (".", *skip):
                found[name] = (*kind, notes, target, body.read() if body else None)
    return found


def exported(*mounts: OverlayMount) -> bytes:
    pieces: list[bytes] = []
    export(mounts, pieces.append)
    return b"".join(pieces)


TAR = "tar --xattrs --sort=name --format=posix --pax-option=delete=atime,delete=ctime,delete=mtime -cf - ."


def test_an_export_is_what_tar_sees_in_the_mounted_tree(mount: OverlayMount) -> None:
    mounted(mount, WORK + "true")
    assert listing(exported(mount)) == listing(mounted(mount, TAR))


def test_changes_are_those_that_docker_reports(mount: OverlayMount) -> None:
    assert changes([mount]) == []
    mounted(mount, WORK + "true")
    found = {change.path: "CAD"[change.kind] for change in changes([mount])}
    assert found == {
        "/bin": "C", "/bin/ash": "D", "/brand": "A", "/brand/link": "A", "/brand/new": "A", "/brand/new/tree": "A",
        "/brand/new/tree/leaf": "A", "/brand/null": "A", "/emptied": "C", "/etc": "C", "/etc/linked": "A",
        "/etc/new": "A", "/etc/passwd": "D", "/srv": "C", "/srv/web": "C", "/srv/web/added": "C",
        "/srv/web/deep": "C", "/srv/web/deep/file": "D", "/srv/web/deep/other": "A", "/opaque": "C",
        "/opaque/above": "D", "/opaque/moved": "A", "/replaced": "C", "/replaced/now": "D",
    }  # fmt: skip
    assert [change.path for change in changes([mount])] == sorted(found)


def test_a_layer_of_the_changes_gives_the_same_tree_again(mount: OverlayMount, tmp_path: Path) -> None:
    mounted(mount, WORK + "true")
    pieces: list[bytes] = []
    write_layer([mount], pieces.append)
    layer = tmp_path / "2"
    layer.mkdir()
    unpack(io.BytesIO(b"".join(pieces)), layer, mount.lower)
    again = OverlayMount("/", (str(layer), *mount.lower), str(tmp_path / "u" / "upper"), str(tmp_path / "u" / "work"))
    make_directories([again])
    (tmp_path / "u" / "merged").mkdir()
    assert listing(exported(again)) == listing(exported(mount)) == listing(mounted(again, TAR))


def test_parts_of_their_own_come_with_their_prefix(mount: OverlayMount, tmp_path: Path) -> None:
    programs = tmp_path / "host"
    (programs / "bin").mkdir(parents=True)
    (programs / "bin" / "true").write_text("true")
    part = OverlayMount("/usr", (str(programs),), str(tmp_path / "upper-usr"), str(tmp_path / "work-usr"))
    make_directories([part])
    (Path(mount.upper) / "usr").mkdir()
    (Path(part.upper) / "local").mkdir()
    (Path(part.upper) / "bin").mkdir()
    os.mknod(Path(part.upper) / "bin" / "true", 0o020000, 0)
    names = listing(exported(mount, part))
    assert {name for name in names if name.startswith("usr")} == {"usr", "usr/bin", "usr/local"}
    found = {change.path: "CAD"[change.kind] for change in changes([mount, part]) if change.path.startswith("/usr/")}
    assert found == {"/usr/bin": "C", "/usr/bin/true": "D", "/usr/local": "A"}


def test_two_hundred_layers_are_merged(tmp_path: Path) -> None:
    lower = []
    for number in range(200):
        path = tmp_path / str(number)
        (path / "d").mkdir(parents=True)
        (path / "d" / f"f{number}").write_text(str(number))
        (path / "same").write_text(str(number))
        lower.insert(0, str(path))
    mount = OverlayMount("/", tuple(lower), str(tmp_path / "upper"), str(tmp_path / "work"))
    make_directories([mount])
    files = listing(exported(mount))
    assert len(files) == 202
    assert files["same"][-1] == b"199"


def dig(path: str, depth: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("bottom", os.O_CREAT, dir_fd=fd))
    os.close(fd)


def test_directories_that_are_deeper_than_the_longest_path_are_seen_to_their_bottom(mount: OverlayMount) -> None:
    depth = 3000
    dig(mount.upper, depth)
    bottom = "d/" * depth + "bottom"
    assert bottom in listing(exported(mount))
    found = changes([mount])
    assert len(found) == depth + 1
    assert found[-1].path == f"/{bottom}"
    with pytest.raises(TooLarge, match="4095"):
        write_layer([mount], lambda data: None)
    remove_tree(Path(mount.upper))


def test_a_layer_has_directories_as_deep_as_a_path_is_long(mount: OverlayMount, tmp_path: Path) -> None:
    dig(mount.upper, 2000)
    pieces: list[bytes] = []
    write_layer([mount], pieces.append)
    layer = tmp_path / "2"
    layer.mkdir()
    unpack(io.BytesIO(b"".join(pieces)), layer, mount.lower)
    again = OverlayMount("/", (str(layer), *mount.lower), str(tmp_path / "u" / "upper"), str(tmp_path / "u" / "work"))
    make_directories([again])
    assert listing(exported(again)) == listing(exported(mount))
    for path in (layer, Path(mount.upper)):
        remove_tree(path)


def test_more_changes_than_fit_into_a_list_are_not_listed(mount: OverlayMount) -> None:
    dig(mount.upper, 9000)  # 81 MB of paths
    with pytest.raises(TooLarge, match="more than can be listed"):
        changes([mount])
    remove_tree(Path(mount.upper))
