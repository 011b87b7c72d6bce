"""A distribution's base system becomes an image archive, the same each time for the same packages.

What depends on the moment or the machine is taken out: logs, caches, package lists, names of this host, device nodes
(containers get their own). No time is later than the distribution's own release; so the same packages give the same
image, to the last bit of its ID.
"""

from __future__ import annotations

import email.utils
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import time

from wherry.errors import CommandNotFound, InvalidInput, SystemFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

__all__ = ["BaseSystem", "clean", "find_tool", "install", "release_time", "write_archive"]

SCRIPTS = "/usr/share/debootstrap/scripts"
#: What a package manager writes down about its own work, relative to the root. A directory stays, empty.
_EMPTIED = ("dev", "proc", "run", "sys", "tmp", "var/cache/apt", "var/lib/apt/lists", "var/log", "var/tmp")
_REMOVED = (
    "debootstrap", "etc/hostname", "etc/resolv.conf", "etc/.pwd.lock", "etc/passwd-", "etc/group-", "etc/shadow-",
    "etc/gshadow-", "var/cache/ldconfig/aux-cache", "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old", "var/lib/dpkg/diversions-old", "var/lib/dpkg/status-old",
    "var/lib/systemd/random-seed",
)  # fmt: skip
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_DAY = 24 * 3600


class BaseSystem:
    """What to install.

    :param suite: the distribution's release: ``bookworm``.
    :param include: further packages.
    :param mirror: where packages come from; empty for the tool's own choice.
    """

    def __init__(
        self,
        suite: str,
        *,
        variant: str = "minbase",
        include: Sequence[str] = (),
        mirror: str = "",
        components: str = "",
    ) -> None:
        for what, text in (("suite", suite), ("variant", variant), *(("package", name) for name in include)):
            if not _NAME.fullmatch(text):
                raise InvalidInput(f"{text!r} is no name of a {what}")
        self.suite = suite
        self.variant = variant
        self.include = list(include)
        self.mirror = mirror
        self.components = components

    def command(self, tool: str, target: str) -> list[str]:
        """The command line that installs it into a directory (debootstrap(8), mmdebstrap(1))."""
        options = [f"--variant={self.variant}"]
        if self.include:
            options.append(f"--include={','.join(self.include)}")
        if self.components:
            options.append(f"--components={self.components}")
        if os.path.basename(tool) == "mmdebstrap":
            options += ["--mode=root", "--format=directory"]
        return [tool, *options, self.suite, target, *([self.mirror] if self.mirror else [])]


def find_tool() -> str:
    """The program that installs base systems.

    :raises CommandNotFound: there is none.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = shutil.which("mmdebstrap", path=path) or shutil.which("debootstrap", path=path)
    if found is None:
        raise CommandNotFound(
            "neither mmdebstrap nor debootstrap is installed, and one of them has to make the base system",
            hint="on Debian: apt install mmdebstrap",
        )
    return found


def install(system: BaseSystem, tool: str, target: str, tell: Callable[[str], object]) -> None:
    """Install a base system, telling of each step.

    :raises SystemFault: the tool failed; the message has its last words.
    """
    if os.path.basename(tool) == "debootstrap" and not os.path.exists(f"{SCRIPTS}/{system.suite}"):
        raise InvalidInput(f"debootstrap knows no suite '{system.suite}'", hint=f"those that it knows are in {SCRIPTS}")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    words: list[str] = []
    with subprocess.Popen(
        system.command(tool, target),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words = [*words[-9:], line.strip()]
            tell(line.strip())
    if process.returncode:
        raise SystemFault(
            f"{os.path.basename(tool)} ended with status {process.returncode}", cause="; ".join(words[-3:])
        )


def release_time(root: str) -> int:
    """When the distribution was released, as its own lists say; seconds since the epoch.

    With several lists, as with updates, the newest. ``SOURCE_DATE_EPOCH`` goes before.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdigit():
        return int(given)
    lists = f"{root}/var/lib/apt/lists"
    found = [0]
    for name in os.listdir(lists) if os.path.isdir(lists) else []:
        if name.endswith(("_InRelease", "_Release")):
            with open(f"{lists}/{name}", encoding="utf-8", errors="replace") as file:
                dates = [line.partition(":")[2].strip() for line in file if line.startswith("Date:")]
            found += [int(email.utils.parsedate_to_datetime(date).timestamp()) for date in dates[:1]]
    return max(found)


