"""The built-in image ``host``: this machine's own programs, without its data.

Its only layer is a skeleton of a root: empty directories, and of ``/etc`` just what programs need to work. The
programs come from the host's own ``/usr``, an overlay of its own, so that a container may write there as well. Never
in it: home directories, ``/var``, and anything that is a secret (``shadow``, keys, host names, mounts).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from wherry.layers.tar.entry import Entry, Kind
from wherry.layers.tar.writer import END, header, padding

__all__ = ["CONFIG", "parts", "skeleton"]

CONFIG: Final[dict[str, Any]] = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    "Cmd": ["sh"],
}

# Beside /usr: links into it on a merged host, directories of programs on another.
_PROGRAMS: Final = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
_DIRECTORIES: Final = (
    ("boot", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("media", 0o755), ("mnt", 0o755), ("opt", 0o755),
    ("proc", 0o555), ("root", 0o700), ("run", 0o755), ("run/lock", 0o1777), ("srv", 0o755), ("sys", 0o555),
    ("tmp", 0o1777), ("usr", 0o755), ("var", 0o755), ("var/cache", 0o755), ("var/lib", 0o755), ("var/log", 0o755),
    ("var/spool", 0o755), ("var/tmp", 0o1777),
)  # fmt: skip
_LINKS: Final = (("var/run", "/run"), ("var/lock", "/run/lock"))

# What programs look for and everybody may read. A directory means all readable files in it.
_ETC: Final = (
    "alternatives", "ca-certificates.conf", "debian_version", "gai.conf", "host.conf", "inputrc", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "magic", "mime.types", "networks", "os-release",
    "pki/ca-trust", "pki/tls", "profile", "profile.d", "protocols", "python3", "rpc", "services", "shells",
    "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
# Files of the host's accounts: only those that distributions create, not the people's.
_NSSWITCH: Final = b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_SYSTEM_IDS: Final = range(1000)
_NOBODY: Final = 65534
_MAX_FILE: Final = 4 * 1024 * 1024


def parts(root: Path = Path("/")) -> list[str]:
    """The host's directories that go over the skeleton, each as an overlay of its own."""
    found = ["/usr"]
    return found + [f"/{name}" for name in _PROGRAMS if (root / name).is_dir() and not (root / name).is_symlink()]


def skeleton(root: Path = Path("/")) -> bytes:
    """The archive of the skeleton layer; the same bytes as long as the host's files stay the same.

    :param root: where the host's files are.
    """
    pieces: list[bytes] = []
    for entry, data in sorted(_entries(root), key=lambda item: item[0].name):
        entry.size = len(data)
        pieces += [header(entry), data, padding(len(data))]
    return b"".join([*pieces, END])


def _entries(root: Path) -> Iterator[tuple[Entry, bytes]]:
    for name, mode in _DIRECTORIES:
        yield _directory(name, mode), b""
    for name, target in _LINKS:
        yield Entry(name.encode(), Kind.SYMLINK, 0o777, target=target.encode()), b""
    for name in _PROGRAMS:
        if (root / name).is_symlink():
            yield Entry(name.encode(), Kind.SYMLINK, 0o777, target=os.fsencode(os.readlink(root / name))), b""
        elif (root / name).is_dir():
            yield _directory(name, 0o755), b""
    yield from _accounts(root)
    yield Entry(b"etc/nsswitch.conf"), _NSSWITCH
    yield from _configuration(root)


def _directory(name: str, mode: int) -> Entry:
    return Entry(name.encode(), Kind.DIRECTORY, mode)


def _accounts(root: Path) -> Iterator[tuple[Entry, bytes]]:
    """passwd and group with the system's accounts; nobody can log in by them, as there is no shadow."""
    for name in ("passwd", "group"):
        lines = _read(root / "etc" / name).splitlines(keepends=True)
        kept = [line for line in lines if _is_system(line)]
        yield Entry(f"etc/{name}".encode()), b"".join(kept) or _FALLBACK[name]


_FALLBACK: Final = {"passwd": b"root:x:0:0:root:/root:/bin/sh\n", "group": b"root:x:0:\n"}


def _is_system(line: bytes) -> bool:
    fields = line.split(b":")
    return len(fields) > 3 and fields[2].isdigit() and (int(fields[2]) in _SYSTEM_IDS or int(fields[2]) == _NOBODY)


def _configuration(root: Path) -> Iterator[tuple[Entry, bytes]]:
    made = {name for name, _ in _DIRECTORIES}
    for name in _ETC:
        for relative in _below(root, f"etc/{name}"):
            for parent in _parents(relative, made):
                yield _directory(parent, 0o755), b""
            if relative not in made and (found := _copy(root, relative)):
                made.add(relative)
                yield found


def _below(root: Path, relative: str) -> Iterator[str]:
    """A file or a link itself, or all files and links in a directory; as strings: each start asks for hundreds."""
    path = f"{root}/{relative}"
    if os.path.islink(path) or not os.path.isdir(path):
        yield relative
        return
    with os.scandir(path) as children:
        for child in children:
            if child.is_dir(follow_symlinks=False):
                yield from _below(root, f"{relative}/{child.name}")
            else:
                yield f"{relative}/{child.name}"


def _parents(relative: str, made: set[str]) -> Iterator[str]:
    """The directories above a path that have not been made, from the top; they are, then."""
    parent = os.path.dirname(relative)
    if parent and parent not in made:
        yield from _parents(parent, made)
        made.add(parent)
        yield parent


def _copy(root: Path, relative: str) -> tuple[Entry, bytes] | None:
    """A file that everybody may read, or a link; nothing else."""
    path = f"{root}/{relative}"
    try:
        status = os.lstat(path)
        mtime = status.st_mtime_ns
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(path))
            return Entry(os.fsencode(relative), Kind.SYMLINK, 0o777, mtime=mtime, target=target), b""
        if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH and status.st_size <= _MAX_FILE:
            mode = stat.S_IMODE(status.st_mode) & 0o755
            return Entry(os.fsencode(relative), mode=mode, mtime=mtime), Path(path).read_bytes()
    except OSError:
        return None  # removed meanwhile, or not for us
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
