"""The image store killed at each of its steps in turn: import, commit, remove, prune. What is then there is whole.

A step is whatever changes the disk: making, renaming, removing, opening for writing, and SQLite's commits.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.archives import directory, docker_archive, member, tar
from support.needs import need
from wherry.database.database import Database
from wherry.images.importer import Commit
from wherry.images.store import ImageStore
from wherry.layers.diff import write_layer
from wherry.layers.tree_digest import tree_digest
from wherry.oci.digest import Digest

pytestmark = need("root")

BASE = tar([directory("d"), *(member(f"d/{number}", b"x" * 100) for number in range(3))])
TOP = tar([member("top", b"t")])
HOST = Path(__file__).parent / "no machine"
_STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
_MOST = 200


class Store(ImageStore):
    """On a machine without files: of a real one's, hundreds of times, come and go hundreds with the built-in image."""

    def add_host(self, root: Path = HOST) -> Digest:
        return super().add_host(root)


def begin(root: Path) -> ImageStore:
    """A store with two images, one of which has no name."""
    store = Store(root)
    list(store.load(io.BytesIO(docker_archive([BASE], ["base"]))))
    list(store.load(io.BytesIO(docker_archive([BASE, TOP], []))))
    return store


def import_one(store: ImageStore) -> None:
    store.import_(io.BytesIO(tar([member("new", b"n")])), "new")


def commit_one(store: ImageStore) -> None:
    base = store.resolve("base")
    mounts = store.overlay(str(base.id), store.content.root.parent / "c")
    (Path(mounts[0].upper) / "written").write_bytes(b"w")
    store.commit(str(base.id), lambda write, room: write_layer(mounts, write, room), Commit({}, "c" * 64, name="new"))


def remove_one(store: ImageStore) -> None:
    store.remove("base", in_use=lambda _: [])


def prune_all(store: ImageStore) -> None:
    store.prune({"dangling": ["false"]}, in_use=lambda _: [])


def die_at(step: int) -> None:
    """From now on, the step with this number kills the process before it is taken."""
    left = [step]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STEPS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            count()

    original = Database.transaction

    def transaction(self: Database) -> Any:
        count()
        return original(self)

    sys.addaudithook(hook)
    Database.transaction = transaction  # type: ignore[method-assign]  # only in a process that is about to die


def dies(work: Callable[[], None], step: int) -> bool:
    """Do something in a process of its own that is killed at a step; False when there are not so many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12 on: fork beside threads, of which there are none
        pid = os.fork()
    if pid == 0:
        try:
            die_at(step)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def check_whole(root: Path) -> set[str]:
    """What a start finds after a crash; returns the names that there are."""
    store = Store(root)
    store.reconcile()
    try:
        images = store.list()
        assert os.listdir(root / "tmp") == []
        blobs = {digest for digest, _ in store.content.walk()}
        needed = {digest for image in images for digest in
                  (image.id, image.manifest_digest, *(one.digest for one in image.manifest.layers))}  # fmt: skip
        assert blobs == needed
        for digest in blobs:
            digest.verify(store.content.path(digest).read_bytes())
        layers = {layer for image in images for layer in image.layers}
        assert set(store.layers) == layers
        names = {name for name in os.listdir(root / "layers") if not name.endswith("m")}
        assert names == {"0", *(str(layer.number) for layer in layers)}
        for layer in layers:
            assert tree_digest(store.layers.path(layer)) == store.layers.tree_digest_of(layer)
        owners = {str(image.id) for image in images}
        assert store.references.owners() == owners
        return {tag for image in images for tag in image.repo_tags} - {"host:latest"}
    finally:
        store.close()


@pytest.mark.parametrize(
    ("work", "before", "after"),
    [
        (import_one, {"base:latest"}, {"base:latest", "new:latest"}),
        (commit_one, {"base:latest"}, {"base:latest", "new:latest"}),
        (remove_one, {"base:latest"}, set()),
        (prune_all, {"base:latest"}, set()),
    ],
)
def test_killed_at_any_step_everything_is_whole_or_gone(
    tmp_path: Path, work: Callable[[ImageStore], None], before: set[str], after: set[str]
) -> None:
    seen = []
    begin(tmp_path / "begun").close()
    for step in range(_MOST):
        root = tmp_path / str(step)

        def all_of_it(root: Path = root) -> None:
            work(Store(root))

        shutil.copytree(tmp_path / "begun", root, symlinks=True)
        died = dies(all_of_it, step)
        names = check_whole(root)
        assert names in (before, after)
        seen.append(names)
        if not died:
            break
    else:
        raise AssertionError(f"more than {_MOST} steps")
    assert len(seen) > 10
    assert seen[-1] == after
    assert sorted(seen, key=lambda names: names == after) == seen, "the point of no return is one point"
