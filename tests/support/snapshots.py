"""A data root with an image store and a snapshot store, and ways to fill drafts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.archives import docker_archive, member, tar
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.snapshots.draft import Draft
from wherry.build.snapshots.mounts import mount_draft, mount_snapshot
from wherry.build.snapshots.store import SnapshotStore
from wherry.database.database import Database
from wherry.images.image import Image
from wherry.images.store import ImageStore
from wherry.linux.fd import Fd
from wherry.oci.digest import Digest

__all__ = ["World", "world"]


class _WithoutHost(ImageStore):
    """Without the built-in image, whose syncs take longer than most tests."""

    def add_host(self, root: Path = Path("/")) -> Digest:
        return Digest.from_bytes(b"")


class World:
    """One data root, as after a start of the daemon."""

    def __init__(self, root: Path) -> None:
        self.images: ImageStore = _WithoutHost(root)
        self.images.reconcile()
        self.database = Database(root / "wherry.db")
        self.snapshots = SnapshotStore(
            root / "build",
            self.database,
            layers=self.images.layers,
            content=self.images.content,
            references=self.images.references,
        )
        self.snapshots.reconcile()

    def image(self, name: str, *layers: dict[str, bytes]) -> Image:
        """Load an image that has files."""
        archives = [tar([member(path, data) for path, data in files.items()]) for files in layers]
        list(self.images.load(io.BytesIO(docker_archive(archives, [name]))))
        return self.images.resolve(name)

    def layer(self, files: dict[str, bytes], parent: Snapshot = EMPTY) -> Snapshot:
        """One more layer, that has files; written where a step would write them, without a mount."""
        draft = self.snapshots.draft(parent)
        fill(draft, files)
        return self.snapshots.commit(draft)

    def mount(self, snapshot: Snapshot) -> Fd:
        """A mount of a snapshot."""
        return mount_snapshot(snapshot, self.snapshots.bottom)

    @contextmanager
    def change(self, parent: Snapshot = EMPTY) -> Iterator[Change]:
        """A change through a mount, for a ``with`` block; its result is the layer that came of it."""
        change = Change(self.snapshots.draft(parent))
        try:
            with mount_draft(change.draft) as root:
                change.root = root
                yield change
            change.result = self.snapshots.commit(change.draft)
        finally:
            self.snapshots.discard(change.draft)

    def close(self) -> None:
        """End it as a daemon ends."""
        self.snapshots.close()
        self.database.close()
        self.images.close()


class Change:
    """A draft that is mounted.

    :ivar root: its mount.
    :ivar result: what became of it.
    """

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.root = Fd(-1)
        self.result = EMPTY

    @property
    def path(self) -> Path:
        """The mount's root as a path, for what needs one."""
        return Path(f"/proc/self/fd/{self.root.fileno()}")


def fill(draft: Draft, files: dict[str, bytes]) -> None:
    """Write files into a draft's directory."""
    for path, data in files.items():
        (draft.upper / path).parent.mkdir(parents=True, exist_ok=True)
        (draft.upper / path).write_bytes(data)


@contextmanager
def world(root: Path) -> Iterator[World]:
    """A data root, for a ``with`` block."""
    made = World(root)
    try:
        yield made
    finally:
        made.close()
