"""The driver ``local``: a volume is the directory ``<data-root>/volumes/<name>/_data``, as Docker has it.

The directories are the truth and the rows what is known of them: a directory without a row is a volume that somebody
has put there, a row without a directory is none. So a lost database loses labels and no data.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.content.durable import disk_errors, remove_tree, sync_directory, temporary_name
from wherry.content.threads import in_thread
from wherry.docker import times
from wherry.errors import Conflict, InvalidInput, NotFound, SystemCallError, SystemFault, WherryError
from wherry.layers.projects import Projects
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.files import RENAME, keep_apart, renameat2
from wherry.volumes.contract import DriverVolume, Mounted
from wherry.volumes.copy_up import UNFINISHED, WHOLE, finish_copy, is_half_moved, is_placed
from wherry.volumes.drafts import DATA, sync_draft
from wherry.volumes.local_mounts import LocalMounts
from wherry.volumes.model import LOCAL, Volume
from wherry.volumes.names import check_name, is_name
from wherry.volumes.options import check_options, is_mounted, size_of

__all__ = ["DATA", "LocalDriver"]

_log: Final = logging.getLogger(__name__)
_REMOVED: Final = ".removed"


class LocalDriver:
    """A `wherry.volumes.contract.VolumeDriver` of directories.

    :param root: where they are; made when missing.
    :param mounts: mounts those that are more than directories.
    :param projects: keeps them to their sizes.
    :param discard: deletes a tree in the background.
    """

    name: Final = LOCAL

    def __init__(
        self,
        root: Path,
        mounts: LocalMounts,
        projects: Projects,
        discard: Callable[[Path], object] = remove_tree,
    ) -> None:
        self._root = root
        self._mounts = mounts
        self._projects = projects
        self._discard = discard
        with disk_errors("make the directory of volumes"):
            _make(root, 0o701)
            with Fd(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
                keep_apart(directory)

    def recover(self) -> set[str]:
        """Bring to an end what an earlier process has begun; returns the names of all volumes that are there."""
        names: set[str] = set()
        for name in os.listdir(self._root):
            if name.startswith(_REMOVED):
                self._discard(self._root / name)
            elif not name.startswith(".") and self._is_there(name):
                names.add(name)
                try:
                    self._finish_copy(self._root / name)
                except WherryError as exc:  # there is no room: whoever wants to start with it is told
                    _log.warning("a volume is not filled volume=%s error=%s", name, exc)
        self._projects.sweep(_owner(""), {_owner(name) for name in names}.__contains__)
        return names

    def _finish_copy(self, volume: Path) -> None:
        found = UNFINISHED & set(os.listdir(volume))
        with disk_errors("finish the copy of an image's files"):
            for name in found - {WHOLE}:
                grave = temporary_name(self._root, _REMOVED)
                os.rename(volume / name, grave)
                self._discard(grave)
            if not is_placed(volume):  # else it is the host's, and may take its time: a start waits for it
                finish_copy(volume, found & {WHOLE})

    def names(self) -> set[str]:
        """The names of all volumes that are there."""
        return {name for name in os.listdir(self._root) if not name.startswith(".") and self._is_there(name)}

    def directory(self, name: str) -> Path:
        """The directory of a volume's own, in which `DATA` is."""
        return self._root / name

    def _is_there(self, name: str) -> bool:
        return (self._root / name / DATA).is_dir()

    # --- the contract -----------------------------------------------------------------------------

    async def scope(self) -> str:
        """Only here."""
        return LOCAL

    async def create(self, volume: Volume) -> None:
        """Make the directory.

        :raises InvalidInput: the name, or an option, is wrong; in Docker's words.
        """
        self.check(volume)
        directory = self._root / check_name(volume.name)
        with disk_errors("make the volume's directory"):
            try:
                _make(directory, 0o701)
                self._limit(volume, directory)
                _make(directory / DATA, 0o755)
            except BaseException:
                with suppress(OSError):
                    directory.rmdir()
                raise

    def _limit(self, volume: Volume, directory: Path) -> None:
        """What is made in the directory from now on counts: copies that are not yet at their place as well."""
        size = size_of(volume.options)
        if size:
            self._projects.limit(_owner(volume.name), [directory], size)

    def check(self, volume: Volume) -> None:
        """Check name and options of a new volume.

        :raises InvalidInput: they are wrong; in Docker's words.
        """
        check_name(volume.name)
        check_options(volume.options)
        if size_of(volume.options) and (reason := self._projects.why_not()):
            raise InvalidInput("quota size requested but no quota support", cause=reason)

    async def remove(self, volume: Volume) -> None:
        """Put the directory aside in one step, and have it deleted."""
        grave = temporary_name(self._root, _REMOVED)
        with disk_errors("remove the volume's directory"):
            try:
                os.rename(self._root / check_name(volume.name), grave)
            except FileNotFoundError:
                return
        if size_of(volume.options):
            self._projects.lift(_owner(volume.name))
        self._discard(grave)

    async def get(self, name: str) -> DriverVolume:
        """Look one up.

        :raises NotFound: there is none.
        """
        if not is_name(name) or not self._is_there(name):
            raise NotFound("no such volume")
        return self._found(name)

    async def list(self) -> Sequence[DriverVolume]:
        """All of them."""
        return [self._found(name) for name in sorted(self.names())]

    def _found(self, name: str) -> DriverVolume:
        created = times.rfc3339(os.stat(self._root / name).st_ctime_ns)
        return DriverVolume(name, str(self._root / name / DATA), created)

    async def path(self, volume: Volume) -> str:
        """Where it is, mounted or not."""
        return self.data(volume.name)

    def data(self, name: str) -> str:
        """Where a volume's files are."""
        return str(self._root / name / DATA)

    # --- volumes that are made elsewhere ----------------------------------------------------------

    def draft(self) -> Path:
        """A name for the directory of a volume to be; what is there at the next start is deleted."""
        return temporary_name(self._root, _REMOVED)

    def limit(self, volume: Volume, draft: Path) -> None:
        """Keep the draft of a volume to its size; nothing is in it yet."""
        self._limit(volume, draft)

    def forget_limit(self, volume: Volume) -> None:
        """A volume will not be."""
        if size_of(volume.options):
            self._projects.lift(_owner(volume.name))

    def give_up(self, draft: Path) -> None:
        """Delete a draft, or what was exchanged for it, in the background; one that became a volume stays."""
        if draft.exists():
            self._discard(draft)

    def adopt(self, draft: Path, name: str) -> None:
        """Make a draft, which is on the disk, a new volume's directory: the point of no return.

        :raises Conflict: there is such a directory.
        """
        try:
            renameat2(AT_FDCWD, draft, AT_FDCWD, self._root / check_name(name), RENAME.NOREPLACE)
        except SystemCallError as exc:
            if exc.errno != errno.EEXIST:
                raise
            raise Conflict(f"there is a directory of a volume '{name}' already") from exc
        sync_directory(self._root)

    def exchange(self, draft: Path, name: str) -> None:
        """Give a volume the files of a draft, in one step; the draft gets those that it had.

        :raises NotFound: there is no such volume.
        """
        if not self._is_there(name):
            raise NotFound(f"the directory of volume {name} is gone")
        sync_draft(draft)
        renameat2(AT_FDCWD, draft / DATA, AT_FDCWD, self.data(name), RENAME.EXCHANGE)
        sync_directory(self._root / name)

    # --- mounts -----------------------------------------------------------------------------------

    async def mount(self, volume: Volume, user: str) -> Mounted:
        """Its directory, or what is mounted in its place.

        :raises NotFound: it is gone.
        :raises OutOfSpace: it has not got all of the image's files, and cannot now.
        :raises SystemFault: it cannot be mounted.
        """
        path = self.data(volume.name)
        if is_half_moved(self._root / volume.name):  # how much there is to be moved was the image's choice
            await in_thread(_finish_copy, self._root / volume.name)
        if is_mounted(volume.options):
            try:
                return Mounted(path, await self._mounts.mount(volume))
            except WherryError as exc:
                raise SystemFault(f"error while mounting volume '{path}'", cause=str(exc)) from exc
        if not self._is_there(volume.name):
            raise NotFound(f"the directory of volume {volume.name} is gone")
        return Mounted(path)

    async def unmount(self, volume: Volume, user: str) -> None:
        """A directory needs nothing; what is mounted goes with its last user."""
        if is_mounted(volume.options):
            await self._mounts.unmount(volume.name)


def _finish_copy(volume: Path) -> None:
    with disk_errors("finish the copy of an image's files"):
        finish_copy(volume, os.listdir(volume))


def _owner(name: str) -> str:
    return f"volume:{name}"


def _make(path: Path, mode: int) -> None:
    """Make a directory with a mode, whatever the umask; one that is there stays as it is."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    os.chmod(path, mode)
