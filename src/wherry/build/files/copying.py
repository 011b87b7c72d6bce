"""The copy action: from the paths that its source means to places below its destination, as BuildKit decides these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wherry.build.files.actions import make_directories, set_times, time_of
from wherry.build.files.archives import is_archive, unpack_into
from wherry.build.files.copier import Copier, Looks
from wherry.build.files.modes import mode_change
from wherry.build.files.owners import Ids
from wherry.build.files.rooted import Place, locate
from wherry.build.files.roots import WritableRoot
from wherry.build.files.selection import Selection
from wherry.build.files.sources import clean, expand, open_source, wanted
from wherry.build.model.graph import Copy
from wherry.errors import NotFound
from wherry.layers.limits import DEFAULT_LIMITS, Limits

__all__ = ["copy"]

Check = Callable[[], object]


def copy(  # noqa: PLR0917
    source_root: int,
    root: WritableRoot,
    action: Copy,
    owner: Ids | None,
    check: Check = lambda: None,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Carry out a copy.

    :param source_root: the mount to copy from.
    :param root: where to copy to.
    :param owner: whom everything shall belong to; None: as it is.
    :param check: called for each file: raises where the work is not wanted any more.
    :param limits: of archives that are unpacked.
    :raises NotFound: nothing is at the source.
    :raises InvalidInput: something is in the way.
    """
    _Copy(source_root, root, action, owner, check, limits).run()


class _Copy:
    def __init__(  # noqa: PLR0917
        self,
        source_root: int,
        root: WritableRoot,
        action: Copy,
        owner: Ids | None,
        check: Check,
        limits: Limits,
    ) -> None:
        self._source_root = source_root
        self._root = root
        self._action = action
        self._owner = owner
        self._check = check
        self._limits = limits
        self._wanted = wanted(action)
        self._time = time_of(action.timestamp)
        self._made: list[bytes] = []
        self._looks = Looks(owner, mode_change(action.mode, action.mode_text), self._time)
        self._selection = Selection(self._wanted.include, action.exclude)
        self._directory_mode = 0o755 if action.mode == -1 or action.mode_text else action.mode

    def run(self) -> None:
        """Copy all that the source means."""
        action = self._action
        destination = clean(action.destination)
        if not action.create_destination:
            self._check_parent(destination)
        found = expand(
            self._source_root,
            self._wanted.source,
            wildcards=action.allow_wildcard,
            follow=action.follow_symlink,
            check=self._check,
        )
        if not found and not action.allow_empty_wildcard:
            raise NotFound(f"{self._wanted.source} not found")
        for path in found:
            self._check()
            if not (action.unpack_archive and self._unpack(path, destination)):
                self._copy_one(path, destination)
        set_times(self._root.fileno(), sorted(self._made, reverse=True), self._time)

    def _check_parent(self, destination: bytes) -> None:
        parent = destination.rpartition(b"/")[0]
        with locate(self._root.fileno(), parent, call="failed to stat") as place:
            if place.status is None:
                raise NotFound(f"failed to stat {self._action.destination}: no such file or directory")

    def _unpack(self, path: bytes, destination: bytes) -> bool:
        """Unpack a source that is an archive; False where it is none."""
        with open_source(self._source_root, path, follow=True) as source:
            if not is_archive(source, self._limits):
                return False
            with self._make(destination, mode=0o755) as target:
                unpack_into(source, target, self._limits, self._owner, self._check)
            return True

    def _copy_one(self, path: bytes, destination: bytes) -> None:
        is_into = self._action.destination.endswith(("/", "/.")) or not destination
        parent = destination if is_into else destination.rpartition(b"/")[0]
        if parent:
            self._make(parent).close()
        with open_source(self._source_root, path, follow=self._action.follow_symlink) as source:
            with self._target(source, path, destination) as target:
                copier = Copier(
                    self._root.fileno(),
                    self._looks,
                    self._selection,
                    upper=self._root.upper,
                    replace=self._action.always_replace,
                    check=self._check,
                )
                copier.copy(source, target)
            if copier.wrote_directly:
                self._root.renew()

    @contextmanager
    def _target(self, source: Place, path: bytes, destination: bytes) -> Iterator[Place]:
        """Where one source goes: to the destination, or into it."""
        contents_only = self._action.contents_only
        target = locate(self._root.fileno(), destination, call="failed to lstat destination path")
        try:
            is_below = target.is_directory and not source.is_directory
            is_below = is_below or (source.is_directory and not contents_only and target.status is not None)
            where = target.path
            if is_below:
                where = b"/".join(name for name in (where, path.rpartition(b"/")[2]) if name)
            if contents_only and source.is_directory and target.status is None:
                self._make(where).close()
            elif parent := where.rpartition(b"/")[0]:
                self._make(parent).close()
        finally:
            target.close()
        # What was found last is not followed any more: a link in the place of what is copied is replaced.
        with locate(self._root.fileno(), where, follow=False, call="failed to stat") as place:
            yield place

    def _make(self, path: bytes, mode: int | None = None) -> Place:
        """A directory below the destination, made where it is missing."""
        return make_directories(
            self._root.fileno(),
            path,
            mode=self._directory_mode if mode is None else mode,
            owner=self._owner,
            time=self._time,
            made=self._made,
        )
