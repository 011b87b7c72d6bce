"""Text as Go prints it: history entries and tables are compared with BuildKit's, and shown beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["bracketed", "duration", "table", "uppercase_first_word"]


def bracketed(words: Iterable[str]) -> str:
    """``%v`` of a list of strings."""
    return f"[{' '.join(words)}]"


def duration(nanoseconds: int) -> str:
    """Go's ``time.Duration``: ``1m30s``, ``1.5s``, ``300ms``, ``0s``."""
    if nanoseconds < 0:
        return "-" + duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for scale, unit in ((1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")):
        if nanoseconds < scale:
            return _decimal(nanoseconds, scale // 1000) + unit
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    whole = f"{hours}h" if hours else ""
    return whole + (f"{minutes}m" if minutes or hours else "") + _decimal(rest, 1_000_000_000) + "s"


def _decimal(value: int, scale: int) -> str:
    whole, fraction = divmod(value, scale)
    digits = f"{fraction:0{len(str(scale)) - 1}d}".rstrip("0") if scale > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)


def table(rows: Sequence[Sequence[str]], padding: int) -> str:
    """Rows as Go's ``text/tabwriter`` aligns them, each with a line feed; the last column is as wide as it is."""
    widths = [max(map(len, column)) + padding for column in zip(*rows, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + f"{row[-1]}\n"
        for row in rows
    )


def uppercase_first_word(text: str) -> str:
    """``run make`` as ``RUN make``."""
    word, space, rest = text.partition(" ")
    return word.upper() + space + rest
