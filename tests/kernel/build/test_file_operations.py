"""File operations on real overlay mounts: what BuildKit does, layer by layer."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import directory, link, member, tar
from support.needs import need
from support.snapshots import World, world
from wherry.build.files.evaluate import Evaluation
from wherry.build.files.operations import FileOperations
from wherry.build.model.graph import (
    NO_INPUT,
    NO_OUTPUT,
    Chown,
    Copy,
    FileAction,
    FileOp,
    MakeDirectory,
    MakeFile,
    Owner,
    Remove,
    Symlink,
)
from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.errors import InvalidInput, NotFound

pytestmark = need("root", "overlay")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "data") as made:
        yield made


@pytest.fixture
def context(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    return made


def local(path: Path) -> Snapshot:
    return Snapshot((SnapshotLayer(-1, str(path)),))


def run(here: World, inputs: list[Snapshot], *actions: FileAction) -> Snapshot:
    [result] = Evaluation(here.snapshots, FileOp(actions), inputs).run()
    return result


def copy(here: World, base: Snapshot, source: Snapshot, action: Copy) -> Snapshot:
    return run(here, [base, source], FileAction(action, 0, 1, 0))


def files(here: World, snapshot: Snapshot) -> dict[str, str]:
    """All files of a snapshot: what they are, and what is in them."""
    with here.mount(snapshot) as root:
        top = Path(f"/proc/self/fd/{root.fileno()}")
        found = {}
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            if path.is_symlink():
                found[name] = f"-> {os.readlink(path)}"
            elif path.is_dir():
                found[name + "/"] = ""
            elif path.is_file():
                found[name] = path.read_text()
            else:
                found[name] = oct(stat.S_IFMT(path.lstat().st_mode))
        return found


def status(here: World, snapshot: Snapshot, path: str) -> os.stat_result:
    with here.mount(snapshot) as root:
        return os.stat(path, dir_fd=root.fileno(), follow_symlinks=False)


COPY = {"contents_only": True, "follow_symlink": True, "allow_empty_wildcard": True}
"""What a Dockerfile's COPY asks for."""


# --- COPY -----------------------------------------------------------------------------------------


def test_a_file_goes_to_a_name_or_into_a_directory(here: World, context: Path) -> None:
    (context / "a").write_text("1")
    base = here.layer({"there/old": b"0"})
    assert files(here, copy(here, EMPTY, local(context), Copy("/a", "/b"))) == {"b": "1"}
    assert files(here, copy(here, EMPTY, local(context), Copy("/a", "/new/"))) == {"new/": "", "new/a": "1"}
    found = files(here, copy(here, base, local(context), Copy("/a", "/there")))
    assert found == {"there/": "", "there/a": "1", "there/old": "0"}


def test_of_a_directory_the_contents_are_copied_unless_it_is_wanted_itself(here: World, context: Path) -> None:
    (context / "dir/sub").mkdir(parents=True)
    (context / "dir/sub/file").write_text("1")
    base = here.layer({"x/old": b"0"})
    found = files(here, copy(here, base, local(context), Copy("/dir", "/x", **COPY)))
    assert found == {"x/": "", "x/old": "0", "x/sub/": "", "x/sub/file": "1"}
    found = files(here, copy(here, base, local(context), Copy("/dir", "/x")))
    assert found == {"x/": "", "x/dir/": "", "x/dir/sub/": "", "x/dir/sub/file": "1", "x/old": "0"}
    found = files(here, copy(here, base, local(context), Copy("/dir", "/new", **COPY)))
    assert found == {"x/": "", "x/old": "0", "new/": "", "new/sub/": "", "new/sub/file": "1"}


def test_the_layer_has_what_was_copied_and_no_more(here: World, context: Path) -> None:
    (context / "dir").mkdir()
    (context / "dir/file").write_text("1")
    base = here.layer({"x/old": b"0", "other": b"2"})
    result = copy(here, base, local(context), Copy("/dir", "/x", **COPY))
    assert result.layers[:1] == base.layers
    assert sorted(str(path.relative_to(result.layers[1].path)) for path in Path(result.layers[1].path).rglob("*")) == [
        "x",
        "x/file",
    ]


