"""The rows of the layers that the builder keeps: its own, and those of images that its own lie upon.

Their connection is not durable. A row that the machine's death took away leaves an orphan, which is removed. A row that
stayed while the directory's bytes did not come to the disk is known by `unsynced_since`: the boot in which it was
written, until a sync is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from wherry.database.database import Database, understanding
from wherry.oci.digest import Digest

__all__ = ["Packed", "Row", "Rows", "boot_id"]

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_COLUMNS: Final = "number, size, created, unsynced_since, diff_id, blob, blob_size, media_type, seal"
_MANY: Final = 500  # values in one statement; SQLite takes some 32,000


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer as an image has it.

    :param diff_id: the digest of its uncompressed archive.
    :param digest: of the blob, which may be compressed.
    :param size: of the blob, in bytes.
    :param seal: the tree digest of a layer of the builder's own; empty for one that came with an image.
    """

    diff_id: Digest
    digest: Digest
    size: int
    media_type: str
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A layer that the builder keeps.

    :param size: the sum of its files' sizes in bytes.
    :param created: nanoseconds since the epoch.
    :param unsynced_since: the boot in which it was made; empty once it is on the disk.
    :param packed: as it was packed, or came; None: it was never packed.
    :param kept: whether it is in the database; one of an image, which is only in use, is not.
    """

    number: int
    size: int
    created: int
    unsynced_since: str
    packed: Packed | None
    kept: bool = True

    @property
    def is_of_an_image(self) -> bool:
        """Whether it came with an image: then it cannot be packed here to the same bytes."""
        return self.packed is not None and not self.packed.seal


def boot_id() -> str:
    """The machine's present boot."""
    return _BOOT.read_text().strip()


class Rows:
    """The table ``build_layers``, and the same in memory. Thread-safe as far as a dictionary is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[int, Row] = {}
        for number, size, created, unsynced, *packed in database.rows(f"SELECT {_COLUMNS} FROM build_layers"):
            with understanding("a layer of the builder", number):
                self._rows[number] = Row(number, size, created, unsynced, _packed(*packed))

    def get(self, number: int) -> Row | None:
        """A layer's row."""
        return self._rows.get(number)

    def all(self) -> list[Row]:
        """All of them."""
        return list(self._rows.values())

    def remember(self, number: int, size: int, created: int, packed: Packed) -> None:
        """Note an image's layer that is in use, in memory."""
        self._rows[number] = Row(number, size, created, "", packed, kept=False)

    def forget(self, number: int) -> None:
        """Forget one of these."""
        self._rows.pop(number, None)

    def add(
        self, number: int, size: int, unsynced_since: str, packed: Packed | None = None, *, created: int | None = None
    ) -> None:
        """Write the row of a layer.

        :param created: nanoseconds since the epoch; None: now.
        """
        row = Row(number, size, time.time_ns() if created is None else created, unsynced_since, packed)
        values = (number, size, row.created, unsynced_since, *_values(packed))
        self._database.write(f"INSERT INTO build_layers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
        self._rows[number] = row

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete rows; unknown ones are ignored."""
        known = [number for number in numbers if number in self._rows]
        for some in _portions(known):
            self._database.write(f"DELETE FROM build_layers WHERE number IN ({_marks(some)})", *some)
        for number in known:
            self._rows.pop(number, None)

    def mark_synced(self, numbers: Iterable[int]) -> None:
        """Note that layers are on the disk."""
        known = [number for number in numbers if (row := self._rows.get(number)) and row.unsynced_since]
        for some in _portions(known):
            statement = f"UPDATE build_layers SET unsynced_since = '' WHERE number IN ({_marks(some)})"
            self._database.write(statement, *some)
        for number in known:
            self._change(number, unsynced_since="")

    def mark_packed(self, number: int, packed: Packed) -> None:
        """Note as what a layer was packed."""
        statement = "UPDATE build_layers SET diff_id = ?, blob = ?, blob_size = ?, media_type = ?, seal = ?"
        self._database.write(f"{statement} WHERE number = ?", *_values(packed), number)
        self._change(number, packed=packed)

    def _change(self, number: int, **members: Any) -> None:
        row = self._rows.get(number)
        if row is not None:
            self._rows[number] = replace(row, **members)


def _values(packed: Packed | None) -> tuple[str | int | None, ...]:
    if packed is None:
        return (None,) * 5
    # A subclass of str is nothing that SQLite takes.
    return str.__str__(packed.diff_id), str.__str__(packed.digest), packed.size, packed.media_type, packed.seal


def _packed(diff_id: str | None, blob: str, size: int, media_type: str, seal: str) -> Packed | None:
    return None if diff_id is None else Packed(Digest(diff_id), Digest(blob), size, media_type, seal)


def _portions(numbers: list[int]) -> Iterable[list[int]]:
    return (numbers[start : start + _MANY] for start in range(0, len(numbers), _MANY))


def _marks(numbers: list[int]) -> str:
    return ", ".join("?" * len(numbers))
