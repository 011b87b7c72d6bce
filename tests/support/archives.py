"""Archives for tests, made by the standard library: an independent writer for our reader."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from typing import Any

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **fields: Any) -> Member:
    """A file, or what `fields` say; it belongs to who runs the test, so that any user can unpack it."""
    info = tarfile.TarInfo(name)
    info.size, info.uid, info.gid, info.mtime = len(data), os.geteuid(), os.getegid(), 1_600_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, **fields: Any) -> Member:
    """A directory."""
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def link(name: str, target: str, *, hard: bool = False, **fields: Any) -> Member:
    """A symbolic or a hard link."""
    return member(name, type=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, linkname=target, **fields)


def tar(members: Iterable[Member], archive_format: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of members in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=archive_format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def digest(data: bytes) -> str:
    """The digest of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config(layers: Iterable[bytes], **fields: Any) -> bytes:
    """An image configuration for uncompressed layers."""
    return json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "created": "2024-01-02T03:04:05Z",
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}, **fields,
    }).encode()  # fmt: skip


def docker_archive(layers: list[bytes], tags: list[str], **fields: Any) -> bytes:
    """What ``docker save`` of an older Docker writes: the file that tells everything comes last."""
    data = config(layers, **fields)
    members = [member(f"{number}/layer.tar", layer) for number, layer in enumerate(layers)]
    members.append(member("config.json", data))
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": names}]
    return tar([*members, member("manifest.json", json.dumps(manifest).encode())])


class Layout:
    """An OCI archive in the making."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.index: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
        """Add a blob and return its descriptor."""
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), **fields}

    def image(self, layers: list[bytes], architecture: str = "amd64", **fields: Any) -> dict[str, Any]:
        """Add an image with gzipped layers and return its manifest's descriptor."""
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(config(layers, architecture=architecture), "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(gzip.compress(layer, mtime=0), kind) for layer in layers],
        }
        platform = {"os": "linux", "architecture": architecture}
        media_type = "application/vnd.oci.image.manifest.v1+json"
        return self.blob(json.dumps(manifest).encode(), media_type, platform=platform, **fields)

    def nested(self, manifests: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        """Add an index and return its descriptor."""
        media_type = "application/vnd.oci.image.index.v1+json"
        data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).encode()
        return self.blob(data, media_type, **fields)

    def archive(self) -> bytes:
        """The whole as a tar archive."""
        index = json.dumps({"schemaVersion": 2, "manifests": self.index}).encode()
        members = [member("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), member("index.json", index)]
        members += [member("blobs/" + name.replace(":", "/"), data) for name, data in self.blobs.items()]
        return tar(members)


def named(name: str) -> dict[str, str]:
    """The annotation that names an image."""
    return {"io.containerd.image.name": name}
