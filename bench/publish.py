"""``python -m bench.publish``: writes the tables of ``bench/README.md`` and of the README from ``bench/results.json``.

A table stands between two comments, ``<!-- bench -->`` and ``<!-- /bench -->``. A unit test compares the pages with the
results.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import table
from bench.measure import Row

_HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = _HERE / "results.json"
FULL: Final = _HERE / "README.md"
SHORT: Final = _HERE.parent / "README.md"

SHOWN_FIRST: Final = {
    "the engine, idle: resident memory": "the engine, idle: resident memory",
    "daemon start to first answer": "daemon start to first answer",
    "`run --rm busybox true` on the default bridge, docker CLI": "`run --rm busybox true`, docker CLI",
    "memory per idle container": "memory per idle container",
    "199 MB of 71-byte lines into the log": "199 MB of 71-byte lines into the log",
    "pull of it, unpacked": "`pull` of Debian's minbase, unpacked",
}
"""The rows that the README shows: title in the results, and its wording without the rows around it."""


def tables(rows: list[Row]) -> dict[Path, str]:
    """Each page with its table."""
    by_title = {row.title: row for row in rows}
    first = [replace(by_title[title], title=wording) for title, wording in SHOWN_FIRST.items()]
    return {FULL: table.markdown(rows), SHORT: table.short(first)}


def with_table(page: str, text: str) -> str:
    """The page with its table replaced."""
    return re.sub(r"(?s)(<!-- bench -->\n).*(\n<!-- /bench -->)", lambda found: found[1] + text + found[2], page)


def main() -> None:
    """Rewrite both pages."""
    for page, text in tables(table.read(RESULTS)).items():
        page.write_text(with_table(page.read_text(), text))


if __name__ == "__main__":
    main()