def clean(root: str, moment: int) -> None:
    """Take out of a base system what depends on the moment or the machine."""
    for path in _EMPTIED:
        for directory, directories, files in os.walk(f"{root}/{path}", topdown=False):
            for name in files:
                os.unlink(f"{directory}/{name}")
            for name in directories:
                inner = f"{directory}/{name}"
                if os.path.islink(inner) or path in ("dev", "proc", "run", "sys", "tmp", "var/tmp"):
                    os.unlink(inner) if os.path.islink(inner) else os.rmdir(inner)
    for path in _REMOVED:
        full = f"{root}/{path}"
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        elif os.path.lexists(full):
            os.unlink(full)
    if os.path.exists(f"{root}/etc/machine-id"):
        open(f"{root}/etc/machine-id", "wb").close()
    _settle_passwords(f"{root}/etc/shadow", moment // _DAY)


def _settle_passwords(path: str, day: int) -> None:
    """The day of the last change of a password (shadow(5)) is that of the installation."""
    if not os.path.exists(path):
        return
    with open(path) as file:
        entries = [line.rstrip("\n").split(":") for line in file]
    for entry in entries:
        if len(entry) > 2 and entry[2].isdigit():
            entry[2] = str(day)
    with open(path, "w") as file:
        file.write("".join(":".join(entry) + "\n" for entry in entries))


def write_archive(root: str, layer: BinaryIO, archive: BinaryIO, *, name: str, moment: int, created_by: str) -> str:
    """Write a tree as an image archive that every engine loads.

    :param layer: an empty file, for the layer: its digest has to be known before the archive begins.
    :param moment: no file is younger than that.
    :return: the image's ID.
    """
    digest = _write_layer(root, layer, moment)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    config = json.dumps({
        "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "config": {"Cmd": ["bash"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "created": stamp,
        "history": [{"created": stamp, "created_by": created_by}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }, sort_keys=True).encode()  # fmt: skip
    identifier = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{identifier}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=archive, mode="w|") as tar:
        for member, data in ((f"{identifier}.json", config), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo("layer.tar")
        entry.size = layer.seek(0, os.SEEK_END)
        layer.seek(0)
        tar.addfile(entry, layer)
    return f"sha256:{identifier}"


def _write_layer(root: str, layer: BinaryIO, moment: int) -> str:
    hashing = _Hashing(layer)
    with tarfile.open(
        fileobj=hashing,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",  # type: ignore[call-overload]
    ) as tar:
        for path, inside in _sorted(root, ""):
            entry = tar.gettarinfo(path, inside)
            if entry is None:
                continue  # a socket
            entry.uname = entry.gname = ""
            entry.mtime = min(int(entry.mtime), moment)
            entry.pax_headers = _attributes(path)
            if entry.isreg():
                with open(path, "rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
    return f"sha256:{hashing.hexdigest()}"


def _sorted(root: str, inside: str) -> Iterator[tuple[str, str]]:
    """Everything below a directory, in the order of the names: where it is, and what it is called in the archive."""
    for name in sorted(os.listdir(root)):
        path, within = f"{root}/{name}", f"{inside}{name}"
        yield path, within
        if stat.S_ISDIR(os.lstat(path).st_mode):
            yield from _sorted(path, f"{within}/")


def _attributes(path: str) -> dict[str, str]:
    """Capabilities of programs; other attributes are this machine's."""
    try:
        value = os.getxattr(path, "security.capability", follow_symlinks=False)
    except OSError:
        return {}
    return {"SCHILY.xattr.security.capability": value.decode("utf-8", "surrogateescape")}


class _Hashing:
    """A file that adds up what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
