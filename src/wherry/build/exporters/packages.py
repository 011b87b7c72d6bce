"""The packages in a file system, as their managers' own files tell: dpkg, apk, rpm, Python, npm.

All of these files come from images and steps: sizes and counts are bounded, nothing is followed, what is not understood
is passed over.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import Any, Final
from urllib.parse import quote

from wherry.build.exporters.rpm import rpm_packages
from wherry.errors import CorruptData
from wherry.layers.overlay_view import MergedEntry, MergedTree
from wherry.linux.trees import unrolled

__all__ = ["Package", "System", "find_packages"]

_LARGE: Final = 64 << 20  # bytes of a whole system's list of packages
_SMALL: Final = 1 << 20  # of one package's own description
_MOST: Final = 32 << 20  # characters of all that is found
_DEEPEST: Final = 128
_LONGEST: Final = 1024  # characters of a name, or of a version
_LISTS: Final = {
    b"var/lib/dpkg/status": "deb", b"lib/apk/db/installed": "apk", b"usr/lib/apk/db/installed": "apk",
    b"var/lib/rpm/rpmdb.sqlite": "rpm", b"usr/lib/sysimage/rpm/rpmdb.sqlite": "rpm",
}  # fmt: skip
_STATUS_D: Final = b"var/lib/dpkg/status.d/"
_RELEASES: Final = (b"etc/os-release", b"usr/lib/os-release")
_METADATA: Final = re.compile(rb"(?:^|/)[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO)$")
_NPM: Final = re.compile(rb"(?:^|/)node_modules/(?:@[^/]+/)?[^/]+/package\.json$")
_SHELL_WORD: Final = re.compile(r"([A-Z_]{1,32})=[\"']?([^\"']{0,256})[\"']?")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package.

    :param kind: as package URLs call it: ``deb``, ``apk``, ``rpm``, ``pypi``, ``npm``.
    :param path: of the file that tells of it.
    """

    kind: str
    name: str
    version: str
    architecture: str = ""
    license: str = ""
    path: str = ""

    def url(self, system: System) -> str:
        """Its package URL (package-url/purl-spec)."""
        name = quote(self.name, safe="/" if self.kind == "npm" else "")
        version = quote(self.version, safe=":")
        if self.kind not in ("deb", "apk", "rpm"):
            return f"pkg:{self.kind}/{name}@{version}"
        words = [("arch", self.architecture), ("distro", f"{system.id}-{system.version}" if system.version else "")]
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in words if value)
        return f"pkg:{self.kind}/{quote(system.id or 'unknown', safe='')}/{name}@{version}" + (
            f"?{query}" if query else ""
        )


@dataclass(frozen=True, slots=True)
class System:
    """What ``/etc/os-release`` says."""

    id: str = ""
    version: str = ""
    name: str = ""


def find_packages(layers: Sequence[str], check: Callable[[], None]) -> tuple[System, list[Package]]:
    """Look through a file system; in a thread.

    :param layers: its directories, top first.
    :param check: called for each file.
    :return: what system it is, and its packages, sorted, each once.
    """
    found: set[Package] = set()
    system, size = System(), 0
    if not layers:
        return system, []
    with MergedTree.open(layers) as tree:
        for path, data in unrolled(_walk(tree, 0, check)):
            if path in _RELEASES:
                system = _release(data) or system
                continue
            for package in _packages(path, data, check):
                if size < _MOST and package.name and package.version and package not in found:
                    found.add(package)
                    size += sum(map(len, (package.name, package.version, package.license, package.path)))
    return system, sorted(found)


def _walk(tree: MergedTree, depth: int, check: Callable[[], None]) -> Generator[Any, None, None]:
    """The files that tell of packages, with their content; subdirectories are yielded for `unrolled`."""
    for entry in tree.entries():
        check()
        if stat.S_ISREG(entry.status.st_mode):
            path = tree.path(entry.name)
            if _is_wanted(path):
                data = _read(entry, tree.directory(entry), _LARGE if path in _LISTS else _SMALL)
                if data is not None:
                    yield path, data
        elif depth < _DEEPEST and entry.is_directory and tree.enter(entry.name):
            yield _walk(tree, depth + 1, check)
            tree.leave()


