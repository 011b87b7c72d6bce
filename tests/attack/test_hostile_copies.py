"""What steps, contexts and images may have prepared for operations on files: nothing leads out of the snapshot.

The kinds of CVE-2021-30465, CVE-2024-23651 (a mount's source exchanged while it is mounted), CVE-2024-23652 (what is
cleaned up leads out through a link) and CVE-2024-23653 are here as far as files are concerned: links at every part of
a path, in sources and in destinations, and exchanges at any moment.
"""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.archives import directory, link, member, tar
from support.needs import need
from support.snapshots import World, world
from wherry.build.files.copier import Copier, Looks
from wherry.build.files.evaluate import Evaluation
from wherry.build.files.operations import FileOperations
from wherry.build.files.read import list_directory, read_file, stat_file
from wherry.build.files.rooted import locate
from wherry.build.model.graph import Chown, Copy, FileAction, FileOp, MakeDirectory, MakeFile, Owner, Remove, Symlink
from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.errors import InvalidInput, NotFound, TooLarge, WherryError
from wherry.layers.file_content import Content
from wherry.linux import trees
from wherry.linux.fd import Fd

pytestmark = need("root", "overlay")

COPY = {"contents_only": True, "follow_symlink": True}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "data") as made:
        yield made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host's that nothing may read, change or remove."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "secret").write_text("secret")
    (made / "dir").mkdir()
    return made


def unchanged(outside: Path) -> bool:
    return sorted(os.listdir(outside)) == ["dir", "secret"] and (outside / "secret").read_text() == "secret"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    (made / "file").write_text("1")
    return made


def local(path: Path) -> Snapshot:
    return Snapshot((SnapshotLayer(-1, str(path)),))


def run(here: World, inputs: list[Snapshot], *actions: FileAction) -> Snapshot:
    [result] = Evaluation(here.snapshots, FileOp(actions), inputs).run()
    return result


def links(outside: Path) -> dict[str, str]:
    """Ways out, as far as one believes a link."""
    up = "/".join([".."] * 40)
    return {
        "absolute": str(outside),
        "relative": f"{up}{outside}",
        "proc": f"/proc/self/root{outside}",
        "fd": "/proc/self/fd/0",
        "twice": "absolute",
        "dots": "../" * 200 + str(outside).lstrip("/"),
    }


@pytest.fixture
def trap(here: World, outside: Path) -> Snapshot:
    """A snapshot full of links that lead out."""
    with here.change() as change:
        (change.path / "deep").mkdir()
        for name, target in links(outside).items():
            (change.path / name).symlink_to(target)
            (change.path / "deep" / name).symlink_to(target)
        (change.path / "loop").symlink_to("loop")
        (change.path / "to_file").symlink_to(outside / "secret")
    return change.result


NAMES = ("absolute", "relative", "proc", "twice", "dots")
PREFIXES = ("", "deep/", "deep/../", "absolute/../../deep/")


@pytest.mark.parametrize("way", [f"/{prefix}{name}" for name in NAMES for prefix in PREFIXES])
def test_no_destination_leads_out_of_the_snapshot(
    here: World, trap: Snapshot, context: Path, outside: Path, way: str
) -> None:
    for action in (
        FileAction(Copy("/file", f"{way}/new"), 0, 1, 0),
        FileAction(Copy("/", way, **COPY), 0, 1, 0),
        FileAction(MakeFile(f"{way}/secret", 0o600, b"overwritten"), 0, output=0),
        FileAction(MakeDirectory(f"{way}/new", 0o700, parents=True), 0, output=0),
        FileAction(Symlink(f"{way}/link", "x"), 0, output=0),
        FileAction(Remove(f"{way}/secret", allow_not_found=True), 0, output=0),
        FileAction(Remove(f"{way}/*", allow_not_found=True, allow_wildcard=True), 0, output=0),
    ):
        with suppress(WherryError):
            run(here, [trap, local(context)], action)
        assert unchanged(outside), action


@pytest.mark.parametrize("name", [*NAMES, "to_file", "fd"])
def test_no_source_leads_out_of_the_snapshot(here: World, trap: Snapshot, outside: Path, name: str) -> None:
    for source in (f"/{name}", f"/{name}/secret", f"/{name}/*", f"/deep/{name}/secret", f"/{name}/../{name}/secret"):
        for follow in (False, True):
            action = FileAction(Copy(source, "/to/", follow_symlink=follow, contents_only=follow), 0, 1, 0)
            with suppress(NotFound, InvalidInput):
                result = run(here, [EMPTY, trap], action)
                for path in Path(result.layers[-1].path).rglob("*"):
                    assert not path.is_file() or path.is_symlink(), (source, path)


