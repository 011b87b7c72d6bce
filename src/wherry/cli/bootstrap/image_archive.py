"""Write a tree of files as an image archive (the format of ``docker save``), reproducibly."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["write_archive"]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_archive(root: str, layer: BinaryIO, archive: BinaryIO, *, name: str, moment: int, created_by: str) -> str:
    """Write a tree as an image archive that every engine can load.

    :param layer: an empty file, for the layer: its digest has to be known before the archive begins.
    :param moment: the latest time of modification of a file.
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
    """Everything below a directory, sorted by name: pairs of path and name in the archive."""
    for name in sorted(os.listdir(root)):
        path, within = f"{root}/{name}", f"{inside}{name}"
        yield path, within
        if stat.S_ISDIR(os.lstat(path).st_mode):
            yield from _sorted(path, f"{within}/")


def _attributes(path: str) -> dict[str, str]:
    """The extended attributes to keep: capabilities of programs; others belong to this machine."""
    try:
        value = os.getxattr(path, "security.capability", follow_symlinks=False)
    except OSError:
        return {}
    return {"SCHILY.xattr.security.capability": value.decode("utf-8", "surrogateescape")}


class _Hashing:
    """A file that hashes the bytes written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