def _is_wanted(path: bytes) -> bool:
    if path in _LISTS or path in _RELEASES or path.startswith(_STATUS_D):
        return not path.endswith(b".md5sums")
    if path.endswith((b"/METADATA", b"/PKG-INFO")):
        return _METADATA.search(path) is not None
    return path.endswith(b"/package.json") and _NPM.search(path) is not None


def _read(entry: MergedEntry, directory: int, limit: int) -> bytes | None:
    """A regular file's content; None where it is too large, or something else by now."""
    if entry.status.st_size > limit:
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(entry.name, flags, dir_fd=directory), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def _packages(path: bytes, data: bytes, check: Callable[[], None]) -> Iterator[Package]:
    shown = "/" + os.fsdecode(path).encode("utf-8", "replace").decode()
    kind = _LISTS.get(path) or ("deb" if path.startswith(_STATUS_D) else "")
    if kind == "deb":
        yield from _dpkg(data, shown)
    elif kind == "apk":
        yield from _apk(data, shown)
    elif kind == "rpm":
        yield from _rpm(data, shown, check)
    elif path.endswith(b"package.json"):
        yield from _npm(data, shown)
    else:
        yield from _python(data, shown)


def _text(value: object) -> str:
    return value.strip()[:_LONGEST] if isinstance(value, str) else ""


def _paragraphs(data: bytes) -> Iterator[dict[str, str]]:
    """Paragraphs of ``Field: value`` lines; of values of several lines the first counts (deb-src-control(5))."""
    fields: dict[str, str] = {}
    for line in io.BytesIO(data):
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif not line.startswith((b" ", b"\t")):
            name, _, value = line.partition(b":")
            fields[name.decode(errors="replace")] = value.decode(errors="replace")
    if fields:
        yield fields


def _dpkg(data: bytes, path: str) -> Iterator[Package]:
    for fields in _paragraphs(data):
        status = fields.get("Status", "").split()
        if not status or status[-1] == "installed":
            name, version, architecture = (_text(fields.get(one)) for one in ("Package", "Version", "Architecture"))
            yield Package("deb", name, version, architecture, path=path)


def _apk(data: bytes, path: str) -> Iterator[Package]:
    for fields in _paragraphs(data):
        name, version, architecture, terms = (_text(fields.get(one)) for one in ("P", "V", "A", "L"))
        yield Package("apk", name, version, architecture, terms, path)


def _rpm(data: bytes, path: str, check: Callable[[], None]) -> Iterator[Package]:
    try:
        for one in rpm_packages(data, check):
            yield Package("rpm", _text(one.name), _text(one.version), _text(one.architecture), _text(one.license), path)
    except CorruptData:
        return


def _python(data: bytes, path: str) -> Iterator[Package]:
    head = data.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0].decode(errors="replace")
    fields = HeaderParser().parsestr(head)
    name = re.sub(r"[-_.]+", "-", _text(fields.get("Name"))).lower()
    terms = _text(fields.get("License-Expression"))
    yield Package("pypi", name, _text(fields.get("Version")), license=terms, path=path)


def _npm(data: bytes, path: str) -> Iterator[Package]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(fields, dict):
        terms = _text(fields.get("license"))
        yield Package("npm", _text(fields.get("name")), _text(fields.get("version")), license=terms, path=path)


def _release(data: bytes) -> System | None:
    words: dict[str, str] = {}
    for line in data.decode(errors="replace").splitlines()[:100]:
        if match := _SHELL_WORD.fullmatch(line.strip()):
            words[match[1]] = match[2]
    found = System(words.get("ID", ""), words.get("VERSION_ID", ""), words.get("PRETTY_NAME", ""))
    return found if found.id else None
