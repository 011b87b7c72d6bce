"""Small things that are remembered beyond a restart: ETags of sources, and of what a step's last key was made."""

from __future__ import annotations

import time
from typing import Final

from wherry.database.database import Database
from wherry.errors import WherryError

__all__ = ["Memory"]

_LONGEST: Final = 16 << 10
"""Characters of a value; a longer one is not remembered."""


class Memory:
    """The table ``build_words``: names and values, the oldest of which are forgotten.

    What cannot be written is forgotten as well: nothing depends on it.

    :param lookups: a connection for looking up; None: the same.
    :param most: how many to remember.
    """

    def __init__(self, database: Database, lookups: Database | None = None, most: int = 5_000) -> None:
        self._database = database
        self._lookups = lookups or database
        self._most = most
        self._writes = 0

    def recall(self, name: str) -> str | None:
        """What was remembered under a name."""
        try:
            rows = self._lookups.rows("SELECT value FROM build_words WHERE name = ?", (name,))
        except WherryError:
            return None
        return rows[0][0] if rows else None

    def remember(self, name: str, value: str) -> None:
        """Remember something, in place of what was."""
        self.remember_all({name: value})

    def remember_all(self, words: dict[str, str]) -> None:
        """Remember several things at once."""
        now = time.time_ns()
        rows = [(name, value, now) for name, value in words.items() if len(value) <= _LONGEST]
        if not rows:
            return
        self._writes += len(rows)
        try:
            with self._database.transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO build_words (name, value, used) VALUES (?, ?, ?)", rows)
                if self._writes > self._most // 10:
                    self._writes = 0
                    connection.execute(
                        "DELETE FROM build_words WHERE name IN "
                        "(SELECT name FROM build_words ORDER BY used DESC LIMIT -1 OFFSET ?)",
                        (self._most,),
                    )
        except WherryError:
            return
