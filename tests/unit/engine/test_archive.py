"""Files into and out of a container, over a plain directory: names, links, what is in the way, what leads out."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import tarfile
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.engine.archive.archives import _in_thread, _status
from wherry.engine.archive.pack import pack
from wherry.engine.archive.unpack import unpack
from wherry.engine.archive.view import View, absolute
from wherry.errors import CorruptData, InvalidInput, NotFound, SystemFault, TooLarge, WherryError
from wherry.linux.fd import Fd

#: By path: the names in the archive that dockerd makes of what `root` has.
NAMES_LIKE_DOCKER = {
    "/d": ["d", "d/a", "d/hard", "d/rel", "d/sub", "d/sub/b"],
    "/d/": ["d", "d/a", "d/hard", "d/rel", "d/sub", "d/sub/b"],
    "/d/.": [".", "./a", "./hard", "./rel", "./sub", "./sub/b"],
    "d/sub": ["sub", "sub/b"],
    "/d/../d/sub/..": ["d", "d/a", "d/hard", "d/rel", "d/sub", "d/sub/b"],
    "/file": ["file"],
    "/dlink": ["dlink"],
    "/dlink/": ["dlink", "dlink/a", "dlink/hard", "dlink/rel", "dlink/sub", "dlink/sub/b"],
    "/dlink/.": [".", "./a", "./hard", "./rel", "./sub", "./sub/b"],
    "/abs/b": ["b"],
    "/broken": ["broken"],
    "../../file": ["file"],
}
#: What dockerd says of paths: the target of a link, or an error.
TARGETS_LIKE_DOCKER = {
    "/dlink": "/d", "/flink": "/d/sub/b", "/broken": "/nowhere/x", "/up": "/d/sub", "/dangling": "/d/sub/new",
    "/dlink/": "", "/file": "", "/": "",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    (top / "d/sub").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "d/a").write_text("a\n")
    (top / "d/sub/b").write_text("b\n")
    (top / "file").write_text("f\n")
    os.link(top / "d/a", top / "d/hard")
    links = {
        "d/rel": "a", "dlink": "d", "abs": "/d/sub", "flink": "/d/sub/b", "broken": "nowhere/x", "loop": "loop",
        "up": "../../../d/../d/sub", "dangling": "/d/sub/new", "out": str(tmp_path / "outside"),
    }  # fmt: skip
    for name, goal in links.items():
        (top / name).symlink_to(goal)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("of the host")
    return top


@pytest.fixture
def view(root: Path) -> View:
    return View(Fd(os.open(root, os.O_PATH | os.O_CLOEXEC)), "web")


def taken(view: View, path: str) -> tarfile.TarFile:
    pieces = io.BytesIO()
    pack(view, path, pieces.write)
    pieces.seek(0)
    return tarfile.open(fileobj=pieces)


def archive(*members: tuple[str, bytes] | tuple[str, bytes, str | bytes]) -> io.BytesIO:
    """Members are name, type, and content or target."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, *rest in members:
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid = kind, os.getuid(), os.getgid()
            member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            if kind == tarfile.REGTYPE:
                content = rest[0] if rest else b"new"
                assert isinstance(content, bytes)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = str(rest[0]) if rest else ""
                tar.addfile(member)
    made.seek(0)
    return made


def put(view: View, path: str, stream: io.BytesIO, *, keep_kinds: bool = False) -> None:
    unpack(view, path, stream, check=lambda real: None, keep_kinds=keep_kinds)


@pytest.mark.parametrize("path", NAMES_LIKE_DOCKER)
def test_an_archive_begins_with_the_name_that_was_asked_for(view: View, path: str) -> None:
    assert taken(view, path).getnames() == NAMES_LIKE_DOCKER[path]


def test_the_root_comes_as_names_from_the_root(view: View) -> None:
    names = [member.name for member in taken(view, "/")]
    assert "/d/sub/b" in names
    assert not any("//" in name for name in names)


def test_hard_links_stay_hard_links(view: View) -> None:
    member = taken(view, "/dlink/").getmember("dlink/hard")
    assert (member.type, member.linkname) == (tarfile.LNKTYPE, "dlink/a")


