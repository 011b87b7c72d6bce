"""LLB's merge and diff: layers upon other layers, and what one snapshot has that another has not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from wherry.build.files.copier import Copier, Looks
from wherry.build.files.evaluate import own
from wherry.build.files.rooted import check_length, locate
from wherry.build.files.roots import is_local, open_root
from wherry.build.files.selection import TOP, Selection, States, Verdict
from wherry.build.model.snapshot import Snapshot
from wherry.build.snapshots.mounts import mount_draft
from wherry.build.snapshots.store import MAX_LAYERS, SnapshotStore
from wherry.content.durable import disk_errors
from wherry.errors import InvalidInput, TooLarge
from wherry.layers.file_content import attributes
from wherry.layers.whiteouts import make_whiteout
from wherry.linux.fd import Fd
from wherry.linux.trees import Descent, unrolled

__all__ = ["diff", "merge"]

Check = Callable[[], object]
_READ: Final = 1 << 20
#: Paths that may differ; they are in memory.
_MOST: Final = 2_000_000
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def merge(store: SnapshotStore, inputs: Sequence[Snapshot], check: Check = lambda: None) -> Snapshot:
    """The layers of several snapshots upon each other, the first one's lowest.

    :raises InvalidInput: there are too many.
    """
    clients = {snapshot for snapshot in inputs if is_local(snapshot)}  # each becomes one layer
    count = len(clients) + len({layer for one in inputs if one not in clients for layer in one.layers})
    if count > MAX_LAYERS:
        raise InvalidInput(f"max depth exceeded: {count} layers, where {MAX_LAYERS} are allowed")
    with _copies(store) as copies:
        layers = [layer for snapshot in inputs for layer in _owned(store, snapshot, check, copies).layers]
        copies.clear()  # they are parts of the result
    # A layer that is there twice is hidden the first time by all that it has the second time; overlayfs wants it once.
    last = {layer: position for position, layer in enumerate(layers)}
    return Snapshot(tuple(layer for position, layer in enumerate(layers) if last[layer] == position))


@contextmanager
def _copies(store: SnapshotStore) -> Iterator[dict[Snapshot, Snapshot]]:
    """Copies of clients' directories, by what they are copies of, which are removed at the end."""
    made: dict[Snapshot, Snapshot] = {}
    try:
        yield made
    finally:
        store.remove([layer.number for snapshot in made.values() for layer in snapshot.layers])


def _owned(store: SnapshotStore, snapshot: Snapshot, check: Check, copies: dict[Snapshot, Snapshot]) -> Snapshot:
    if not is_local(snapshot):
        return snapshot
    if snapshot not in copies:
        copies[snapshot] = own(store, snapshot, check)
    return copies[snapshot]


def diff(store: SnapshotStore, lower: Snapshot, upper: Snapshot, check: Check = lambda: None) -> Snapshot:
    """What has to be laid on `lower` to have `upper`: layers, where it is some of these, else a new one."""
    if upper.layers[: len(lower.layers)] == lower.layers:
        return own(store, Snapshot(upper.layers[len(lower.layers) :]), check)
    with _copies(store) as copies:
        return _diff(store, _owned(store, lower, check, copies), _owned(store, upper, check, copies), check)


def _diff(store: SnapshotStore, lower: Snapshot, upper: Snapshot, check: Check) -> Snapshot:
    draft = store.draft()
    try:
        with (
            mount_draft(draft) as target,
            open_root(lower, store.bottom) as old,
            open_root(upper, store.bottom) as new,
            disk_errors("compare files"),
        ):
            _Difference(target, check).run(old, new)
        return store.commit(draft)
    finally:
        store.discard(draft)


