"""Debian's root file system as debootstrap makes it (204 MB, 6,800 files): made once, kept in ``.bench``."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

SUITE = "bookworm"
KEPT = Path(__file__).resolve().parent.parent / ".bench" / f"debian-{SUITE}-minbase.tar"
_PIECE = 1 << 20


def root_file_system() -> Path:
    """The archive; the first time it takes a minute.

    :raises RuntimeError: there is no debootstrap.
    """
    if KEPT.exists():
        return KEPT
    if shutil.which("debootstrap", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        raise RuntimeError("debootstrap is not installed")
    KEPT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="minbase-", dir=KEPT.parent) as directory:
        command = ["debootstrap", "--variant=minbase", SUITE, f"{directory}/root", *mirror()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        unfinished = f"{directory}/root.tar"
        subprocess.run(["tar", "--sort=name", "-C", f"{directory}/root", "-cf", unfinished, "."], check=True)
        Path(unfinished).rename(KEPT)
    return KEPT


def mirror() -> list[str]:
    """The mirror that this machine's apt uses, if it says so."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sites = [line for line in done.stdout.splitlines() if line.startswith("http") and "security" not in line]
    return sites[:1]


def variant(target: Path, mark: str) -> None:
    """The same with one more file at its beginning, so that nobody has it yet.

    :param mark: what makes it different.
    """
    entry = tarfile.TarInfo("variant")
    entry.size = len(mark)
    with target.open("wb") as out, root_file_system().open("rb") as rest:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(entry, io.BytesIO(mark.encode()))
            blocks = archive.offset
        out.write(buffer.getvalue()[:blocks])
        shutil.copyfileobj(rest, out, _PIECE)
