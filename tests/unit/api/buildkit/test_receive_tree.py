"""A directory as a client sends it, without a connection."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.api.buildkit.gomode import DIRECTORY, SYMLINK
from wherry.api.buildkit.grpc import Messages, framed
from wherry.api.buildkit.proto.fsutil_pb2 import Packet, Stat
from wherry.api.buildkit.receive_tree import DATA, ERR, FIN, REQ, TreeReceiver
from wherry.errors import InvalidInput, OutOfSpace, SystemFault, TooLarge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where it goes."""
    root = tmp_path / "root"
    root.mkdir()
    return root


class Late:
    """A receiver that begins when it is first used: tests put things there before."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real: TreeReceiver | None = None

    @property
    def real(self) -> TreeReceiver:
        if self._real is None:
            self._real = TreeReceiver(self._root)
        return self._real

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


@pytest.fixture
def receiver(root: Path) -> Iterator[TreeReceiver]:
    """What takes it."""
    late = Late(root)
    yield late  # type: ignore[misc]
    late.real.close()


def feed(receiver: TreeReceiver, *packets: Packet) -> list[Packet]:
    """Give it packets; what it says."""
    answer = receiver.feed(b"".join(framed(packet.SerializeToString()) for packet in packets))
    return [Packet.FromString(message) for message in Messages().feed(answer)]


def file(path: str, size: int = 1, mode: int = 0o644, **more: object) -> Packet:
    return Packet(stat=Stat(path=path.encode(), mode=mode, size=size, modTime=1_000_000_007, **more))


def directory(path: str, mode: int = 0o755) -> Packet:
    return Packet(stat=Stat(path=path.encode(), mode=DIRECTORY | mode, modTime=1_000_000_009))


def link(path: str, target: str) -> Packet:
    return Packet(stat=Stat(path=path.encode(), mode=SYMLINK | 0o777, linkname=target.encode(), modTime=5))


def data(number: int, *pieces: bytes) -> list[Packet]:
    return [Packet(type=DATA, ID=number, data=piece) for piece in (*pieces, b"")]


END = Packet()


def test_a_tree_is_made(root: Path, receiver: TreeReceiver) -> None:
    asked = feed(receiver, directory("d", 0o750), file("d/f", 3), link("d/l", "f"), file("x", 0, 0o4755 & 0o777))
    assert [(one.type, one.ID) for one in asked] == [(REQ, 1), (REQ, 3)]
    assert feed(receiver, END, *data(1, b"ab", b"c")) == []
    assert [one.type for one in feed(receiver, *data(3))] == [FIN]
    assert receiver.has_finished
    assert not receiver.is_done
    feed(receiver, Packet(type=FIN))
    assert receiver.is_done
    assert (root / "d/f").read_bytes() == b"abc"
    assert os.readlink(root / "d/l") == "f"
    assert (root / "d").stat().st_mtime_ns == 1_000_000_009
    assert (root / "d/f").stat().st_mtime_ns == 1_000_000_007
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750
    assert receiver.received == 3


def test_it_does_not_matter_where_messages_are_cut(root: Path) -> None:
    packets = [directory("d"), file("d/f", 70_000), END, *data(1, bytes(range(256)) * 128, b"x" * 32_768)]
    stream = b"".join(framed(packet.SerializeToString()) for packet in packets)
    for step in (1, 7, 4096):
        receiver = TreeReceiver(root)
        for start in range(0, len(stream), step):
            receiver.feed(stream[start : start + step])
        assert receiver.has_finished
        receiver.close()
        assert (root / "d/f").stat().st_size == 65_536
        (root / "d/f").unlink()


def test_what_has_not_changed_is_not_asked_for(root: Path, receiver: TreeReceiver) -> None:
    (root / "f").write_bytes(b"a")
    (root / "f").chmod(0o644)
    os.utime(root / "f", ns=(1, 1_000_000_007))
    assert [one.type for one in feed(receiver, file("f"), END)] == [FIN]


@pytest.mark.parametrize("other", [{"size": 2}, {"mode": 0o600}])
def test_what_has_changed_is_written_to_a_new_file(root: Path, receiver: TreeReceiver, other: dict[str, int]) -> None:
    (root / "f").write_bytes(b"a")
    (root / "f").chmod(0o644)
    os.utime(root / "f", ns=(1, 1_000_000_007))
    os.link(root / "f", root / "g")
    assert [one.type for one in feed(receiver, file("f", **other), file("g"), END)] == [REQ]
    feed(receiver, *data(0, b"new"))
    assert (root / "f").read_bytes() == b"new"
    assert (root / "g").read_bytes() == b"a"


def test_what_the_client_has_no_more_goes(root: Path, receiver: TreeReceiver) -> None:
    (root / "old/deep").mkdir(parents=True)
    (root / "old/deep/f").touch()
    (root / "d").mkdir()
    (root / "d/old").touch()
    (root / "z").symlink_to("/etc")
    feed(receiver, directory("d"), END)
    assert sorted(path.name for path in root.rglob("*")) == ["d"]


def test_a_hole_is_kept_one(root: Path, receiver: TreeReceiver) -> None:
    feed(receiver, file("f", 1 << 20), END)
    feed(receiver, *data(0, *[bytes(32 << 10)] * 32))
    assert (root / "f").stat().st_size == 1 << 20
    assert (root / "f").stat().st_blocks == 0
    assert (root / "f").read_bytes() == bytes(1 << 20)


def test_hard_links_are_made_when_everything_is_there(root: Path, receiver: TreeReceiver) -> None:
    asked = feed(receiver, directory("a"), file("a/f"), file("b", 0, linkname=b"a/f"), END)
    assert [one.ID for one in asked] == [1]
    feed(receiver, *data(1, b"x"))
    assert (root / "b").samefile(root / "a/f")


def test_names_need_not_be_utf_8(root: Path, receiver: TreeReceiver) -> None:
    feed(receiver, Packet(stat=Stat(path=b"\xff", mode=0o600)), END)
    feed(receiver, *data(0))
    assert os.listdir(os.fsencode(root)) == [b"\xff"]


def test_devices_fifos_and_sockets_are_left_out(root: Path, receiver: TreeReceiver) -> None:
    kinds = [1 << 26, 1 << 26 | 1 << 21, 1 << 25, 1 << 24]
    packets = [Packet(stat=Stat(path=b"%d" % number, mode=kind | 0o666)) for number, kind in enumerate(kinds)]
    assert [one.type for one in feed(receiver, *packets, END)] == [FIN]
    assert list(root.iterdir()) == []


def test_what_is_not_wanted_is_left_out(root: Path) -> None:
    (root / "no").mkdir()
    (root / "no/x").touch()
    receiver = TreeReceiver(root, lambda path, _is_directory: b"no" not in path)
    packets = [file("a"), directory("no"), file("no/x"), directory("no/y"), file("no/y/z"), file("z.no"), END]
    assert [one.ID for one in feed(receiver, *packets)] == [0]
    feed(receiver, *data(0, b"a"))
    receiver.close()
    assert [path.name for path in root.rglob("*")] == ["a"]


@pytest.mark.parametrize(
    "packets",
    [
        [file("/etc/passwd")],
        [file("/f")],
        [file("../f")],
        [file("..")],
        [file(".")],
        [file("")],
        [directory("d"), file("d/../f")],
        [directory("d"), file("d//f")],
        [file("./f")],
        [file("a\0b")],
        [file("d/f")],
        [file("f"), file("f/g")],
        [link("d", "/etc"), file("d/passwd")],
        [link("d", "/etc"), directory("d")],
        [file("b"), file("a")],
        [file("a"), file("a")],
        [directory("a"), file("a-b"), file("a/c")],
        [file("x" * 5000)],
        [link("l", "")],
        [link("l", "a\0b")],
        [END, END],
        [END, file("f")],
        [Packet(type=DATA, ID=0, data=b"x")],
        [file("a", 0, linkname=b"../../etc/passwd"), END],
        [file("a", 0, linkname=b"/etc/passwd"), END],
        [link("a", "/etc/passwd"), file("b", 0, linkname=b"a"), END],
        [link("a", "/etc"), file("b", 0, linkname=b"a/passwd"), END],
        [directory("a"), file("b", 0, linkname=b"a"), END],
        [file("a", 0, linkname=b"b"), END],
        [Packet(type=FIN)],
        [Packet(type=ERR, data=b"no")],
        [Packet(type=9)],
        [Packet(type=REQ)],
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(root: Path, receiver: TreeReceiver, packets: list[Packet]) -> None:
    with pytest.raises(InvalidInput):
        feed(receiver, *packets)
    assert not (root.parent / "f").exists()


def test_bytes_that_are_no_packet_are_refused(receiver: TreeReceiver) -> None:
    with pytest.raises(InvalidInput, match="invalid packet"):
        receiver.feed(framed(b"\xff\xff\xff"))


def test_a_link_that_lies_in_the_way_of_a_directory_is_replaced(root: Path, receiver: TreeReceiver) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "f").write_text("mine")
    (root / "d").symlink_to(outside)
    feed(receiver, directory("d"), file("d/f"), END)
    feed(receiver, *data(1, b"x"))
    assert (outside / "f").read_text() == "mine"
    assert not (root / "d").is_symlink()


def test_a_link_that_lies_in_the_way_of_a_file_is_replaced(root: Path, receiver: TreeReceiver) -> None:
    outside = root.parent / "outside"
    outside.write_text("mine")
    (root / "f").symlink_to(outside)
    feed(receiver, file("f"), END)
    feed(receiver, *data(0, b"x"))
    assert outside.read_text() == "mine"
    assert (root / "f").read_bytes() == b"x"


def test_so_deep_and_no_deeper(receiver: TreeReceiver) -> None:
    with pytest.raises(TooLarge, match="too deep"):
        feed(receiver, *[directory("/".join(["d"] * depth)) for depth in range(1, 700)])


def test_only_some_files_come_at_once(receiver: TreeReceiver) -> None:
    feed(receiver, *[file(f"f{number:03}") for number in range(100)], END)
    with pytest.raises(InvalidInput, match="too many files at once"):
        feed(receiver, *[Packet(type=DATA, ID=number, data=b"x") for number in range(100)])


def test_a_file_that_is_given_twice_is_refused(receiver: TreeReceiver) -> None:
    feed(receiver, file("a"), file("b"), END)
    feed(receiver, *data(0, b"x"))
    with pytest.raises(InvalidInput, match="invalid file request 0"):
        feed(receiver, *data(0, b"y"))


def test_half_a_file_differs_the_next_time(root: Path, receiver: TreeReceiver) -> None:
    feed(receiver, file("f", 2), END)
    feed(receiver, Packet(type=DATA, ID=0, data=b"ab"))
    receiver.close()
    second = TreeReceiver(root)
    assert [one.type for one in feed(second, file("f", 2), END)] == [REQ]
    second.close()


def test_a_full_disk_is_told(receiver: TreeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    feed(receiver, file("f"), END)
    monkeypatch.setattr("wherry.api.buildkit.receive_tree.os.write", full)
    with pytest.raises(OutOfSpace, match="unable to keep the client's files: no space left on device"):
        feed(receiver, *data(0, b"x"))


def test_everything_is_closed(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    receiver = TreeReceiver(root)
    feed(receiver, directory("a"), directory("a/b"), file("a/b/c"), file("a/b/d"))
    feed(receiver, Packet(type=DATA, ID=2, data=b"x"))
    receiver.close()
    receiver.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_links_and_attributes_that_nothing_can_have_are_refused(root: Path, receiver: TreeReceiver) -> None:
    with pytest.raises(InvalidInput, match="invalid link from the client: 'a'"):
        feed(receiver, file("a", linkname=b"x" * 5000))
    with pytest.raises(InvalidInput, match="too many attributes: 'b'"):
        feed(receiver, file("b", xattrs={"user.a": bytes(60_000), "user.b": bytes(6_000)}))


def test_what_waits_for_the_end_has_a_bound(receiver: TreeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.api.buildkit.receive_tree.MOST_HELD", 100_000)
    attributes = {"user.a": bytes(60_000), "trusted.b": bytes(1_000_000)}
    for number in range(3):  # what is complete waits no more
        feed(receiver, file(f"a{number}", xattrs=attributes), *data(number, b"x"))
    feed(receiver, file("b", xattrs=attributes))
    with pytest.raises(TooLarge, match="names, links and attributes"):
        feed(receiver, file("c", xattrs=attributes))


@pytest.mark.parametrize(
    "make", [lambda name: file(name, linkname=b"b" * 4000), lambda name: directory(name + "d" * 200)],
    ids=["links", "directories"],
)  # fmt: skip
def test_links_and_directories_without_end_are_refused(
    receiver: TreeReceiver, monkeypatch: pytest.MonkeyPatch, make: Callable[[str], Packet]
) -> None:
    monkeypatch.setattr("wherry.api.buildkit.receive_tree.MOST_HELD", 10_000)
    with pytest.raises(TooLarge, match="names, links and attributes"):
        feed(receiver, *(make(f"a{number:02}") for number in range(60)))


def test_a_name_that_is_no_utf_8_may_be_told_of(receiver: TreeReceiver) -> None:
    with pytest.raises(SystemFault, match=r"\ufffd{256}': file name too long") as caught:
        feed(receiver, Packet(stat=Stat(path=b"\xff" * 256, mode=DIRECTORY | 0o755)))
    assert str(caught.value).encode()
