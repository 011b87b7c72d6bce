"""A directory as a build's context: an archive without what .dockerignore names, made while it is sent."""

from __future__ import annotations

import os
import stat
import tarfile

from wherry.build.model.patterns import NO_MATCH, PatternMatcher, parse_ignore_file
from wherry.cli.exit import Exit
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["OUTSIDE", "DirectoryArchive", "DirectoryContext", "is_remote", "named_context"]

OUTSIDE = ".dockerfile."  #: what the names of Dockerfiles that are not in the context begin with
_CHUNK = 1 << 18
_BLOCK = 512
_OCTAL = 1 << 33  #: what eleven octal digits do not hold
_IGNORE = ".dockerignore"
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")
_MOST = 16 << 20  #: bytes of a Dockerfile or of a .dockerignore


def is_remote(context: str) -> bool:
    """Whether a context is an address that the daemon reads, not a directory here."""
    return context.startswith(_REMOTE)


class DirectoryArchive:
    """A directory without what is ignored of it.

    :param ignored: what .dockerignore has.
    :param more: files that are not in the directory.
    :param kept: names in it that are never ignored.
    """

    def __init__(self, root: str, ignored: bytes, more: Mapping[str, bytes], kept: Iterable[str]) -> None:
        self.root = root
        self._more = more
        try:
            self._matcher = PatternMatcher([*parse_ignore_file(ignored), *(f"!{_literal(name)}" for name in kept)])
        except InvalidInput as error:
            raise Exit(1, f"failed to read .dockerignore: {error.message}") from error

    def archive(self) -> Iterator[bytes]:
        """The archive, in chunks. Owners are root's, as docker has them; devices and sockets are left out.

        :raises wherry.cli.exit.Exit: a file cannot be read, or shrinks while it is.
        """
        buffer = bytearray()
        for piece in self._pieces(self._more):
            buffer += piece
            if len(buffer) >= _CHUNK:
                yield bytes(buffer)
                buffer.clear()
        yield bytes(buffer + bytes(2 * _BLOCK))

    def _pieces(self, more: Mapping[str, bytes]) -> Iterator[bytes]:
        for name, content in more.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            yield _header(member)
            yield content + _padding(len(content))
        for path, entry in self._walk():
            yield from _member(path, entry)

    def _walk(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """What is not ignored, and the directories above it; parents first."""
        matcher = self._matcher
        levels: list[_Level] = [_Level(None, "", NO_MATCH, _entries(self.root))]
        while levels:
            level = levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                levels.pop()
                continue
            path = f"{level.path}/{entry.name}" if level.path else entry.name
            state = matcher.state(path, level.state)
            is_directory = entry.is_dir(follow_symlinks=False)
            if not matcher.is_match(state):
                for above in levels[1:]:  # those that are ignored but for this
                    if not above.is_sent and above.entry is not None:
                        above.is_sent = True
                        yield above.path, above.entry
                yield path, entry
            elif not (is_directory and matcher.may_change_below(path, state)):
                continue
            if is_directory:
                levels.append(_Level(entry, path, state, _entries(entry.path), is_sent=not matcher.is_match(state)))


class DirectoryContext(DirectoryArchive):
    """A directory, and the Dockerfile in it or elsewhere.

    :ivar dockerfile: the Dockerfile's name in the archive.
    :param dockerfile: its path; empty: ``Dockerfile`` in the directory; ``-``: standard input.
    :raises wherry.cli.exit.Exit: there is no such directory or file.
    """

    def __init__(self, root: str, dockerfile: str) -> None:
        top = _directory(root)
        more: dict[str, bytes] = {}
        ignored = b""
        if dockerfile == "-":
            self.dockerfile = _take_elsewhere(more, _read_descriptor(0))
        else:
            path = os.path.abspath(dockerfile) if dockerfile else _default(top)
            content = _read(path)
            if content is None:
                raise Exit(1, f"unable to prepare context: the Dockerfile {path} does not exist")
            ignored = _read(f"{path}.dockerignore") or b""
            self.dockerfile = _inside(top, path) or _take_elsewhere(more, content, ignored)
        if not ignored:
            ignored = _read(os.path.join(top, _IGNORE)) or b""
        super().__init__(top, ignored, more, (_IGNORE, self.dockerfile, f"{self.dockerfile}.dockerignore"))


def named_context(root: str) -> DirectoryArchive:
    """A directory beside the context, with a .dockerignore of its own.

    :raises wherry.cli.exit.Exit: there is no such directory.
    """
    top = _directory(root)
    return DirectoryArchive(top, _read(os.path.join(top, _IGNORE)) or b"", {}, (_IGNORE,))


def _directory(path: str) -> str:
    if not os.path.isdir(path):
        raise Exit(1, f'unable to prepare context: path "{path}" not found')
    return os.path.realpath(path)


def _default(root: str) -> str:
    names = [os.path.join(root, name) for name in ("Dockerfile", "dockerfile")]
    return next(filter(os.path.exists, names), names[0])


def _inside(root: str, path: str) -> str:
    """A Dockerfile's name in the directory; empty: it is elsewhere."""
    directory = os.path.realpath(os.path.dirname(path))
    inside = os.path.relpath(os.path.join(directory, os.path.basename(path)), root)
    return "" if inside.startswith("../") else inside


def _take_elsewhere(more: dict[str, bytes], content: bytes, ignored: bytes = b"") -> str:
    """Send a Dockerfile from elsewhere along, under a name that nothing else has."""
    name = f"{OUTSIDE}{os.urandom(10).hex()}"
    more[name] = content
    if ignored:
        more[f"{name}.dockerignore"] = ignored
    return name


def _literal(name: str) -> str:
    """A name as a pattern that matches nothing else."""
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in name)