class _Changed(Selection):
    """Takes paths that were found to be other ones."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: set[bytes] = set()
        self.on_the_way: set[bytes] = set()

    def add(self, path: bytes) -> None:
        """Take a path."""
        if len(self.paths) >= _MOST:
            raise TooLarge(f"more than {_MOST} files differ")
        self.paths.add(path)
        while (path := path.rpartition(b"/")[0]) and path not in self.on_the_way:
            self.on_the_way.add(path)

    def judge(self, path: bytes, above: States) -> Verdict:
        """Whether a path is taken."""
        return Verdict(path in self.paths, path in self.on_the_way, TOP)


class _Difference:
    """Finds what differs, then copies it."""

    def __init__(self, target: Fd, check: Check) -> None:
        self._target = target
        self._check = check
        self._changed = _Changed()
        self._deleted: list[bytes] = []

    def run(self, lower: Fd, upper: Fd) -> None:
        """Write what differs into the target."""
        with locate(lower, b"") as below, locate(upper, b"") as above, locate(self._target, b"") as place:
            with Descent(below.open_directory()) as old, Descent(above.open_directory()) as new:
                for _ in unrolled(self._compare(old, new, b"")):
                    pass
            if self._changed.paths:
                Copier(self._target.fileno(), Looks(), self._changed, check=self._check).copy(above, place, dress=True)
        for path in self._deleted:
            directory, _, name = path.rpartition(b"/")
            with locate(self._target, directory) as parent, parent.open_directory() as fd:
                make_whiteout(fd.fileno(), name)

    def _compare(self, old: Descent | None, new: Descent, path: bytes) -> Generator[Any, None, None]:
        """Compare the present directories; generators are for `unrolled`."""
        former = _statuses(old) if old is not None else {}
        present = _statuses(new)
        for name in sorted(former.keys() - present.keys()):
            self._delete(path, name)
        for name, status in sorted(present.items()):
            self._check()
            here = path + name
            check_length(here)
            before = former.get(name)
            if before is None or self._differs(old, new, name, before, status):
                self._changed.add(here)
            if stat.S_ISDIR(status.st_mode):
                is_in_both = before is not None and stat.S_ISDIR(before.st_mode)
                new.enter(name)
                if is_in_both:
                    assert old is not None
                    old.enter(name)
                yield self._compare(old if is_in_both else None, new, here + b"/")
                if is_in_both:
                    assert old is not None
                    old.leave()
                new.leave()

    def _delete(self, path: bytes, name: bytes) -> None:
        self._deleted.append(path + name)
        if path:
            self._changed.add(path[:-1])

    def _differs(
        self, old: Descent | None, new: Descent, name: bytes, before: os.stat_result, now: os.stat_result
    ) -> bool:
        """Whether a file is another one than before; a directory by itself, without what is in it."""
        assert old is not None
        if any(getattr(before, one) != getattr(now, one) for one in ("st_mode", "st_uid", "st_gid", "st_rdev")):
            return True
        one, other = old.fileno(), new.fileno()
        if not stat.S_ISDIR(now.st_mode):
            if (before.st_ino, before.st_ctime_ns) == (now.st_ino, now.st_ctime_ns):
                return False  # the same file of a layer that both have
            if before.st_size != now.st_size or before.st_mtime_ns != now.st_mtime_ns:
                return True
        first, second = (attributes(b"/proc/self/fd/%d/%s" % (directory, name)) for directory in (one, other))
        return first != second or self._has_other_content(one, other, name, now)

    def _has_other_content(self, old: int, new: int, name: bytes, status: os.stat_result) -> bool:
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=old) != os.readlink(name, dir_fd=new)
        return stat.S_ISREG(status.st_mode) and not _has_same_content(old, new, name, self._check)


def _statuses(way: Descent) -> dict[bytes, os.stat_result]:
    found = {}
    with os.scandir(way.fileno()) as scan:
        for entry in scan:
            with suppress(FileNotFoundError):  # overlayfs lists a whiteout where nothing is below
                found[os.fsencode(entry.name)] = entry.stat(follow_symlinks=False)
    return found


def _has_same_content(old: int, new: int, name: bytes, check: Check) -> bool:
    with Fd(os.open(name, _OPEN, dir_fd=old)) as one, Fd(os.open(name, _OPEN, dir_fd=new)) as other:
        while True:
            check()
            piece = os.read(one.fileno(), _READ)
            if piece != os.read(other.fileno(), _READ):
                return False
            if not piece:
                return True