@pytest.mark.parametrize("path", TARGETS_LIKE_DOCKER)
def test_a_link_is_told_with_its_last_target(view: View, path: str) -> None:
    assert _status(view, path).link_target == TARGETS_LIKE_DOCKER[path]


@pytest.mark.parametrize("path", ["/nope", "/nope/x", "/broken/", "/out/secret", "/out/", "/loop/../nope"])
def test_what_is_not_there_is_told_in_dockers_words(view: View, path: str) -> None:
    for look in (lambda: _status(view, path), lambda: taken(view, path), lambda: put(view, path, archive())):
        with pytest.raises(NotFound, match=f"^Could not find the file {path} in container web$"):
            look()


@pytest.mark.parametrize("path", ["/file/", "/file/x", "/loop/x"])
def test_a_file_is_no_directory(view: View, path: str) -> None:
    with pytest.raises(SystemFault, match=r"^lstat "):
        _status(view, path)


def test_paths_keep_what_their_ends_say() -> None:
    cases = {"a": "/a", "/a/": "/a/", "a/.": "/a/.", "//a//b": "/a/b", ".": "/.", "/": "/", "/..": "/", "a/..": "/"}
    assert {path: absolute(path) for path in cases} == cases


def test_an_archive_goes_where_links_lead_in_the_root(view: View, root: Path) -> None:
    put(view, "/dlink", archive(("x", tarfile.REGTYPE), ("sub/y", tarfile.REGTYPE), ("new/er/z", tarfile.REGTYPE)))
    put(
        view,
        "/",
        archive(
            ("abs/w", tarfile.REGTYPE),
        ),
    )
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {"d/x", "d/sub/y", "d/new/er/z", "d/sub/w"} <= found


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../x", tarfile.REGTYPE)], '"../x" is outside of "/d"'),
        ([("a/../../x", tarfile.REGTYPE)], '"a/../../x" is outside of "/d"'),
        ([("l", tarfile.LNKTYPE, "../file")], 'invalid hardlink "/file" -> "../file"'),
        ([("l", tarfile.LNKTYPE, "zzz")], "no such file"),
        ([("a/x", tarfile.REGTYPE)], "as a directory"),
    ],
)
def test_archives_that_lead_out_are_refused(view: View, members: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        put(view, "/d", archive(*members))
    assert message in str(caught.value)


def test_nothing_is_written_through_a_link_that_leads_out(view: View, root: Path) -> None:
    outside = root.parent / "outside"
    with pytest.raises(WherryError):
        put(view, "/", archive(("out/planted", tarfile.REGTYPE)))
    with pytest.raises(WherryError):
        put(view, "/d", archive(("l", tarfile.SYMTYPE, str(outside)), ("l/planted", tarfile.REGTYPE)))
    put(view, "/", archive(("out", tarfile.REGTYPE, b"a file instead of the link")))
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (root / "out").read_bytes() == b"a file instead of the link"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("sub", tarfile.REGTYPE), 'cannot overwrite directory "/d/sub" with non-directory "/d"'),
        (("a", tarfile.DIRTYPE), 'cannot overwrite non-directory "/d/a" with directory "/d"'),
        (("rel", tarfile.DIRTYPE), 'cannot overwrite non-directory "/d/rel" with directory "/d"'),
    ],
)
def test_kinds_are_kept_if_asked_for(view: View, root: Path, member: tuple[str, bytes], message: str) -> None:
    with pytest.raises(SystemFault) as caught:
        put(view, "/d", archive(member), keep_kinds=True)
    assert str(caught.value) == message
    put(view, "/d", archive(member))
    assert (root / "d" / member[0]).is_dir() == (member[1] == tarfile.DIRTYPE)


def test_an_extraction_point_is_a_directory(view: View) -> None:
    with pytest.raises(InvalidInput, match=r"^extraction point is not a directory$"):
        put(view, "/file", archive())


def test_an_empty_body_is_an_archive_of_nothing_and_rubbish_is_none(view: View) -> None:
    put(view, "/d", io.BytesIO())
    with pytest.raises(CorruptData):
        put(view, "/d", io.BytesIO(b"x" * 1024))
    with pytest.raises(CorruptData):
        put(view, "/d", io.BytesIO(archive(("x", tarfile.REGTYPE, b"x" * 5000)).getvalue()[:2000]))