class _Level:
    """A directory that is being walked."""

    def __init__(
        self,
        entry: os.DirEntry[str] | None,
        path: str,
        state: int,
        entries: Iterator[os.DirEntry[str]],
        *,
        is_sent: bool = False,
    ) -> None:
        self.entry, self.path, self.state, self.entries, self.is_sent = entry, path, state, entries, is_sent


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            return iter(sorted(found, key=lambda entry: entry.name))
    except OSError as error:
        raise _unreadable(path, error) from error


def _member(path: str, entry: os.DirEntry[str]) -> Iterator[bytes]:
    """One file's header and content."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        raise _unreadable(path, error) from error
    member = tarfile.TarInfo(path)
    member.mode, member.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
        yield _header(member)
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(entry.path)
        yield _header(member)
    elif stat.S_ISREG(status.st_mode):
        yield from _file(member, entry.path)


def _file(member: tarfile.TarInfo, path: str) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        member.size = left = os.fstat(descriptor).st_size
        yield _header(member)
        while left:
            piece = os.read(descriptor, min(left, _CHUNK))
            if not piece:
                raise Exit(1, f"unable to prepare context: {path} shrinks while it is read")
            left -= len(piece)
            yield piece
        yield _padding(member.size)
    finally:
        os.close(descriptor)


def _header(member: tarfile.TarInfo) -> bytes:
    name = member.name + "/" * (member.type == tarfile.DIRTYPE)
    plain = name.isascii() and member.linkname.isascii() and len(name) <= 100 and len(member.linkname) <= 100
    if not (plain and member.size < _OCTAL and 0 <= member.mtime < _OCTAL):
        return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    # what most are: a third of the time that the library takes (POSIX 1003.1, pax, ustar interchange format)
    head = b"%s%07o\x000000000\x000000000\x00%011o\x00%011o\x00        %s%sustar\x0000%s" % (
        name.encode().ljust(100, b"\0"),
        member.mode,
        member.size,
        int(member.mtime),
        member.type,
        member.linkname.encode().ljust(100, b"\0"),
        bytes(247),
    )
    return b"%s%06o\x00 %s" % (head[:148], sum(head), head[156:])


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return _read_descriptor(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _read_descriptor(descriptor: int) -> bytes:
    pieces, size = [], 0
    while piece := os.read(descriptor, _CHUNK):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST:
            raise Exit(1, f"unable to prepare context: a Dockerfile is larger than {_MOST >> 20} MiB")
    return b"".join(pieces)


def _unreadable(path: str, error: OSError) -> Exit:
    return Exit(1, f"unable to prepare context: cannot read {path}: {os.strerror(error.errno or 0).lower()}")