async def test_nothing_outside_is_read_listed_or_summed(
    here: World, trap: Snapshot, outside: Path, tmp_path: Path
) -> None:
    operations = FileOperations(here.snapshots, tmp_path / "sums")
    try:
        for name in (*NAMES, "to_file", "fd", "loop"):
            for path in (f"/{name}", f"/{name}/secret", f"/deep/{name}/secret", f"/../../{name}/secret"):
                with pytest.raises(WherryError):
                    await operations.read(trap, path)
                with pytest.raises(WherryError):
                    await operations.list_directory(trap, path)
                with pytest.raises(WherryError):
                    await operations.checksum(trap, Copy(path, "/", follow_symlink=True))
    finally:
        operations.close()
    assert unchanged(outside)


def test_names_of_owners_are_not_looked_up_outside(here: World, context: Path) -> None:
    for make in (
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to("../../../../../../../etc/passwd"),
        os.mkfifo,
        lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
        lambda path: path.mkdir(),
    ):
        with here.change() as change:
            (change.path / "etc").mkdir()
            make(change.path / "etc/passwd")
        action = Copy("/file", "/f", chown=Chown(Owner(name="daemon", input=0)))
        with suppress(InvalidInput):
            result = run(here, [change.result, local(context)], FileAction(action, 0, 1, 0))
            with here.mount(result) as root:
                assert os.stat("f", dir_fd=root.fileno()).st_uid == 0


