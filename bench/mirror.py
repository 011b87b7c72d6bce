"""Packages and wheels of a real image: fetched once, kept in ``.bench``, and served as mirrors serve them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import debian

PACKAGES = (
    "ca-certificates curl file git iproute2 iputils-ping jq less make nano procps python3 python3-pip rsync sqlite3 "
    "strace tree unzip xz-utils zip"
).split()
WHEELS = "click flask jinja2 pyyaml requests".split()
PORT = 8088  # of a network namespace of our own: the same each time, as it is in the Dockerfile
KEPT = debian.KEPT.with_name("mirror")
ADDRESS = f"http://127.0.0.1:{PORT}"


def fetch() -> None:
    """Fetch what is not there yet; needs the network.

    :raises subprocess.CalledProcessError: it does not come.
    """
    if KEPT.exists():
        return
    with tempfile.TemporaryDirectory(prefix="mirror-", dir=debian.root_file_system().parent) as directory:
        made, root = Path(directory, "mirror"), Path(directory, "root")
        for path in (made, root):
            path.mkdir()
        _packages(root, made)
        wheels = made / "wheels"
        command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", str(wheels), *WHEELS]
        subprocess.run(command, check=True)
        made.rename(KEPT)


def _packages(root: Path, made: Path) -> None:
    """The packages, with all that they need beside the base, and their index."""
    subprocess.run(["tar", "-C", root, "-xf", debian.root_file_system()], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    install = ["apt-get", "-qq", "install", "-y", "--download-only", "--no-install-recommends", *PACKAGES]
    for command in (["apt-get", "-qq", "update"], install):
        subprocess.run(["chroot", root, *command], check=True, stdout=subprocess.DEVNULL)
    entries = []
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "-f", package], check=True, capture_output=True, text=True).stdout
        name, data = package.name.replace("%3a", "_"), package.read_bytes()
        (made / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        entries.append(f"{control.strip()}\nFilename: ./{name}\nSize: {len(data)}\nSHA256: {digest}\n")
    (made / "Packages").write_text("\n".join(entries))


@contextmanager
def served() -> Iterator[None]:
    """Serve it, at `ADDRESS`."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(KEPT), str(PORT)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()
