"""DiffCopy, the side that receives: a directory becomes like one of the client's (tonistiigi/fsutil, ``receive.go``).

::

    client                                            here
      STAT (path, mode, size, time), in order  ---->    compared with what is there; what is not there any more goes
      an empty STAT: that was all              ---->
                                               <----  REQ (number of the STAT), for what differs
      DATA (number, bytes) ... empty: its end  ---->    written
                                               <----  FIN, when everything has come
      FIN                                      ---->

Nothing that comes is trusted. The way down is by descriptors of directories that were looked at here; of what comes in
the order that it has to come in, none can be a link. Only files that were asked for are written, and each into a new
one. Files get their times when they are complete: after an interruption, half a file differs.

It costs some 7 us for an entry that has not changed, which is what counts: mind it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from wherry.api.buildkit.gomode import DIRECTORY, SYMLINK, TYPE, from_go
from wherry.api.buildkit.grpc import Messages, framed
from wherry.api.buildkit.proto.fsutil_pb2 import Packet, Stat
from wherry.errors import InvalidInput, OutOfSpace, SystemFault, TooLarge
from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DATA", "ERR", "FIN", "MOST_ENTRIES", "REQ", "STAT", "TreeReceiver"]

STAT, REQ, DATA, FIN, ERR = range(5)

MOST_ENTRIES: Final = 2_000_000
DEEPEST: Final = 500
MOST_OPEN: Final = 64  #: files that come at once; clients send four
MOST_HELD: Final = 512 << 20  #: bytes of names, links and attributes that wait for the end of their file, or of all
MOST_ATTRIBUTES: Final = 64 << 10  #: bytes of one file's (XATTR_SIZE_MAX, XATTR_LIST_MAX)
EXCESS: Final = 1 << 30  #: bytes that may come beyond what a file had when it was looked at: it may have grown
_ZEROS: Final = bytes(32 << 10)
_BENEATH: Final = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS
_PATH: Final = os.O_PATH | os.O_DIRECTORY
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Directory:
    """One on the way to the present entry.

    :param fd: -1: it is not wanted, and nothing in it is.
    :param there: names in it that were there before and have not come yet.
    """

    path: bytes
    fd: int
    there: set[bytes]
    last: bytes = b""


@dataclass(slots=True)
class _File:
    """One that was asked for."""

    parent: bytes
    name: bytes
    mode: int
    modified: int
    expected: int
    attributes: dict[str, bytes] | None
    held: int
    fd: int = -1
    size: int = 0
    ends_with_hole: bool = False


@dataclass(slots=True)
class _Link:
    """A further name of a file that came before."""

    parent: bytes
    name: bytes
    target: bytes


@dataclass(slots=True)
class _Plan:
    """What is to be done when everything has come."""

    links: list[_Link] = field(default_factory=list)
    times: dict[bytes, int] = field(default_factory=dict)  #: of all directories
    changed: set[bytes] = field(default_factory=set)  #: directories that need theirs again


class TreeReceiver:
    """Takes what the client sends, makes what it is told; blocking, so not for the event loop. Close it.

    :param root: an existing directory.
    :param wants: whether an entry is wanted (its path, whether it is a directory), or may have something in it that is;
        None: all are.
    """

    def __init__(self, root: Path, wants: Callable[[bytes, bool], bool] | None = None) -> None:
        self.is_done = False  #: the client has said its last
        self.has_finished = False  #: we have
        self.received = 0  #: bytes of files
        self._messages = Messages()
        self._wants = wants
        there = set(map(os.fsencode, os.listdir(root)))
        self._root = os.open(root, trees.DIRECTORY)
        top = _Directory(b"", self._root, there)
        self._way = [top]
        self._top = top
        self._count = 0
        self._all_seen = False
        self._wanted: dict[int, _File] = {}
        self._open = 0
        self._held = 0
        self._plan = _Plan()
        self._parent: tuple[bytes, Fd] | None = None  #: of the last file
        self._requests: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the stream; what is to be sent then.

        :raises InvalidInput: they are not what they should be.
        :raises TooLarge: there is more of them than anybody needs.
        :raises OutOfSpace: the disk is full.
        :raises SystemFault: a file could not be written.
        """
        requests = self._requests = []
        try:
            for message in self._messages.feed(data):
                self._packet(Packet.FromString(message))
            if self._all_seen and not self._wanted and not self.has_finished:
                self._finish()
                requests.append(framed(Packet(type=FIN).SerializeToString()))
        except DecodeError as error:
            raise InvalidInput("invalid packet from the client", cause=str(error)) from error
        except OSError as error:
            kind = OutOfSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else SystemFault
            where = f" '{os.fsdecode(error.filename)}'" if isinstance(error.filename, str | bytes) else ""
            text = (error.strerror or str(error)).lower()
            raise kind(f"unable to keep the client's files{where}", cause=text) from error
        return b"".join(requests)

    def close(self) -> None:
        """Close what is open."""
        for file in self._wanted.values():
            if file.fd >= 0:
                os.close(file.fd)
        self._wanted.clear()
        for directory in self._way:
            if directory.fd >= 0:
                os.close(directory.fd)
        self._way = []
        self._forget_parent()

    # --- packets

    def _packet(self, packet: Packet) -> None:
        kind = packet.type
        if kind == STAT:
            if packet.HasField("stat"):
                self._entry(packet.stat)
            else:
                self._end_of_entries()
        elif kind == DATA:
            self._data(packet.ID, packet.data)
        elif kind == FIN:
            if not self.has_finished:
                raise InvalidInput("the client ended the transfer early")
            self.is_done = True
        elif kind == ERR:
            raise InvalidInput(f"error from sender: {packet.data[:4096].decode(errors='replace')}")
        else:
            raise InvalidInput(f"unexpected packet of type {kind}")

    def _entry(self, entry: Stat) -> None:
        if self._all_seen:
            raise InvalidInput("an entry came behind the last one")
        number = self._count
        self._count = number + 1
        if number >= MOST_ENTRIES:
            raise TooLarge(f"too many files: more than {MOST_ENTRIES}")
        path = entry.path
        parent, _, name = path.rpartition(b"/")
        top = self._top
        while top.path != parent:
            top = self._leave(path)
        if name <= top.last or name in (b".", b"..") or len(path) > 4095 or path[0] == 47 or b"\0" in path:
            self._refuse(path, top)
        top.last = name
        is_there = name in top.there
        if is_there:
            top.there.remove(name)
        mode = entry.mode
        if top.fd < 0 or (self._wants is not None and not self._wants(path, bool(mode & DIRECTORY))):
            self._pass_over(top, name, entry, is_there)
            return
        if not mode & TYPE:
            self._file(number, top, name, entry, is_there)
        elif mode & DIRECTORY:
            self._directory(top, name, entry, is_there)
        elif mode & SYMLINK:
            self._symlink(top, name, entry, is_there)
        elif is_there:  # devices, FIFOs and sockets are not taken
            self._remove(top, name)

    def _pass_over(self, top: _Directory, name: bytes, entry: Stat, is_there: bool) -> None:
        if is_there:
            self._remove(top, name)
        if entry.mode & DIRECTORY:
            self._push(_Directory(entry.path, -1, set()), entry.path)

    def _push(self, directory: _Directory, path: bytes) -> None:
        if len(self._way) > DEEPEST:
            raise TooLarge(f"directories are too deep: {os.fsdecode(path[:200])!r}")
        self._top = directory
        self._way.append(directory)

    def _refuse(self, path: bytes, top: _Directory) -> None:
        shown = os.fsdecode(path[:200])
        if path and path[0] != 47 and path.rpartition(b"/")[2] <= top.last and b"\0" not in path:
            raise InvalidInput(f"changes out of order: {shown!r} {os.fsdecode(top.last)!r}")
        raise InvalidInput(f"invalid path from the client: {shown!r}")

    def _leave(self, path: bytes) -> _Directory:
        """Go up: what has not come in the directory is there no more."""
        if len(self._way) == 1:
            raise InvalidInput(f"changes out of order: {os.fsdecode(path[:200])!r} comes without its directory")
        directory = self._way.pop()
        if directory.fd >= 0:
            try:
                self._sweep(directory)
            finally:
                os.close(directory.fd)
        self._top = self._way[-1]
        return self._top

    def _sweep(self, directory: _Directory) -> None:
        for name in directory.there:
            self._remove(directory, name)

    def _remove(self, directory: _Directory, name: bytes) -> None:
        trees.remove(name, dir_fd=directory.fd)
        self._plan.changed.add(directory.path)

    def _end_of_entries(self) -> None:
        if self._all_seen:
            raise InvalidInput("the entries ended twice")
        self._all_seen = True
        while len(self._way) > 1:
            self._leave(b"")
        self._sweep(self._top)

    # --- entries

    def _file(self, number: int, top: _Directory, name: bytes, entry: Stat, is_there: bool) -> None:
        if is_there:
            now = os.stat(name, dir_fd=top.fd, follow_symlinks=False)
            if (
                now.st_mtime_ns == entry.modTime
                and (now.st_size == entry.size or (entry.linkname and now.st_nlink > 1))
                and now.st_mode == stat.S_IFREG | from_go(entry.mode)
            ):
                return
            self._remove(top, name)
        if target := entry.linkname:
            self._check_link(entry.path, target)
            self._hold(len(name) + len(target))
            self._plan.links.append(_Link(top.path, name, target))
            return
        attributes, size = _attributes(entry) if entry.xattrs else (None, 0)
        held = len(name) + size
        self._hold(held)
        self._wanted[number] = _File(top.path, name, entry.mode, entry.modTime, entry.size, attributes, held)
        self._requests.append(framed(Packet(type=REQ, ID=number).SerializeToString()))

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > MOST_HELD:
            raise TooLarge(f"the names, links and attributes of the files are more than {MOST_HELD} bytes")

    def _directory(self, top: _Directory, name: bytes, entry: Stat, is_there: bool) -> None:
        path, mode = entry.path, from_go(entry.mode)
        self._hold(len(path))
        if is_there:
            now = os.stat(name, dir_fd=top.fd, follow_symlinks=False)
            if not stat.S_ISDIR(now.st_mode):
                self._remove(top, name)
                is_there = False
            elif stat.S_IMODE(now.st_mode) != mode or now.st_mtime_ns != entry.modTime:
                self._plan.changed.add(path)
        if not is_there:
            os.mkdir(name, 0o700, dir_fd=top.fd)
            self._plan.changed.add(top.path)
            self._plan.changed.add(path)
        fd = os.open(name, trees.DIRECTORY, dir_fd=top.fd)
        try:
            there = set(map(os.fsencode, os.listdir(fd))) if is_there else set()
            self._push(_Directory(path, fd, there), path)
        except BaseException:
            os.close(fd)
            raise
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode | 0o700 if os.geteuid() else mode)
        self._plan.times[path] = entry.modTime

    def _symlink(self, top: _Directory, name: bytes, entry: Stat, is_there: bool) -> None:
        target = entry.linkname
        if is_there:
            now = os.stat(name, dir_fd=top.fd, follow_symlinks=False)
            if stat.S_ISLNK(now.st_mode) and os.readlink(name, dir_fd=top.fd) == target:
                if now.st_mtime_ns != entry.modTime:
                    os.utime(name, ns=(entry.modTime, entry.modTime), dir_fd=top.fd, follow_symlinks=False)
                return
            self._remove(top, name)
        self._check_link(entry.path, target)
        os.symlink(target, name, dir_fd=top.fd)
        os.utime(name, ns=(entry.modTime, entry.modTime), dir_fd=top.fd, follow_symlinks=False)
        self._plan.changed.add(top.path)

    @staticmethod
    def _check_link(path: bytes, target: bytes) -> None:
        if not target or len(target) > 4095 or b"\0" in target:
            raise InvalidInput(f"invalid link from the client: {os.fsdecode(path[:200])!r}")

    # --- data

    def _data(self, number: int, data: bytes) -> None:
        file = self._wanted.get(number)
        if file is None:
            raise InvalidInput(f"invalid file request {number}")
        if file.fd < 0:
            self._create(file)
        if not data:
            self._complete(number, file)
            return
        self.received += len(data)
        file.size += len(data)
        if file.size > file.expected + EXCESS:
            raise TooLarge(f"{os.fsdecode(file.name)!r} is larger than the client said")
        if data == _ZEROS[: len(data)]:
            os.lseek(file.fd, len(data), os.SEEK_CUR)
            file.ends_with_hole = True
        else:
            file.ends_with_hole = False
            written = os.write(file.fd, data)
            while written < len(data):
                written += os.write(file.fd, data[written:])

    def _create(self, file: _File) -> None:
        if self._open >= MOST_OPEN:
            raise InvalidInput("the client sends too many files at once")
        file.fd = os.open(file.name, _NEW, 0o600, dir_fd=self._at(file.parent))
        self._open += 1
        self._plan.changed.add(file.parent)

    def _complete(self, number: int, file: _File) -> None:
        fd, file.fd = file.fd, -1
        del self._wanted[number]
        self._open -= 1
        self._held -= file.held
        try:
            if file.ends_with_hole:
                os.truncate(fd, file.size)
            for name, value in (file.attributes or {}).items():
                with suppress(OSError):  # where the file system knows none, there are none
                    os.setxattr(fd, name, value)
            os.fchmod(fd, from_go(file.mode))
            os.utime(fd, ns=(file.modified, file.modified))
        finally:
            os.close(fd)

    def _at(self, path: bytes) -> int:
        """A descriptor of a directory, good until the next call."""
        if not path:
            return self._root
        if self._parent is None or self._parent[0] != path:
            self._forget_parent()
            self._parent = (path, openat2(self._root, path, _PATH, resolve=_BENEATH))
        return self._parent[1].fileno()

    def _forget_parent(self) -> None:
        if self._parent is not None:
            self._parent[1].close()
            self._parent = None

    # --- the end

    def _finish(self) -> None:
        for link in self._plan.links:
            self._link(link)
        self._forget_parent()
        for path in self._plan.changed:
            if (modified := self._plan.times.get(path)) is not None:
                with openat2(self._root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH) as fd:
                    os.utime(fd.fileno(), ns=(modified, modified))
        self.has_finished = True

    def _link(self, link: _Link) -> None:
        parent, _, name = link.target.rpartition(b"/")
        try:
            with openat2(self._root, parent or b".", _PATH, resolve=_BENEATH) as source:
                if not stat.S_ISREG(os.stat(name, dir_fd=source.fileno(), follow_symlinks=False).st_mode):
                    raise InvalidInput(f"invalid hard link to {os.fsdecode(link.target[:200])!r}")
                there = self._at(link.parent)
                os.link(name, link.name, src_dir_fd=source.fileno(), dst_dir_fd=there, follow_symlinks=False)
        except (OSError, SystemFault) as error:
            raise InvalidInput(f"invalid hard link to {os.fsdecode(link.target[:200])!r}", cause=str(error)) from error
        self._plan.changed.add(link.parent)


def _attributes(entry: Stat) -> tuple[dict[str, bytes], int]:
    """The attributes that mean something in an image, and how many bytes they are.

    :raises InvalidInput: there are more than a file can have.
    """
    kept = {
        name: value
        for name, value in entry.xattrs.items()
        if (name.startswith("user.") or name == "security.capability") and "\0" not in name
    }
    size = sum(len(name) + len(value) for name, value in kept.items())
    if size > MOST_ATTRIBUTES:
        raise InvalidInput(f"too many attributes: {os.fsdecode(entry.path[:200])!r}")
    return kept, size