def test_devices_are_copied_and_never_opened(here: World) -> None:
    with here.change() as change:
        os.mknod(change.path / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        os.mkfifo(change.path / "fifo")
    for name in ("zero", "fifo"):
        with here.mount(change.result) as root, pytest.raises(InvalidInput, match="not a regular file"):
            read_file(root.fileno(), name)
        for unpack in (False, True):
            action = FileAction(Copy(f"/{name}", "/to/", unpack_archive=unpack), 0, 1, 0)
            result = run(here, [EMPTY, change.result], action)
            assert not stat.S_ISREG(os.lstat(f"{result.layers[0].path}/to/{name}").st_mode)


def test_an_overlays_own_marks_cannot_be_copied_in(here: World, context: Path) -> None:
    (context / "d").mkdir()
    os.setxattr(context / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(context / "d", "trusted.overlay.redirect", b"/etc")
    os.mknod(context / "whiteout", stat.S_IFCHR | 0o600, 0)
    base = here.layer({"d/kept": b"1", "whiteout": b"2"})
    result = run(here, [base, local(context)], FileAction(Copy("/", "/", **COPY), 0, 1, 0))
    with here.mount(result) as root:
        assert sorted(os.listdir(f"/proc/self/fd/{root.fileno()}/d")) == ["kept"]
        assert os.listxattr(f"/proc/self/fd/{root.fileno()}/d") == []
    assert not any(name.startswith("trusted.overlay.redirect") for name in os.listxattr(f"{result.layers[-1].path}/d"))


@pytest.mark.parametrize(
    "base", [{}, {"d/other": b"1"}, {"d/name": b"1", "top": b"2"}], ids=["empty", "beside", "there"]
)
def test_an_archive_cannot_delete_what_other_layers_have(here: World, context: Path, base: dict[str, bytes]) -> None:
    """A character device 0:0 in a layer is overlayfs' mark of something deleted."""
    with tarfile.open(context / "archive.tar", "w") as archive:
        for name in ("d/name", "top"):
            info = tarfile.TarInfo(name)
            info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 0, 0
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("d/kept"))
    below = [here.layer(base)] if base else [EMPTY]
    action = FileAction(Copy("/archive.tar", "/", unpack_archive=True), 0, 1, 0)
    result = run(here, [*below, local(context)], action)
    with here.mount(result) as root:
        top = Path(f"/proc/self/fd/{root.fileno()}")
        found = {str(path.relative_to(top)) for path in top.rglob("*")}
    assert found == {"d", "d/kept", *base}
    layer = Path(result.layers[-1].path)
    assert not [path for path in layer.rglob("*") if stat.S_ISCHR(path.lstat().st_mode)]


# --- exchanged meanwhile --------------------------------------------------------------------------


class Exchanging:
    """Exchanges two names as fast as it can, in a thread."""

    def __init__(self, one: Path, other: Path) -> None:
        self._one, self._other = one, other
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0

    def _run(self) -> None:
        spare = self._one.with_name("spare")
        while not self._stop.is_set():
            with suppress(OSError):
                self._one.rename(spare)
                self._other.rename(self._one)
                spare.rename(self._other)
                self.count += 1

    def __enter__(self) -> Exchanging:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def tries(work: Callable[[], object], exchanging: Exchanging) -> None:
    """Do something often, while names are exchanged."""
    for _ in range(400):
        with suppress(WherryError, OSError):
            work()
    assert exchanging.count > 0


def test_a_directory_that_becomes_a_link_while_it_is_read_shows_nothing_outside(tmp_path: Path, outside: Path) -> None:
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir/secret").write_text("harmless")
    (root / "link").symlink_to(outside)
    seen = set()
    with Fd(os.open(root, os.O_PATH)) as fd, Exchanging(root / "dir", root / "link") as exchanging:
        tries(lambda: seen.add(read_file(fd.fileno(), "/dir/secret")), exchanging)
        tries(lambda: seen.update(info.path for info in list_directory(fd.fileno(), "/dir")), exchanging)
        tries(lambda: stat_file(fd.fileno(), "/dir/dir"), exchanging)
    assert seen <= {b"harmless", "secret"}


def test_a_tree_whose_directories_become_links_while_it_is_copied_takes_nothing_from_outside(
    tmp_path: Path, outside: Path
) -> None:
    root, target = tmp_path / "root", tmp_path / "target"
    (root / "tree/dir").mkdir(parents=True)
    (root / "tree/dir/secret").write_text("harmless")
    (root / "tree/link").symlink_to(outside)
    target.mkdir()
    number = 0

    def copy() -> None:
        nonlocal number
        number += 1
        with (
            Fd(os.open(root, os.O_PATH)) as source,
            Fd(os.open(target, os.O_PATH)) as into,
            locate(source, b"tree") as tree,
            locate(into, b"%d" % number) as place,
        ):
            Copier(into.fileno(), Looks()).copy(tree, place)

    with Exchanging(root / "tree/dir", root / "tree/link") as exchanging:
        tries(copy, exchanging)
    assert all(path.read_text() == "harmless" for path in target.rglob("secret") if not path.is_symlink())


def test_a_destination_whose_directories_become_links_meanwhile_writes_nothing_outside(
    tmp_path: Path, outside: Path
) -> None:
    root, source = tmp_path / "root", tmp_path / "source"
    (root / "dir").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (source / "tree/dir").mkdir(parents=True)
    (source / "tree/dir/new").write_text("1")

    def copy() -> None:
        with (
            Fd(os.open(source, os.O_PATH)) as origin,
            Fd(os.open(root, os.O_PATH)) as into,
            locate(origin, b"tree") as tree,
            locate(into, b"") as place,
        ):
            Copier(into.fileno(), Looks(), replace=True).copy(tree, place)

    with Exchanging(root / "dir", root / "link") as exchanging:
        tries(copy, exchanging)
    assert unchanged(outside)


# --- large, deep, odd -----------------------------------------------------------------------------


def deep(path: Path, depth: int) -> None:
    """Directories one in another, deeper than any path goes."""
    way = Fd(os.open(path, os.O_RDONLY))
    for _ in range(depth):
        os.mkdir("d" * 20, dir_fd=way.fileno())
        with way:
            way = Fd(os.open("d" * 20, os.O_RDONLY, dir_fd=way.fileno()))
    with way:
        os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=way.fileno()))


async def test_a_tree_deeper_than_any_path_is_refused_before_it_costs_much(
    here: World, context: Path, tmp_path: Path
) -> None:
    deep(context, 3000)
    operations = FileOperations(here.snapshots, tmp_path / "sums")
    try:
        with pytest.raises(InvalidInput, match="file name too long"):
            await operations.checksum(local(context), Copy("/", "/", **COPY))
        with pytest.raises(InvalidInput, match="file name too long"):
            run(here, [EMPTY, local(context)], FileAction(Copy("/", "/o/", **COPY), 0, 1, 0))
        here.snapshots.wait_for_removals()
        assert not os.listdir(here.images.layers.root.parent / "build/drafts")
        with here.change() as change:
            (change.path / "deep").mkdir()
            deep(change.path / "deep", 1000)
        removed = run(here, [change.result], FileAction(Remove("/deep"), 0, output=0))
        with here.mount(removed) as root:
            assert list_directory(root.fileno(), "/") == []
        here.snapshots.retain([])
    finally:
        operations.close()
        for path in (context, here.images.layers.root):  # deeper than the tests' own cleaning goes
            trees.remove(path)


