"""The image that both sides run: Debian's static busybox, as ``docker save`` would write it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

NAME = "wherry-bench/busybox:latest"
BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if Path(path).exists()), "/bin/busybox")


def write(target: Path, layer: bytes | None = None, tag: str = NAME) -> None:
    """Write the archive.

    :param layer: in place of busybox.
    """
    path = "/bin" if layer is None else "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    layer = root_file_system() if layer is None else layer
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [f"PATH={path}"], "Cmd": ["sh"]},
            "history": [{"created_by": "bench"}],  # buildah builds upon no image without
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(target, "w") as archive:
        for member, data in ((name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            add_file(archive, member, data)


def root_file_system() -> bytes:
    """A layer with busybox, a link per applet, and the usual directories."""
    buffer = io.BytesIO()
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        add_file(archive, "bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755)
        add_file(archive, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        for applet in applets:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                archive.addfile(entry)
    return buffer.getvalue()


def add_file(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    """Add a regular file from memory."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))
