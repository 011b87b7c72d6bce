"""Where contexts that come as archives are unpacked, how long they stay, and what becomes of them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.content.durable import disk_errors, remove_tree, temporary_name
from wherry.layers.whiteouts import make_whiteout
from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.files import keep_apart

__all__ = ["ContextInUse", "Spare", "context_directory", "remove_context"]

_PLACE: Final = "contexts"
_LONGEST: Final = 3072  # bytes of a path that is hidden; with what is before it, the kernel takes it (PATH_MAX)
_MOST_FILES: Final = 100_000
_MOST_BYTES: Final = 512 << 20


def context_directory(directory: Path) -> Path:
    """Make a directory for a context, apart from others: else the disk looks for room among what has just gone."""
    place = directory / _PLACE
    with disk_errors("make a directory for a build context"):
        directory.mkdir(parents=True, exist_ok=True)
        while True:
            with suppress(FileNotFoundError):  # the last one there has just gone, and the place with it
                with suppress(FileExistsError):  # it was there; pathlib would look whether it still is
                    os.mkdir(place, 0o700)
                with Fd(os.open(place, trees.DIRECTORY)) as fd:
                    keep_apart(fd)
                root = temporary_name(place, "context")
                root.mkdir(mode=0o700)
                return root


def remove_context(root: Path) -> None:
    """Remove a context, and the place of all when it was the last."""
    remove_tree(_over(root))
    remove_tree(root)
    with suppress(OSError):
        root.parent.rmdir()


def _over(root: Path) -> Path:
    """Where that is which is laid on a context."""
    return root.with_name(f"over-{root.name}")


class ContextInUse:
    """An unpacked context, which stays until nobody uses it any more.

    :param over: called when the last one has let go of it.
    """

    def __init__(self, root: Path, over: Callable[[], object]) -> None:
        self.root: Final = root
        self._over = over
        self._count = 1

    def use(self, over: tuple[Path, ...] = ()) -> _Use:
        """Use it.

        :param over: what `hide` gave.
        """
        self._count += 1
        return _Use(self, (self.root, *over))

    def hide(self, paths: Sequence[bytes]) -> tuple[Path, ...] | None:
        """Make a layer that hides files of the context when it is laid on it; in a thread.

        :param paths: of files, or of whole directories.
        :return: None: a path is too long, or the kernel lets nobody make whiteouts.
        """
        if any(len(path) > _LONGEST for path in paths):
            return None
        with disk_errors("hide files of a build context"):
            _over(self.root).mkdir(mode=0o700, exist_ok=True)
            layer = temporary_name(_over(self.root), "layer")
            try:
                _hide(self.root, layer, paths)
            except PermissionError:
                return None
        return (layer,)

    def let_go(self) -> None:
        """Whoever has made it needs it no more."""
        self._count -= 1
        if self._count == 0:
            self._over()


class _Use:
    def __init__(self, context: ContextInUse, places: tuple[Path, ...]) -> None:
        self.places: Final = places
        self._context = context
        self._is_over = False

    def release(self) -> None:
        """It is not in use any more; safe to call twice."""
        if not self._is_over:
            self._is_over = True
            self._context.let_go()


class Spare:
    """The last context that was used, for the next one to take its files from. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None

    def take(self) -> Path | None:
        """The context, which is the caller's from now on."""
        with self._lock:
            root, self._root = self._root, None
        return root

    def put(self, root: Path) -> Path | None:
        """Keep a context in place of the former one, unless it is too large; in a thread.

        :return: where it is kept.
        """
        kept = temporary_name(root.parent, "spare") if _is_small(root) else None
        if kept is None:
            remove_context(root)
            return None
        remove_tree(_over(root))
        try:
            root.rename(kept)
        except OSError:  # it is not worth more than that
            remove_context(root)
            return None
        with self._lock:
            former, self._root = self._root, kept
        if former is not None:
            remove_context(former)
        return kept

    def drop(self, root: Path) -> None:
        """Remove a context that was kept, unless it is not there any more; in a thread."""
        with self._lock:
            if self._root != root:
                return
            self._root = None
        remove_context(root)


def _hide(root: Path, layer: Path, paths: Sequence[bytes]) -> None:
    """Make whiteouts, in directories that look like the context's: those are what one sees."""
    made = [b""]
    layer.mkdir(mode=0o700)
    for path in paths:
        names = path.split(b"/")[:-1]
        for count in range(1, len(names) + 1):
            directory = b"/".join(names[:count])
            with suppress(FileExistsError):
                os.mkdir(os.path.join(os.fsencode(layer), directory), 0o700)
                made.append(directory)
        with Fd(os.open(os.path.join(os.fsencode(layer), *names), trees.DIRECTORY)) as fd:
            make_whiteout(fd.fileno(), path.rpartition(b"/")[2])
    for directory in made[::-1]:
        status, here = os.lstat(os.path.join(os.fsencode(root), directory)), os.path.join(os.fsencode(layer), directory)
        os.chmod(here, stat.S_IMODE(status.st_mode))
        os.utime(here, ns=(status.st_atime_ns, status.st_mtime_ns))


def _is_small(root: Path) -> bool:
    size = 0
    for count, (_, status) in enumerate(trees.Files(root), 1):
        size += status.st_size
        if count > _MOST_FILES or size > _MOST_BYTES:
            return False
    return True
