"""A directory's content as it goes to a client; what takes it is what takes a client's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.api.buildkit.grpc import Messages, framed
from wherry.api.buildkit.proto.fsutil_pb2 import Packet
from wherry.api.buildkit.receive_tree import FIN, REQ, TreeReceiver
from wherry.api.buildkit.send_tree import TreeSender
from wherry.errors import InvalidInput


def copy(sender: TreeSender, to: Path) -> None:
    """Let a receiver have all that is sent."""
    receiver = TreeReceiver(to)
    wanted = b"".join(receiver.feed(batch) for batch in sender.entries())
    for message in Messages().feed(wanted):
        packet = Packet.FromString(message)
        if packet.type == REQ:
            for piece in sender.content(packet.ID):
                receiver.feed(piece)
    receiver.feed(framed(Packet(type=FIN).SerializeToString()))
    assert receiver.is_done
    receiver.close()
    sender.close()


def tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (content, path.lstat().st_mode, path.lstat().st_mtime_ns)
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What is sent."""
    root = tmp_path / "source"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/large").write_bytes(os.urandom(600_000))
    (root / "a-z").write_text("x")
    (root / "a.z").write_text("")
    (root / "a/link").symlink_to("/etc/passwd")
    (root / "loop").symlink_to("loop")
    os.link(root / "a/b/large", root / "z")
    os.mkfifo(root / "fifo")
    return root


def test_all_of_a_tree_goes_and_links_are_links(tmp_path: Path, source: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    copy(TreeSender(source), there)
    (source / "fifo").unlink()
    os.utime(source, (1, 1))
    assert tree(there) == tree(source)


def test_it_goes_below_a_directory_and_at_one_time(tmp_path: Path, source: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    copy(TreeSender(source, "linux_amd64", 7_000_000_000), there)
    assert sorted(path.name for path in there.iterdir()) == ["linux_amd64"]
    assert {path.lstat().st_mtime_ns for path in there.rglob("*")} == {7_000_000_000}
    large = there / "linux_amd64/a/b/large"
    assert large.read_bytes() == (source / "a/b/large").read_bytes()
    assert large.samefile(there / "linux_amd64/z")  # sent once (fsutil, stat_unix.go)


def test_each_file_is_given_once(source: Path) -> None:
    sender = TreeSender(source)
    list(sender.entries())
    with pytest.raises(InvalidInput, match="invalid file id 0"):
        list(sender.content(0))
    sender.close()


def test_a_file_that_became_a_link_is_not_followed(source: Path) -> None:
    sender = TreeSender(source)
    entries = [Packet.FromString(one) for batch in sender.entries() for one in Messages().feed(batch)]
    number = [one.stat.path for one in entries].index(b"a-z")
    (source / "a-z").unlink()
    (source / "a-z").symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="openat2"):
        list(sender.content(number))
    sender.close()
