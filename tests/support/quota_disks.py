"""File systems with project quotas, each in a file of its own and mounted for one test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.needs import program

DISKS = {
    "ext4": (64, ["mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "lazy_itable_init=1"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"]),  # it makes none that are smaller than 300 MB
}
"""Kind of file system to its size in MiB, and how it is made."""


@contextmanager
def quota_disk(kind: str, directory: Path, *options: str) -> Iterator[Path]:
    """A file system that keeps projects to their limits, unless the options of its mount say otherwise.

    The test is skipped where the kernel has no such quotas, or the program is missing that makes the file system.
    """
    size, make = DISKS[kind]
    image, place = directory / f"{kind}.image", directory / kind
    if program(make[0]) is None:
        pytest.skip(f"needs {make[0]}")
    with image.open("wb") as file:
        file.truncate(size << 20)
    subprocess.run([program(make[0]) or "", *make[1:], str(image)], check=True, capture_output=True)
    place.mkdir()
    told = ",".join(["loop", *(options or ["prjquota"])])
    done = subprocess.run(
        ["mount", "-t", kind, "-o", told, str(image), str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this kernel mounts no {kind} with project quotas: {done.stderr.partition('.')[0]}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        image.unlink()