def test_odd_names_are_copied_and_removed(here: World, context: Path) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b" ", b"*", b"\\", b"a" * 255, b".wh.", "ü".encode()):
        Path(os.fsdecode(os.fsencode(context) + b"/" + name)).write_text("odd")
    result = run(here, [EMPTY, local(context)], FileAction(Copy("/", "/o/", **COPY), 0, 1, 0))
    with here.mount(result) as root:
        assert len(list_directory(root.fileno(), "/o")) == 10
    removed = run(here, [result], FileAction(Remove("/o"), 0, output=0))
    with here.mount(removed) as root:
        assert list_directory(root.fileno(), "/") == []


class Held:
    """Holds copies up at a file, until it is left.

    :param at: how many files are copied before.
    :ivar begun: set when it holds one up.
    :ivar count: files that were copied, or begun.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int = 1) -> None:
        self.begun, self._go = threading.Event(), threading.Event()
        self.count = 0
        really = Content.copy

        def copy(content: Content, source: int, target: int, status: os.stat_result) -> None:
            self.count += 1
            if self.count > at:
                self.begun.set()
                assert self._go.wait(60)
            really(content, source, target, status)

        monkeypatch.setattr(Content, "copy", copy)

    async def cancelled(self, task: asyncio.Future[Any]) -> None:
        """Cancel a task while it is held up, and then let it go on."""
        assert await asyncio.to_thread(self.begun.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        self._go.set()
        with pytest.raises(asyncio.CancelledError):
            await task


def layers_of(here: World) -> set[str]:
    """What is left on the disk of layers and drafts."""
    here.snapshots.wait_for_removals()
    root = here.images.layers.root
    return set(os.listdir(root)) | set(os.listdir(root.parent / "build/drafts"))


async def test_a_copy_of_many_files_that_is_not_wanted_any_more_ends_soon_and_leaves_nothing(
    here: World, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (context / "many").mkdir()
    with Fd(os.open(context / "many", os.O_RDONLY)) as fd:
        for number in range(1000):
            os.mknod(f"f{number}", stat.S_IFREG | 0o600, dir_fd=fd.fileno())
    operations = FileOperations(here.snapshots, tmp_path / "sums")
    before = layers_of(here)
    op = FileOp((FileAction(Copy("/many", "/o/", **COPY), 0, 1, 0),))
    try:
        with monkeypatch.context() as patched:
            held = Held(patched, at=500)
            task = asyncio.ensure_future(operations.execute(op, [EMPTY, local(context)], None))
            await held.cancelled(task)
        assert held.count == 501
        assert layers_of(here) == before
        [result] = await operations.execute(op, [EMPTY, local(context)], None)
        assert len(os.listdir(f"{result.layers[0].path}/o")) == 1000
    finally:
        operations.close()


@pytest.mark.parametrize("what", ["execute", "diff", "merge", "own"])
@pytest.mark.parametrize("at", [1, 4])
async def test_copies_of_a_clients_directory_do_not_outlive_what_they_were_made_for(
    here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, at: int
) -> None:
    """Cancelled in the first copy, or at what comes after it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"f{number}").write_text(name)
    one, other = local(tmp_path / "a"), local(tmp_path / "b")
    operations = FileOperations(here.snapshots, tmp_path / "sums")
    before = layers_of(here)

    async def work() -> Any:
        if what == "execute":
            first = FileAction(MakeFile("/new", 0o600, b"1"), 0, output=0)
            second = FileAction(Copy("/f0", "/again"), 1, 0, output=1)
            return await operations.execute(FileOp((first, second)), [one, other], None)
        if what == "diff":
            return [await operations.diff(one, other)]
        return [await (operations.merge([one, other]) if what == "merge" else operations.own(other))]

    try:
        if what != "own" or at == 1:
            with monkeypatch.context() as patched:
                held = Held(patched, at)
                await held.cancelled(asyncio.ensure_future(work()))
            assert layers_of(here) == before
        made = await work()
        wanted = {str(layer.number) for snapshot in made for layer in snapshot.layers}
        assert layers_of(here) - before == wanted
        here.snapshots.remove(int(number) for number in wanted)
        assert layers_of(here) == before
    finally:
        operations.close()


def test_a_sparse_file_of_a_terabyte_costs_nothing(here: World, context: Path) -> None:
    with (context / "huge").open("wb") as file:
        file.truncate(1 << 40)
    result = run(here, [EMPTY, local(context)], FileAction(Copy("/huge", "/o/"), 0, 1, 0))
    found = os.stat(f"{result.layers[0].path}/o/huge")
    assert (found.st_size, found.st_blocks) == (1 << 40, 0)


