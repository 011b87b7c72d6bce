"""Removing images on a disk that is really full: a small tmpfs in a mount namespace of the test's own."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from support.archives import directory, docker_archive, member, tar
from support.needs import need
from wherry.database.disk_reserve import Reserve
from wherry.errors import OutOfSpace
from wherry.images.store import ImageStore

pytestmark = need("root")

BASE = tar([directory("d"), *(member(f"d/{number}", bytes([number % 256]) * 2000) for number in range(300))])
NAMES = {f"app{number}:1" for number in range(4)}


def names(store: ImageStore) -> set[str]:
    return {tag for image in store.list() for tag in image.repo_tags} - {"host:latest"}


def fill(disk: Path) -> None:
    """Write until not a byte fits any more."""
    with (disk / "fill").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    continue
            except OSError:
                continue


def loaded(disk: Path) -> ImageStore:
    """A store with images that share a layer."""
    store = ImageStore(disk / "data")
    store.reconcile()
    for name in sorted(NAMES):
        top = tar([member("top", name.encode() * 500)])
        list(store.load(io.BytesIO(docker_archive([BASE, top], [name]))))
    return store


def check(disk: Path, store: ImageStore, expected: set[str]) -> None:
    """What is in memory is on the disk as well, and nothing else."""
    assert names(store) == expected
    store.close()
    again = ImageStore(disk / "data")
    again.reconcile()
    assert names(again) == expected
    needed = {digest for image in again.list() for digest in
              (image.id, image.manifest_digest, *(one.digest for one in image.manifest.layers))}  # fmt: skip
    assert {digest for digest, _ in again.content.walk()} == needed
    again.close()


def removing_gives_room(disk: Path) -> None:
    loaded(disk).close()
    store = ImageStore(disk / "data")  # whose log has no room of its own yet
    fill(disk)
    store.remove("app0:1", in_use=lambda _: ())
    assert store.prune({"dangling": ["false"]}, in_use=lambda _: ()).space_reclaimed > 600_000
    (disk / "fill").unlink()
    check(disk, store, set())
    assert (disk / "data" / "reserve" / "bytes").stat().st_size > 0


def what_cannot_be_written_has_not_happened(disk: Path) -> None:
    loaded(disk).close()
    store = ImageStore(disk / "data")
    shutil.rmtree(disk / "data" / "reserve")
    fill(disk)
    with pytest.raises(OutOfSpace):
        list(store.load(io.BytesIO(docker_archive([BASE, tar([member("new", b"n" * 9000)])], ["new:1"]))))
    assert names(store) == NAMES
    store.remove("app0:1", in_use=lambda _: ())  # what the database is told goes where its log has room already
    check(disk, store, NAMES - {"app0:1"})


def take_inodes(disk: Path) -> None:
    """Make files until there can be no more."""
    with suppress(OSError):
        for number in count():
            (disk / f"{os.urandom(8).hex()}-{number}").touch()


def the_database_opens_also_when_another_takes_what_the_reserve_gives_up(disk: Path) -> None:
    """After an orderly end: then SQLite's log and index of it have to be made anew."""
    loaded(disk).close()
    take_inodes(disk)
    spend = Reserve.spend

    def overtaken(reserve: Reserve) -> bool:
        given = spend(reserve)
        take_inodes(disk)
        return given

    Reserve.spend = overtaken  # type: ignore[method-assign]  this process is the test's own
    store = ImageStore(disk / "data")
    assert names(store) == NAMES
    store.close()


CASES = {
    one.__name__: one
    for one in (
        removing_gives_room,
        the_database_opens_also_when_another_takes_what_the_reserve_gives_up,
        what_cannot_be_written_has_not_happened,
    )
}


@pytest.mark.parametrize("case", CASES)
def test_on_a_full_disk(case: str) -> None:
    command = 'mount -t tmpfs -o size=8m,nr_inodes=2000 none /mnt && exec "$0" "$1" "$2"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", command, sys.executable, __file__, case],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    CASES[sys.argv[1]](Path("/mnt"))
