"""The roots of snapshots, opened to work in: a mount, or a client's directory itself."""

from __future__ import annotations

import os
from typing import Final, Protocol

from wherry.build.model.snapshot import Snapshot
from wherry.build.snapshots.draft import Draft
from wherry.build.snapshots.mounts import mount_draft, mount_snapshot
from wherry.content.durable import disk_errors
from wherry.linux.fd import Fd

__all__ = ["DraftRoot", "PlainRoot", "WritableRoot", "is_local", "open_root"]


def is_local(snapshot: Snapshot) -> bool:
    """Whether a part of a snapshot is a client's directory, which is no layer: a later build changes it."""
    return any(layer.number < 0 for layer in snapshot.layers)


def open_root(snapshot: Snapshot, bottom: str) -> Fd:
    """Open a snapshot's root, to be read.

    :param bottom: the directory that stands for no layer.
    """
    if len(snapshot.layers) == 1 and is_local(snapshot):
        with disk_errors("open a directory of the build"):
            return Fd(os.open(snapshot.layers[0].path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return mount_snapshot(snapshot, bottom)


class WritableRoot(Protocol):
    """A root that files are changed in."""

    @property
    def upper(self) -> int | None:
        """A descriptor of an overlay's writable directory; None where it is no overlay."""
        ...

    def fileno(self) -> int:
        """A descriptor of the root, good until `renew`."""
        ...

    def renew(self) -> None:
        """Note that something was written behind an overlay's back."""
        ...


class PlainRoot:
    """A directory, or a mount that is no overlay.

    :param root: a descriptor of it; the caller's.
    """

    upper: Final = None

    def __init__(self, root: int) -> None:
        self._root = root

    def fileno(self) -> int:
        """The descriptor."""
        return self._root

    def renew(self) -> None:
        """Nothing is remembered here."""


class DraftRoot:
    """A draft, mounted when it is used. To be closed before the draft is committed."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._mount: Fd | None = None
        self._upper: Fd | None = None
        if draft.parent.layers:
            self._upper = Fd(os.open(draft.upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    @property
    def upper(self) -> int | None:
        """A descriptor of the overlay's writable directory; None where nothing is below it."""
        return None if self._upper is None else self._upper.fileno()

    def fileno(self) -> int:
        """A descriptor of the root, good until `renew`."""
        if self._mount is None:
            self._mount = mount_draft(self._draft)
        return self._mount.fileno()

    def renew(self) -> None:
        """Mount it again the next time: what an overlay's directories have got behind its back, it need not show."""
        if self._mount is not None:
            self._mount.close()
            self._mount = None

    def close(self) -> None:
        """Unmount it."""
        self.renew()
        if self._upper is not None:
            self._upper.close()