def test_what_is_checked_is_the_path_without_links(view: View) -> None:
    seen: list[str] = []
    check: Callable[[str], None] = seen.append
    unpack(view, "/dlink/../up/.", archive(), check=check)
    unpack(view, "/dlink/sub", archive(), check=check)
    assert seen == ["/d/sub", "/d/sub"]


def test_fifos_are_packed_without_being_opened(view: View, root: Path) -> None:
    os.mkfifo(root / "d/pipe")
    assert taken(view, "/d").getmember("d/pipe").isfifo()
    assert taken(view, "/d/pipe").getmember("pipe").isfifo()


def test_directories_too_wide_to_be_sorted_are_packed_in_whole(
    view: View, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held in memory is bounded for all directories on the way together."""
    for way in ("w", "w/a", "w/a/a"):
        (root / way).mkdir()
        for number in range(7):
            (root / way / f"f{number}").touch()
    wanted = sorted(str(path.relative_to(root)) for path in (root / "w").rglob("*"))
    for most in (0, 4, 10, 100):
        monkeypatch.setattr("wherry.engine.archive.pack._SORTED", most or 1)
        names = taken(view, "/w").getnames()
        assert sorted(names) == ["w", *wanted], most
        assert all(name.rpartition("/")[0] in names[: names.index(name)] for name in names[1:])


def test_hard_links_that_nobody_remembers_are_files(view: View, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.layers.pack._MOST_LINKS", 1000)
    for name, further in (("0", "9"), *((f"{number}", f"{number}near") for number in range(1, 9))):
        (root / "empty" / name).write_text(name)
        os.link(root / "empty" / name, root / "empty" / further)
    found = taken(view, "/empty/.")
    assert all(found.getmember(f"./{number}near").islnk() for number in range(1, 9))
    packed = found.extractfile("./9")
    assert packed is not None
    assert not found.getmember("./9").islnk()
    assert packed.read() == b"0"


def test_a_file_that_cannot_be_read_to_its_end_is_not_left_out(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header is in the archive already: what follows would be taken for its content."""

    def gone(*_: object) -> bytes:
        raise OSError(errno.ESTALE, "stale file handle")

    monkeypatch.setattr("wherry.layers.pack.os.read", gone)
    with pytest.raises(SystemFault, match="stale"):
        pack(view, "/d", lambda piece: None)


def test_attributes_that_no_reader_takes_are_not_read() -> None:
    """A tmpfs lets a file have half a gigabyte of them."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        file = Path(place, "file")
        file.touch()
        try:
            for number in range(20):
                os.setxattr(file, f"user.{number}", bytes(60_000))
        except OSError:
            pytest.skip("needs user attributes on a tmpfs (Linux 6.6)")
        view = View(Fd(os.open(place, os.O_PATH | os.O_CLOEXEC)), "web")
        with pytest.raises(TooLarge, match="extended attributes"):
            taken(view, "/file")


def test_the_kernels_files_are_not_there() -> None:
    view = View(Fd(os.open("/", os.O_PATH | os.O_CLOEXEC)), "web")
    for path in ("/proc/version", "/proc/self/environ", "/proc/1/root/etc/passwd", "/sys/kernel"):
        with pytest.raises((NotFound, SystemFault)):
            taken(view, path)
    assert taken(view, "/proc").getnames() == ["proc"]
    with pytest.raises(InvalidInput, match="the kernel's"):
        put(view, "/proc", archive(("x", tarfile.REGTYPE)))


async def test_who_goes_waits_for_the_thread_however_often_it_is_told_to_go(caplog: pytest.LogCaptureFixture) -> None:
    """What the thread works on is closed behind it, and its descriptors would be other files by then."""
    begun, given_up, goes_on = asyncio.Event(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    has_ended = False

    def work() -> None:
        nonlocal has_ended
        loop.call_soon_threadsafe(begun.set)
        goes_on.wait()
        has_ended = True
        raise SystemFault("nobody wants the rest of the body")

    async def unpacked() -> None:
        try:
            await _in_thread(work, given_up.set)
        finally:
            assert has_ended

    task = asyncio.create_task(unpacked())
    await begun.wait()
    task.cancel()
    await given_up.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    goes_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert not caplog.records, "an error that nobody looked at"
