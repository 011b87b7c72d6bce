"""The builder's layers, killed at each step on their way to an image and out again: what is then there is whole.

A step is whatever changes the disk: making, renaming, removing, opening for writing, and SQLite's commits.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from support.snapshots import World, fill, world
from wherry.build.model.snapshot import Snapshot
from wherry.database.database import Database
from wherry.docker.reference import Reference
from wherry.layers.tree_digest import tree_digest
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Manifest

pytestmark = need("root")

_STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
_MOST = 300


def build(here: World) -> None:
    """Two steps on a base, an image of them, and all out of the cache again."""
    base = here.snapshots.from_image(here.images.resolve("base"))
    first = here.layer({"a/one": b"1"}, base)
    second = here.layer({"a/two": b"2", "three": b"3"}, first)
    export(here, second, "built")
    draft = here.snapshots.draft(second)
    fill(draft, {"unfinished": b"4"})
    here.snapshots.discard(draft)
    here.snapshots.release(base)
    here.snapshots.retain([])
    here.images.remove("built", in_use=lambda _: ())


def export(here: World, snapshot: Snapshot, name: str) -> None:
    """Make an image of a snapshot, as an exporter does."""
    with here.images.lease() as lease:
        blobs = here.snapshots.blobs(snapshot, lease)
        rootfs = {"type": "layers", "diff_ids": [str(blob.diff_id) for blob in blobs]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
        descriptors = [Descriptor(blob.media_type, blob.digest, blob.size) for blob in blobs]
        described = Descriptor(media_types.OCI_CONFIG, Digest.from_bytes(config), len(config))
        manifest = encode(Manifest(described, descriptors, schema_version=2, media_type=media_types.OCI_MANIFEST))
        lease.blob(Digest.from_bytes(config), Digest.from_bytes(manifest))
        identifier, stored = here.images.content.put(config), here.images.content.put(manifest)
        here.images.register(identifier, stored, [Reference.parse(name).with_default_tag()])


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

    transaction, write = Database.transaction, Database.write

    def counted_transaction(self: Database) -> Any:
        count()
        return transaction(self)

    def counted_write(self: Database, statement: str, *values: object) -> None:
        count()
        write(self, statement, *values)

    sys.addaudithook(hook)
    Database.transaction = counted_transaction  # type: ignore[method-assign]  # in a process that is about to die
    Database.write = counted_write  # type: ignore[method-assign]


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


def check_whole(here: World) -> None:
    """What a start finds after a crash."""
    images, layers = here.images, here.images.layers
    assert os.listdir(layers.root.parent / "tmp") == []
    for digest, _ in images.content.walk():
        digest.verify(images.content.path(digest).read_bytes())
        assert images.references.count(("blob", digest)) > 0
    for layer in layers:
        assert images.references.count(("layer", layer.chain_id)) > 0
        assert tree_digest(layers.path(layer)) == layers.tree_digest_of(layer)
    rows = {str(number) for (number,) in here.database.rows("SELECT number FROM build_layers")}
    ordinary = {str(layer.number) for layer in layers}
    assert {name for name in os.listdir(layers.root) if not name.endswith("m")} == {"0"} | rows | ordinary
    owners = {f"build:{number}" for number in rows}
    assert {owner for owner in images.references.owners() if owner.startswith("build:")} <= owners
    assert all(images.is_whole(image.id) for image in images.list())


def test_killed_at_any_step_every_layer_is_whole_or_gone_and_the_next_build_works(tmp_path: Path) -> None:
    with world(tmp_path / "begun") as here:
        here.image("base", {"base": b"0"})
    for step in range(_MOST):
        root = tmp_path / str(step)
        shutil.copytree(tmp_path / "begun", root, symlinks=True)

        def all_of_it(root: Path = root) -> None:
            with world(root) as here:
                build(here)

        died = dies(all_of_it, step)
        with world(root) as here:
            check_whole(here)
            build(here)
            # One that was killed before it was named is there without a name.
            assert {tag for image in here.images.list() for tag in image.repo_tags} == {"base:latest"}
        if not died:
            break
    else:
        pytest.fail(f"more than {_MOST} steps")
    assert step > 30
