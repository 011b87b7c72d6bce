"""A small image, made of the machine's static busybox."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import needs
from support.daemons import Daemon, DockerDaemon

IMAGE = "busybox:latest"
_ETC = {
    "passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "guest:x:1000:1000::/home/guest:/bin/sh\n"
    ),
    "group": "root:x:0:\ndaemon:x:1:\nusers:x:100:guest\nguest:x:1000:\n",
}


@contextmanager
def busybox_daemon(archive: bytes, *options: str) -> Iterator[Daemon]:
    """A daemon of one's own that has the image, while the ``with`` block lasts."""
    needs.check("root")
    daemon = Daemon("--debug", *options)
    try:
        daemon.start()
        import_busybox(daemon, archive)
        yield daemon
    finally:
        daemon.shut_down()


def import_busybox(daemon: Daemon | DockerDaemon, archive: bytes) -> str:
    """Give a daemon the image, and return its name."""
    repository, _, tag = IMAGE.partition(":")
    answer = daemon.request(
        "POST",
        "/images/create",
        archive,
        headers={"Content-Type": "application/x-tar"},
        fromSrc="-",
        repo=repository,
        tag=tag,
        changes='CMD ["sh"]',
    )
    assert answer.status == 200, answer.body
    assert b'"error"' not in answer.body, answer.body
    return IMAGE


def root_file_system(busybox: Path) -> bytes:
    """Return the archive of a root file system with busybox under all its names, and three users."""
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in {
            "bin": 0o755,
            "etc": 0o755,
            "root": 0o700,
            "tmp": 0o1777,
            "home/guest": 0o755,
            "dev": 0o755,
            "proc": 0o755,
        }.items():
            _add(archive, name, tarfile.DIRTYPE, mode=mode)
        _add(archive, "bin/busybox", tarfile.REGTYPE, mode=0o755, data=busybox.read_bytes())
        for name in names:
            if name != "busybox":
                _add(archive, f"bin/{name}", tarfile.SYMTYPE, link="busybox")
        for name, text in _ETC.items():
            _add(archive, f"etc/{name}", tarfile.REGTYPE, data=text.encode())
    return buffer.getvalue()


def _add(
    archive: tarfile.TarFile, name: str, kind: bytes, *, mode: int = 0o644, data: bytes = b"", link: str = ""
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), link
    entry.mtime = 1_700_000_000
    archive.addfile(entry, io.BytesIO(data))