def test_new_directories_hide_nothing_where_the_layer_is_laid_upon_others(here: World, context: Path) -> None:
    (context / "etc").mkdir()
    (context / "etc/new").write_text("1")
    alone = copy(here, EMPTY, local(context), Copy("/", "/", **COPY))
    onto_other = copy(here, here.layer({"file": b""}), local(context), Copy("/", "/", **COPY))
    base = here.layer({"etc/old": b"0"})
    for layers in (alone.layers, onto_other.layers[1:]):
        assert files(here, Snapshot((*base.layers, *layers))) == {"etc/": "", "etc/new": "1", "etc/old": "0"}


def test_a_copy_keeps_modes_owners_times_links_attributes_and_holes(here: World, context: Path) -> None:
    (context / "d").mkdir()
    (context / "d").chmod(0o751)
    plain = context / "d/plain"
    plain.write_bytes(b"x" * 10)
    os.setxattr(plain, "user.name", b"value")
    os.setxattr(plain, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.chown(plain, 1000, 1001)
    plain.chmod(0o4755)
    os.setxattr(plain, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.link(plain, context / "d/again")
    (context / "d/link").symlink_to("/nowhere")
    os.mkfifo(context / "d/fifo")
    (context / "d/fifo").chmod(0o640)
    os.mknod(context / "d/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with (context / "d/sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(context / "d/socket"))
    for name in ("plain", "link", "fifo", "sparse"):
        os.utime(context / "d" / name, ns=(10**18, 10**18 + 123456789), follow_symlinks=False)
    os.utime(context / "d", ns=(10**18, 10**18 + 5))
    result = copy(here, EMPTY, local(context), Copy("/d", "/to/"))
    with here.mount(result) as root:

        def look(name: str) -> os.stat_result:
            return os.stat(f"to/d/{name}", dir_fd=root.fileno(), follow_symlinks=False)

        assert look("plain").st_mode == stat.S_IFREG | 0o4755
        assert (look("plain").st_uid, look("plain").st_gid) == (1000, 1001)
        assert look("plain").st_mtime_ns == look("link").st_mtime_ns == 10**18 + 123456789
        assert look("plain").st_ino == look("again").st_ino
        assert look("fifo").st_mode == stat.S_IFIFO | 0o640
        assert (look("null").st_mode, look("null").st_rdev) == (stat.S_IFCHR | 0o600, os.makedev(1, 3))
        assert stat.S_ISREG(look("socket").st_mode)
        assert (look("sparse").st_size, look("sparse").st_blocks * 512 < 1 << 20) == (64 << 20, True)
        assert look("").st_mode == stat.S_IFDIR | 0o751
        assert look("").st_mtime_ns == 10**18 + 5
        path = f"/proc/self/fd/{root.fileno()}/to/d/plain"
        assert os.getxattr(path, "user.name") == b"value"
        assert len(os.getxattr(path, "security.capability")) == 20
        with open(f"/proc/self/fd/{root.fileno()}/to/d/sparse", "rb") as file:
            file.seek(32 << 20)
            assert file.read(7) == b"middle\0"


def test_owners_modes_and_times_can_be_given(here: World, context: Path) -> None:
    (context / "d").mkdir()
    (context / "d/file").write_text("1")
    (context / "d/link").symlink_to("file")
    base = here.layer({"etc/passwd": b"root:x:0:0::/:\napp:x:100:200::/:\n", "etc/group": b"staff:x:50:\n"})
    chown = Chown(Owner(name="app", input=0), Owner(name="staff", input=0))
    result = copy(
        here, base, local(context), Copy("/d", "/new/d", chown=chown, mode_text="u=rwX,go=", timestamp=5, **COPY)
    )  # type: ignore[arg-type]
    for name, mode in (("new", 0o755), ("new/d", 0o755), ("new/d/file", 0o600), ("new/d/link", 0o777)):
        found = status(here, result, name)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, 100, 50), name
    assert status(here, result, "new/d/file").st_mtime_ns == 5
    result = copy(here, base, local(context), Copy("/d/file", "/f", chown=Chown(Owner(id=7)), mode=0o1640))
    assert stat.S_IMODE(status(here, result, "f").st_mode) == 0o1640
    assert (status(here, result, "f").st_uid, status(here, result, "f").st_gid) == (7, 7)
    result = copy(here, base, local(context), Copy("/d/file", "/f", chown=Chown(Owner(name="app", input=0))))
    assert (status(here, result, "f").st_uid, status(here, result, "f").st_gid) == (100, 200)


def test_directories_that_are_made_on_the_way_have_the_time_that_was_given_too(here: World, context: Path) -> None:
    (context / "d").mkdir()
    (context / "d/file").write_text("1")
    base = here.layer({"there/old": b"0"})
    for source, destination in (("/d", "/there/a/b/c/"), ("/d/file", "/there/a/b/c/"), ("/d/file", "/there/a/b/name")):
        result = copy(here, base, local(context), Copy(source, destination, timestamp=5, **COPY))  # type: ignore[arg-type]
        assert status(here, result, "there/a").st_mtime_ns == 5
        assert status(here, result, "there/a/b").st_mtime_ns == 5
    result = run(here, [base], FileAction(MakeDirectory("/x/y/z", 0o755, parents=True, timestamp=5), 0, output=0))
    assert {status(here, result, name).st_mtime_ns for name in ("x", "x/y", "x/y/z")} == {5}


def test_wildcards_mean_what_go_takes_them_for(here: World, context: Path) -> None:
    for name in ("a.txt", "b.txt", "c.md", "d/a.txt", "d/e/f.txt", "[x].txt"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)

    def found(source: str) -> set[str]:
        return {
            name
            for name in files(here, copy(here, EMPTY, local(context), Copy(source, "/o/", **COPY)))
            if name[-1] != "/"
        }  # type: ignore[arg-type]

    assert found("/*.txt") == {"o/a.txt", "o/b.txt", "o/[x].txt"}
    assert found("/?.md") == {"o/c.md"}
    assert found("/[[]x].txt") == {"o/[x].txt"}
    assert found("/*/*.txt") == {"o/a.txt"}
    assert found("/d/*/f*") == {"o/f.txt"}
    assert found("/*.none") == set()
    with pytest.raises(NotFound, match=r"/\*\.none not found"):
        copy(here, EMPTY, local(context), Copy("/*.none", "/o/"))


def test_patterns_choose_what_is_copied_and_directories_come_with_it(here: World, context: Path) -> None:
    for name in ("src/a.py", "src/a.pyc", "src/deep/b.py", "src/deep/no.txt", "other/c.py", "empty/x"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    result = copy(here, EMPTY, local(context), Copy("/", "/o", include=("**/*.py",), exclude=("other",), **COPY))  # type: ignore[arg-type]
    assert list(files(here, result)) == ["o/", "o/src/", "o/src/a.py", "o/src/deep/", "o/src/deep/b.py"]


def test_parents_are_kept_from_the_pivot_on(here: World, context: Path) -> None:
    for name in ("a/b/one.txt", "a/b/two.md", "a/c/one.txt"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    whole = files(here, copy(here, EMPTY, local(context), Copy("/a/*/*.txt", "/o/", parents=True, **COPY)))
    assert [name for name in whole if name[-1] != "/"] == ["o/a/b/one.txt", "o/a/c/one.txt"]
    part = files(here, copy(here, EMPTY, local(context), Copy("/a/./b/*.txt", "/o/", parents=True, **COPY)))
    assert [name for name in part if name[-1] != "/"] == ["o/b/one.txt"]


def test_a_directory_over_a_file_and_a_file_over_a_directory_are_refused_in_buildkits_words(
    here: World, context: Path
) -> None:
    (context / "d/x").mkdir(parents=True)
    (context / "f").mkdir()
    (context / "f/x").write_text("1")
    file, folder = here.layer({"x": b""}), here.layer({"x/y": b""})
    with pytest.raises(InvalidInput, match="cannot copy to non-directory: /x"):
        copy(here, file, local(context), Copy("/d", "/", **COPY))
    with pytest.raises(InvalidInput, match="cannot replace to directory /x with file"):
        copy(here, folder, local(context), Copy("/f", "/", **COPY))
    replaced = copy(here, file, local(context), Copy("/d", "/", always_replace=True, **COPY))  # type: ignore[arg-type]
    assert files(here, replaced) == {"x/": ""}
    replaced = copy(here, folder, local(context), Copy("/f", "/", always_replace=True, **COPY))  # type: ignore[arg-type]
    assert files(here, replaced) == {"x": "1"}


def test_a_file_that_is_there_is_replaced_and_a_link_to_one_written_where_it_leads(here: World, context: Path) -> None:
    (context / "new").write_text("1")
    with here.change() as change:
        (change.path / "real").write_text("0")
        (change.path / "link").symlink_to("real")
        os.link(change.path / "real", change.path / "same")
    base = change.result
    found = files(here, copy(here, base, local(context), Copy("/new", "/link")))
    assert found == {"link": "-> real", "real": "1", "same": "0"}
    (context / "link").write_text("2")
    found = files(here, copy(here, base, local(context), Copy("/", "/", **COPY)))
    assert found == {"link": "2", "new": "1", "real": "0", "same": "0"}


def test_destinations_lead_through_links_and_missing_directories_are_made_where_they_lead(
    here: World, context: Path
) -> None:
    (context / "file").write_text("1")
    with here.change() as change:
        (change.path / "usr/lib").mkdir(parents=True)
        (change.path / "lib").symlink_to("usr/lib")
        (change.path / "gone").symlink_to("/opt/new")
        (change.path / "up").symlink_to("../../../../usr")
    found = files(here, copy(here, change.result, local(context), Copy("/file", "/lib/x/")))
    assert found["usr/lib/x/file"] == "1"
    found = files(here, copy(here, change.result, local(context), Copy("/file", "/gone/deep/")))
    assert found["opt/new/deep/file"] == "1"
    found = files(here, copy(here, change.result, local(context), Copy("/file", "/up/../up/file")))
    assert found["usr/file"] == "1"


def test_a_missing_source_or_destination_is_said(here: World, context: Path) -> None:
    with pytest.raises(NotFound, match="lstat /missing: no such file or directory"):
        copy(here, EMPTY, local(context), Copy("/missing", "/o/"))
    (context / "file").write_text("1")
    with pytest.raises(NotFound, match="failed to stat /no/where"):
        copy(here, EMPTY, local(context), Copy("/file", "/no/where", create_destination=False))
    with pytest.raises(InvalidInput, match="not a directory"):
        copy(here, here.layer({"file": b""}), local(context), Copy("/file", "/file/x"))


def test_archives_are_recognised_by_their_content_and_unpacked(here: World, context: Path) -> None:
    data = tar([directory("d"), member("d/file", b"1", uid=5), link("d/l", "file"), member(".wh.x", b"2")])
    for mode in ("w:", "w:gz", "w:bz2", "w:xz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
            archive.addfile(*_member("inner", b"3"))
        (context / f"named{mode[2:]}.bin").write_bytes(buffer.getvalue())
    (context / "archive").write_bytes(data)
    (context / "text.tar").write_text("no archive")
    (context / "empty.tar").write_text("")
    base = here.layer({"o/d/old": b"0"})
    unpack = {**COPY, "unpack_archive": True}
    result = copy(here, base, local(context), Copy("/archive", "/o/", **unpack))  # type: ignore[arg-type]
    assert files(here, result) == {
        "o/": "", "o/.wh.x": "2", "o/d/": "", "o/d/file": "1", "o/d/l": "-> file", "o/d/old": "0",
    }  # fmt: skip
    assert status(here, result, "o/d/file").st_uid == 5
    result = copy(here, base, local(context), Copy("/archive", "/o/", chown=Chown(Owner(id=9)), **unpack))  # type: ignore[arg-type]
    assert status(here, result, "o/d/file").st_uid == 9
    for mode in ("", "gz", "bz2", "xz"):
        found = files(here, copy(here, EMPTY, local(context), Copy(f"/named{mode}.bin", "/o", **unpack)))  # type: ignore[arg-type]
        assert found == {"o/": "", "o/inner": "3"}, mode
    for name in ("text.tar", "empty.tar"):
        assert f"o/{name}" in files(here, copy(here, EMPTY, local(context), Copy(f"/{name}", "/o/", **unpack)))  # type: ignore[arg-type]


def _member(name: str, data: bytes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, io.BytesIO(data)


# --- other actions --------------------------------------------------------------------------------


def test_files_directories_and_links_are_made_with_their_owners_and_times(here: World) -> None:
    result = run(
        here,
        [],
        FileAction(MakeDirectory("/a/b/c", 0o711, parents=True, chown=Chown(Owner(id=5)), timestamp=9)),
        FileAction(MakeFile("/a/b/c/f", 0o640, b"data", timestamp=8), 0),
        FileAction(Symlink("/a/link", "b/c", timestamp=7), 1),
        FileAction(MakeFile("/a/link/g", 0o600, b"more"), 2, output=0),
    )
    found = files(here, result)
    assert (found["a/b/c/f"], found["a/b/c/g"], found["a/link"], len(found)) == ("data", "more", "-> b/c", 6)
    assert len(result.layers) == 1
    assert stat.S_IMODE(status(here, result, "a/b").st_mode) == 0o711
    assert status(here, result, "a/b/c").st_uid == 5
    assert status(here, result, "a/b/c/f").st_mtime_ns == 8
    assert status(here, result, "a/link").st_mtime_ns == 7


def test_directories_in_a_set_group_id_directory_are_as_mkdir_makes_them(here: World, context: Path) -> None:
    """As in BuildKit: alpine's adduser makes such homes, and WORKDIR is often below one."""
    (context / "games").mkdir()
    os.chown(context / "games", 5, 6)
    os.chmod(context / "games", 0o2755)
    (context / "a").write_text("1")
    home = copy(here, EMPTY, local(context), Copy("/games", "/", **{**COPY, "contents_only": False}))
    made = run(here, [home], FileAction(MakeDirectory("/games/x/y", 0o755, parents=True), 0, output=0))
    owned = MakeDirectory("/games/z", 0o700, chown=Chown(Owner(7), Owner(8)))
    made = run(here, [made], FileAction(owned, 0, output=0))
    made = copy(here, made, local(context), Copy("/a", "/games/c/a", **COPY))
    for path, expected in {
        "games": (0o2755, 5, 6), "games/x": (0o2755, 0, 6), "games/x/y": (0o2755, 0, 6), "games/z": (0o2700, 7, 8),
        "games/c": (0o2755, 0, 6), "games/c/a": (0o644, 0, 0),
    }.items():  # fmt: skip
        found = status(here, made, path)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == expected, path


def test_what_is_there_stays_or_is_refused(here: World) -> None:
    base = here.layer({"d/f": b"old"})
    same = run(here, [base], FileAction(MakeDirectory("/d", 0o700), 0, output=0))
    assert files(here, same) == files(here, base)
    found = run(here, [base], FileAction(MakeFile("/d/f", 0o600, b"new"), 0, output=0))
    assert files(here, found)["d/f"] == "new"
    with pytest.raises(InvalidInput, match="open /d: is a directory"):
        run(here, [base], FileAction(MakeFile("/d", 0o600, b""), 0, output=0))
    with pytest.raises(NotFound, match="mkdir /x/y"):
        run(here, [base], FileAction(MakeDirectory("/x/y", 0o700), 0, output=0))
    with pytest.raises(InvalidInput, match="symlink /d/f: file exists"):
        run(here, [base], FileAction(Symlink("/d/f", "x"), 0, output=0))


def test_removing_takes_what_is_below_and_never_what_a_link_leads_to(here: World) -> None:
    with here.change(here.layer({"keep/file": b"1", "gone/deep/file": b"2", "a1": b"", "a2": b""})) as change:
        (change.path / "link").symlink_to("keep")
    base = change.result
    result = run(
        here,
        [base],
        FileAction(Remove("/gone"), 0),
        FileAction(Remove("/link"), 1),
        FileAction(Remove("/a*", allow_wildcard=True), 2),
        FileAction(Remove("/none", allow_not_found=True), 3, output=0),
    )
    assert files(here, result) == {"keep/": "", "keep/file": "1"}
    with pytest.raises(NotFound, match="stat /none: no such file"):
        run(here, [base], FileAction(Remove("/none"), 0, output=0))
    with pytest.raises(InvalidInput, match="empty path"):
        run(here, [base], FileAction(Remove("/"), 0, output=0))


def test_actions_branch_and_copy_from_each_other(here: World) -> None:
    op = FileOp((
        FileAction(MakeFile("/one", 0o600, b"1"), NO_INPUT, output=0),
        FileAction(MakeFile("/two", 0o600, b"2"), 0, output=NO_OUTPUT),
        FileAction(Copy("/two", "/three"), 0, 1, output=1),
    ))  # fmt: skip
    first, second = Evaluation(here.snapshots, op, []).run()
    assert files(here, first) == {"one": "1"}
    assert files(here, second) == {"one": "1", "three": "2"}


def test_an_operation_that_fails_leaves_no_layer(here: World) -> None:
    before = set(os.listdir(here.images.layers.root))
    with pytest.raises(NotFound):
        run(
            here,
            [],
            FileAction(MakeFile("/one", 0o600, b"1"), output=0),
            FileAction(Remove("/none"), NO_INPUT, output=1),
        )
    assert set(os.listdir(here.images.layers.root)) == before
    here.snapshots.wait_for_removals()
    assert not os.listdir(here.images.layers.root.parent / "build/drafts")


def test_a_base_that_is_a_clients_directory_is_copied(here: World, context: Path) -> None:
    (context / "file").write_text("1")
    result = run(here, [local(context)], FileAction(MakeFile("/two", 0o600, b"2"), 0, output=0))
    assert all(layer.number > 0 for layer in result.layers)
    (context / "file").write_text("changed")
    assert files(here, result) == {"file": "1", "two": "2"}


# --- merge and diff -------------------------------------------------------------------------------


@pytest.fixture
def operations(here: World, tmp_path: Path) -> Iterator[FileOperations]:
    made = FileOperations(here.snapshots, tmp_path / "sums")
    yield made
    made.close()


async def test_merging_lays_layers_upon_each_other(here: World, operations: FileOperations) -> None:
    one, two = here.layer({"a": b"1", "same": b"1"}), here.layer({"b": b"2", "same": b"2"})
    merged = await operations.merge([one, EMPTY, two])
    assert merged.layers == (*one.layers, *two.layers)
    assert files(here, merged) == {"a": "1", "b": "2", "same": "2"}
    again = await operations.merge([merged, one])
    assert files(here, again) == {"a": "1", "b": "2", "same": "1"}


async def test_the_difference_to_what_it_was_made_from_is_its_layers(here: World, operations: FileOperations) -> None:
    one = here.layer({"a": b"1"})
    two = here.layer({"b": b"2"}, one)
    assert (await operations.diff(one, two)).layers == two.layers[1:]
    assert await operations.diff(EMPTY, two) == two
    assert await operations.diff(two, two) == EMPTY


async def test_any_difference_can_be_laid_upon_the_one_to_have_the_other(
    here: World, operations: FileOperations
) -> None:
    lower = here.layer({"same": b"1", "gone/file": b"2", "changed": b"3", "kind/x": b"4", "d/e/f": b"5", "d/g": b"6"})
    upper = here.layer({"changed": b"33", "kind": b"file", "new/file": b"7", "d/e/f": b"5", "d/h": b"8", "same": b"1"})
    for snapshot in (lower, upper):
        with here.change(snapshot) as change:
            os.utime(change.path / "same", ns=(5, 5))
            os.utime(change.path / "d/e/f", ns=(5, 5))
        if snapshot is lower:
            lower = change.result
        else:
            upper = change.result
    difference = await operations.diff(lower, upper)
    assert files(here, Snapshot((*lower.layers, *difference.layers))) == files(here, upper)
    new = Path(difference.layers[0].path)
    assert not (new / "same").exists()
    assert not (new / "d/e").exists()


# --- checksums ------------------------------------------------------------------------------------


async def test_a_checksum_is_of_what_a_copy_takes_and_not_of_times(operations: FileOperations, context: Path) -> None:
    for name in ("src/a", "src/b", "other"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    everything, part = Copy("/", "/", **COPY), Copy("/src/a", "/", **COPY)

    async def both() -> tuple[str, str]:
        return await operations.checksum(local(context), everything), await operations.checksum(local(context), part)

    before = await both()
    os.utime(context / "src/a", ns=(5, 5))
    assert await both() == before
    (context / "other").write_text("changed")
    changed = await both()
    assert (changed[0] != before[0], changed[1] == before[1]) == (True, True)
    (context / "src/a").chmod(0o600)
    assert (await both())[1] != changed[1]
    without = await operations.checksum(local(context), Copy("/", "/", exclude=("other",), **COPY))  # type: ignore[arg-type]
    (context / "other").write_text("again")
    assert await operations.checksum(local(context), Copy("/", "/", exclude=("other",), **COPY)) == without  # type: ignore[arg-type]


async def test_links_attributes_and_names_count(operations: FileOperations, context: Path) -> None:
    (context / "d").mkdir()
    (context / "d/file").write_text("1")
    found = [await operations.checksum_of(local(context), "/d")]
    (context / "d/link").symlink_to("one")
    found.append(await operations.checksum_of(local(context), "/d"))
    (context / "d/link").unlink()
    (context / "d/link").symlink_to("two")
    found.append(await operations.checksum_of(local(context), "/d"))
    os.setxattr(context / "d/file", "user.x", b"1")
    found.append(await operations.checksum_of(local(context), "/d"))
    (context / "d/file").rename(context / "d/other")
    found.append(await operations.checksum_of(local(context), "/d"))
    os.chown(context / "d/other", 1, 1)
    found.append(await operations.checksum_of(local(context), "/d"))
    assert len(set(found)) == len(found)


async def test_what_is_deleted_from_nothing_is_passed_over(
    here: World, operations: FileOperations, tmp_path: Path
) -> None:
    difference = await operations.diff(here.layer({"d/a": b"1", "d/b": b"2"}), here.layer({"d/b": b"2"}))
    assert len(await operations.list_directory(difference, "/d")) <= 1
    await operations.checksum_of(difference, "/")
    (tmp_path / "out").mkdir()
    await operations.copy_out(difference, tmp_path / "out")
    assert not (tmp_path / "out/d/a").exists()


async def test_what_is_not_there_has_no_checksum(operations: FileOperations, context: Path) -> None:
    with pytest.raises(NotFound) as caught:
        await operations.checksum(local(context), Copy("/missing", "/", **COPY))
    assert str(caught.value) == '"/missing": not found'
    assert await operations.checksum(local(context), Copy("/*.none", "/", **COPY))


async def test_the_same_files_have_the_same_checksum_in_a_layer_and_a_clients_directory(
    here: World, operations: FileOperations, context: Path
) -> None:
    (context / "d").mkdir()
    (context / "d/file").write_text("1")
    layer = copy(here, EMPTY, local(context), Copy("/d", "/d/"))
    assert await operations.checksum_of(layer, "/d/d") == await operations.checksum_of(local(context), "/d")


# --- reading --------------------------------------------------------------------------------------


async def test_files_are_read_inside_of_a_snapshot(here: World, operations: FileOperations) -> None:
    with here.change(here.layer({"etc/motd": b"hello world", "etc/other": b""})) as change:
        (change.path / "link").symlink_to("/etc/motd")
    snapshot = change.result
    assert await operations.read(snapshot, "/link") == b"hello world"
    assert await operations.read(snapshot, "etc/motd", 6, 3) == b"wor"
    assert await operations.read(snapshot, "etc/motd", 100) == b""
    assert (await operations.stat(snapshot, "/link")).size == 11
    assert [info.path for info in await operations.list_directory(snapshot, "/etc")] == ["motd", "other"]
    assert [info.path for info in await operations.list_directory(snapshot, "/etc", "m*")] == ["motd"]
    with pytest.raises(NotFound):
        await operations.read(snapshot, "/etc/none")
    with pytest.raises(InvalidInput, match="is a directory"):
        await operations.read(snapshot, "/etc")


async def test_all_of_a_snapshot_is_copied_out(here: World, operations: FileOperations, tmp_path: Path) -> None:
    draft = here.snapshots.draft()
    (draft.upper / "d").mkdir()
    (draft.upper / "d/f").write_text("1")
    draft.upper.chmod(0o2750)
    snapshot = here.snapshots.commit(draft)
    target = tmp_path / "out"
    target.mkdir()
    await operations.copy_out(snapshot, target)
    assert (target / "d/f").read_text() == "1"
    assert stat.S_IMODE(target.stat().st_mode) == 0o2750
