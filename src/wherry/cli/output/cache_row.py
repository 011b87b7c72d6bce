"""Entries of the build cache as rows of tables."""

from __future__ import annotations

from wherry.cli.output.times import ago, unix_time
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["cache_row"]

_SHORT = 12


def cache_row(record: dict[str, Any], *, short: bool = True) -> dict[str, str]:
    """An entry of the API's ``BuildCache``. An asterisk marks what is in use, as in docker."""
    identifier = str(record["ID"])
    return {
        "ID": (identifier[:_SHORT] if short else identifier) + "*" * bool(record.get("InUse")),
        "CacheType": str(record.get("Type", "")),
        "Description": str(record.get("Description") or ""),
        "Size": human_size(record.get("Size", 0)),
        "Reclaimable": str(not record.get("InUse")).lower(),
        "CreatedSince": _since(record.get("CreatedAt")),
        "LastUsedSince": _since(record.get("LastUsedAt")),
        "UsageCount": str(record.get("UsageCount", 0)),
        "Shared": str(bool(record.get("Shared"))).lower(),
    }


def _since(text: str | None) -> str:
    unix = unix_time(text or "")
    return ago(unix) if unix > 0 else ""
