"""Directories with a limit on their size: each has a project of the file system's quotas, and a row.

A project's number is given once and never again, whatever was removed meanwhile: files of an earlier owner that are
still being deleted, or were kept by somebody, do not count for a later one. Numbers begin at random, because several
engines, and other programs, may have a file system together, and none that has a limit or files is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.database.database import Database
from wherry.errors import SystemCallError, SystemFault, Unsupported
from wherry.linux import project_quota
from wherry.linux.fd import Fd
from wherry.linux.project_quota import Quota

__all__ = ["Projects"]

_FIRST: Final = 1 << 28  # the lowest numbers are people's own: /etc/projects
_TRIES: Final = 1000
_LARGEST: Final = (1 << 32) - 2
_INSERT: Final = "INSERT INTO projects (number, owner) VALUES (?, ?)"


class Projects:
    """The projects of directories below one directory. To be called from any thread.

    An owner is a text of the caller's: ``container:<id>``, ``volume:<name>``.

    :param root: a directory of the file system whose quotas are meant; it need not be there yet.
    """

    def __init__(self, database: Database, root: Path) -> None:
        self._database = database
        self._root = root

    def why_not(self) -> str | None:
        """None where limits are kept; otherwise a sentence that says why they are not."""
        with self._open() as root:
            if project_quota.enforced(root):
                return None
        return (
            f"the file system of {self._root} has no project quotas: they need xfs mounted with 'pquota', "
            "or ext4 with the features 'quota' and 'project', mounted with 'prjquota'"
        )

    def limit(self, owner: str, directories: Sequence[Path], size: int) -> int:
        """Give directories together a limit; what is made in them from now on counts.

        :param directories: empty, and not yet in anybody else's hands.
        :param size: bytes.
        :returns: the number of the project.
        :raises Unsupported: there are no project quotas.
        :raises SystemFault: the file system refuses; nothing has happened.
        """
        reason = self.why_not()
        if reason is not None:
            raise Unsupported(reason)
        with self._open() as root:
            number = self._new_number(owner, root)
            try:
                project_quota.set_limit(root, number, size)
                for directory in directories:
                    with Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as fd:
                        project_quota.set_project(fd, number)
            except BaseException:
                self.lift(owner)
                raise
        return number

    def change(self, owner: str, size: int) -> None:
        """Change the limit of an owner that has one.

        :param size: bytes.
        """
        number = self._number_of(owner)
        if number is not None:
            with self._open() as root:
                project_quota.set_limit(root, number, size)

    def quota(self, owner: str) -> Quota | None:
        """What an owner may use and uses; None where it has no limit, or the quotas are switched off meanwhile."""
        number = self._number_of(owner)
        if number is None:
            return None
        with self._open() as root, suppress(SystemCallError):
            return project_quota.get_quota(root, number)
        return None

    def lift(self, owner: str) -> None:
        """An owner goes, and its limit with it; nothing happens when it has none. Its number is not given again."""
        number = self._number_of(owner)
        if number is None:
            return
        with suppress(SystemCallError, FileNotFoundError), self._open() as root:  # switched off meanwhile
            project_quota.set_limit(root, number, 0)
        self._database.write_soon(("project", owner), "DELETE FROM projects WHERE owner = ?", owner)

    def sweep(self, kind: str, is_there: Callable[[str], bool]) -> None:
        """Lift the limits of owners that are gone: what a crash has left.

        :param kind: how these owners begin: ``container:``.
        :param is_there: whether an owner is there.
        """
        for (owner,) in self._database.rows("SELECT owner FROM projects"):
            if owner.startswith(kind) and not is_there(owner):
                self.lift(owner)

    def _open(self) -> Fd:
        return Fd(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def _number_of(self, owner: str) -> int | None:
        for (number,) in self._database.rows("SELECT number FROM projects WHERE owner = ?", (owner,)):
            return int(number)
        return None

    def _new_number(self, owner: str, root: Fd) -> int:
        self.lift(owner)  # of an earlier one with this name
        with self._database.transaction() as connection:
            [[last]] = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'projects'")
            number = int(last) or _FIRST + int.from_bytes(os.urandom(4), "big") % _FIRST
            for _ in range(_TRIES):
                number += 1
                if number > _LARGEST:
                    break
                if project_quota.get_quota(root, number) == Quota(0, 0, 0):
                    connection.execute(_INSERT, (number, owner))
                    return number
        raise SystemFault("there is no free number for a project quota")