def test_parents_of_what_is_copied_lead_nowhere(here: World, trap: Snapshot, outside: Path) -> None:
    for name in (*NAMES, "to_file", "fd", "loop"):
        for source in (
            f"/{name}/secret", f"/./{name}/secret", f"/{name}/./secret", f"/deep/{name}/secret", f"/deep/./{name}/*",
            f"/{name}/./dir/..", f"/*/./{name}/secret", f"/{name}/*/./x", f"/**/{name}/secret",
        ):  # fmt: skip
            for follow in (False, True):
                action = Copy(source, "/to/", parents=True, follow_symlink=follow, allow_empty_wildcard=True)
                with suppress(NotFound, InvalidInput):
                    result = run(here, [EMPTY, trap], FileAction(action, 0, 1, 0))
                    files = [path for path in Path(result.layers[-1].path).rglob("*") if not path.is_symlink()]
                    assert not [path for path in files if path.is_file()], (source, files)
                with suppress(NotFound, InvalidInput):
                    run(here, [trap, here.layer({f"{name}/secret": b"overwritten"})],
                        FileAction(Copy(f"/./{name}/secret", "/", parents=True), 0, 1, 0))  # fmt: skip
                assert unchanged(outside), source


def test_too_much_is_not_read_at_once(here: World) -> None:
    with here.change() as change, (change.path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with here.mount(change.result) as root:
        with pytest.raises(TooLarge):
            read_file(root.fileno(), "huge")
        assert read_file(root.fileno(), "huge", 5, 4) == bytes(4)


@pytest.mark.parametrize(
    "members",
    [
        [link("l", "{out}"), member("l/secret", b"overwritten")],
        [member("../../../../{out}/secret", b"overwritten")],
        [member("/{out}/secret", b"overwritten")],
        [link("h", "../../{out}/secret", hard=True)],
        [directory("a"), link("a/b", "../../../../../{out}"), member("a/b/secret", b"overwritten")],
    ],
)
def test_archives_unpack_inside_of_their_destination(
    here: World, context: Path, outside: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    for info, _ in members:
        info.name = info.name.format(out=outside)
        info.linkname = info.linkname.format(out=outside)
    (context / "archive.tar").write_bytes(tar(members))
    with suppress(WherryError):
        action = FileAction(Copy("/archive.tar", "/o/", unpack_archive=True), 0, 1, 0)
        run(here, [EMPTY, local(context)], action)
    assert unchanged(outside)


def test_a_bomb_is_an_error_and_leaves_nothing(here: World, context: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=9) as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 300 << 20
        archive.addfile(info, io.BytesIO(bytes(300 << 20)))
    (context / "bomb").write_bytes(buffer.getvalue())
    with pytest.raises(TooLarge, match="decompression bomb"):
        run(here, [EMPTY, local(context)], FileAction(Copy("/bomb", "/o/", unpack_archive=True), 0, 1, 0))
    here.snapshots.wait_for_removals()
    assert not os.listdir(here.images.layers.root.parent / "build/drafts")


def test_paths_that_no_kernel_takes_are_refused(here: World, context: Path) -> None:
    for path in ("/" + "a" * 256, "/" + "a/" * 3000, "/a\0b"):
        with pytest.raises(WherryError):
            run(here, [EMPTY, local(context)], FileAction(Copy("/file", path), 0, 1, 0))
        with pytest.raises(WherryError):
            run(here, [], FileAction(MakeDirectory(path, 0o700), output=0))
    for action in (Copy("/[", "/x"), Copy("/file", "/x", timestamp=1 << 63), Copy("/file", "/x", mode_text="nonsense")):
        with pytest.raises(InvalidInput):
            run(here, [EMPTY, local(context)], FileAction(action, 0, 1, 0))
    for target in ("a\0b", "a" * 5000, "\ud800", ""):
        with pytest.raises(WherryError):
            run(here, [], FileAction(Symlink("/link", target), output=0))


def test_an_operation_of_very_many_actions_takes_no_longer_than_they_do(here: World) -> None:
    count = 3000
    actions = [FileAction(MakeFile(f"/f{number}", 0o600, b""), number - 1) for number in range(count - 1)]
    result = run(here, [], *actions, FileAction(Remove("/f*", allow_wildcard=True), count - 2, output=0))
    assert os.listdir(result.layers[0].path) == []
