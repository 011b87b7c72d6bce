"""Snapshots: copies of a volume's files as they were at one moment, which no container has.

``<data-root>/snapshots/<volume>/<name>/`` has the files in ``_data``, and in ``snapshot.json`` what is known of them.
They do not go with their volume: from what is there after an accident, a volume can be made again. A snapshot is made
under another name, brought to the disk, and then renamed: half of one is never seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from wherry.content.durable import disk_errors, publish, remove_tree, sync_directory, temporary_name, write_all
from wherry.errors import Conflict, InvalidInput, NotFound
from wherry.volumes.drafts import DATA, begin_draft, fill_draft, sync_draft
from wherry.volumes.names import check_name

__all__ = ["Snapshot", "Snapshots"]

_NAME: Final = re.compile("[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_ABOUT: Final = "snapshot.json"
_UNFINISHED: Final = ".unfinished"
_FROZEN: Final = ".frozen"

Check = Callable[[], object]


class Snapshot(Struct, frozen=True, kw_only=True):
    """What is known of a snapshot.

    :param created: RFC 3339.
    :param options: of the volume, for its driver.
    :param size: the sum of the files' sizes, in bytes.
    :param entries: files of all kinds.
    :param frozen: the IDs of the containers that stood still meanwhile.
    """

    volume: str
    name: str
    created: str
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    size: int = 0
    entries: int = 0
    frozen: list[str] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        """As people write it."""
        return f"{self.volume}@{self.name}"


class Snapshots:
    """All snapshots. Methods wait for the disk: they are called in a thread, those of one volume one after another.

    :param root: where they are; made with the first one.
    :param discard: deletes a tree in the background; called in the thread of the caller.
    """

    def __init__(self, root: Path, discard: Callable[[Path], object] = remove_tree) -> None:
        self._root = root
        self._discard = discard

    def recover(self) -> None:
        """Delete what an earlier process has not finished."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._root):
                if name.startswith(_UNFINISHED):
                    self._discard(self._root / name)

    # --- look -------------------------------------------------------------------------------------

    def all(self, volume: str = "") -> list[Snapshot]:
        """All of them, or those of one volume; the oldest first."""
        volumes = [check_name(volume)] if volume else _names(self._root)
        found = [self._read(self._root / one / name) for one in volumes for name in _names(self._root / one)]
        return sorted(filter(None, found), key=lambda one: (one.created, one.name))

    def get(self, volume: str, name: str) -> Snapshot:
        """One of them.

        :raises NotFound: there is no such.
        """
        found = self._read(self._path(volume, name))
        if found is None:
            raise NotFound(f"no such snapshot: {volume}@{name}")
        return found

    def data(self, snapshot: Snapshot) -> str:
        """Where its files are."""
        return str(self._path(snapshot.volume, snapshot.name) / DATA)

    def _path(self, volume: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"invalid name of a snapshot: '{name}'", hint=f"as in {_NAME.pattern}")
        return self._root / check_name(volume) / name

    @staticmethod
    def _read(path: Path) -> Snapshot | None:
        try:
            return msgspec.json.decode((path / _ABOUT).read_bytes(), type=Snapshot)
        except (OSError, msgspec.MsgspecError):
            return None

    # --- change -----------------------------------------------------------------------------------

    def check_new(self, volume: str, name: str) -> None:
        """Check the name of a new one.

        :raises InvalidInput: no snapshot can have it.
        :raises Conflict: one has it.
        """
        if self._path(volume, name).exists():
            raise Conflict(f"there is a snapshot {volume}@{name} already")

    def draft(self, source: str, check: Check) -> tuple[Path, Snapshot]:
        """Copy a volume's files; nobody sees them before `publish`.

        :returns: where, and a snapshot that knows only what was copied.
        """
        with disk_errors("make a directory for a snapshot"):
            self._root.mkdir(0o700, exist_ok=True)
        draft = temporary_name(self._root, _UNFINISHED)
        try:
            begin_draft(draft)
            copied = fill_draft(draft, source, check)
        except BaseException:
            self._discard(draft)
            raise
        return draft, Snapshot(volume="", name="", created="", size=copied.size, entries=copied.entries)

    def give_up(self, made: tuple[Path, Snapshot]) -> None:
        """Nobody wants a draft any more."""
        self._discard(made[0])

    def publish(self, draft: Path, snapshot: Snapshot) -> None:
        """Give a draft its name.

        :raises Conflict: another one has it.
        """
        try:
            with disk_errors("write a snapshot to the disk"):
                _write(draft / _ABOUT, msgspec.json.encode(snapshot))
                sync_draft(draft)
                final = self._path(snapshot.volume, snapshot.name)
                self.check_new(snapshot.volume, snapshot.name)
                if not final.parent.is_dir():
                    final.parent.mkdir(0o700)
                    sync_directory(self._root)
                publish(draft, final)
        except BaseException:
            self._discard(draft)
            raise

    def remove(self, volume: str, name: str) -> None:
        """Put one aside in one step, and have it deleted.

        :raises NotFound: there is no such.
        """
        path = self._path(volume, name)
        grave = temporary_name(self._root, _UNFINISHED)
        with disk_errors("remove a snapshot"):
            try:
                path.rename(grave)
            except FileNotFoundError:
                raise NotFound(f"no such snapshot: {volume}@{name}") from None
            with suppress(OSError):  # others are in it
                path.parent.rmdir()
        self._discard(grave)

    # --- what stands still ------------------------------------------------------------------------

    def note_frozen(self, container: str) -> None:
        """Write down that a container stands still for a snapshot: whoever finds the note lets it go on."""
        with disk_errors("write a note"):
            (self._root / _FROZEN).mkdir(0o700, parents=True, exist_ok=True)
            _write(self._root / _FROZEN / container, b"")
            sync_directory(self._root / _FROZEN)

    def forget_frozen(self, container: str) -> None:
        """It goes on."""
        with suppress(OSError):
            (self._root / _FROZEN / container).unlink()

    def frozen(self) -> list[str]:
        """The IDs of containers with a note."""
        try:
            return os.listdir(self._root / _FROZEN)
        except FileNotFoundError:
            return []


def _names(directory: Path) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]
    except OSError:
        return []


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
